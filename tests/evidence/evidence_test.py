#!/usr/bin/env python3
"""The collector itself: what counts as evidence, and what is missing from a full run."""

import pathlib
import tempfile
import unittest

import coverage
import evidence


class Collecting(unittest.TestCase):
    def test_lines_are_found_wherever_a_test_printed_them(self):
        log = "[ RUN ]\nevidence: crash states reached 210000 of 200000\n  evidence: no line of ours reached 1 of 2\n"
        self.assertEqual(evidence.collect([log, "17: evidence: planted bugs reached 56 of 25\r\n"]),
                         {"crash states": (210000, 200000), "planted bugs": (56, 25)})

    def test_of_two_runs_of_one_stage_the_larger_counts(self):
        self.assertEqual(evidence.collect(["evidence: a reached 3 of 9\n", "evidence: a reached 8 of 9\n"]), {"a": (8, 9)})

    def test_a_stage_that_stopped_testing_is_told(self):
        wrong = evidence.complaints({"a": (79, 100), "new": (5, 5)}, {"a": "tests/a", "b": "tests/b"})
        self.assertEqual(len(wrong), 2)
        self.assertIn("b is missing: tests/b", wrong)
        self.assertIn("a reached 79 of 100", wrong)
        self.assertEqual(evidence.complaints({"a": (80, 100)}, {"a": "tests/a"}), [])

    def test_every_name_is_printed_by_the_file_that_is_named_beside_it(self):
        self.assertGreater(len(evidence.known()), 5)
        for name, where in evidence.known().items():
            self.assertTrue(evidence.printed_by(where), f"{where} prints nothing of {name}")

    def test_the_ledger_has_one_head_and_a_row_for_each_name(self):
        with tempfile.TemporaryDirectory() as folder:
            ledger = pathlib.Path(folder) / "ledger.csv"
            evidence.record(ledger, {"b": (1, 2), "a": (3, 4)})
            evidence.record(ledger, {"a": (5, 4)})
            lines = ledger.read_text().splitlines()
        self.assertEqual(lines[0], "date,commit,cores,name,reached,goal")
        self.assertEqual([line.split(",")[3:] for line in lines[1:]], [["a", "3", "4"], ["b", "1", "2"], ["a", "5", "4"]])

    def test_the_committed_ledger_has_rows_of_known_names(self):
        ledger = pathlib.Path(__file__).resolve().parents[2] / "docs/evidence/ledger.csv"
        rows = [line.split(",") for line in ledger.read_text().splitlines()]
        self.assertEqual(rows[0], evidence.COLUMNS)
        for row in rows[1:]:
            self.assertEqual(len(row), len(evidence.COLUMNS), row)
            self.assertIn(row[3], evidence.known())


class Coverage(unittest.TestCase):
    def test_lines_are_summed_by_room_and_rounded_down(self):
        files = [{"filename": "outbox/src/a.cpp", "line_covered": 9, "line_total": 10},
                 {"filename": "outbox/relay/b.cpp", "line_covered": 99, "line_total": 99},
                 {"filename": "broker/log/src/c.cpp", "line_covered": 1, "line_total": 3},
                 {"filename": "cli/src/d.cpp", "line_covered": 0, "line_total": 7}]
        sums = coverage.of_rooms(files)
        self.assertEqual((sums["outbox"], sums["log"], sums["saga"]), ((108, 109), (1, 3), (0, 0)))
        self.assertEqual([coverage.percent(*sums[room]) for room in ("outbox", "log", "saga")], [99, 33, 0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
