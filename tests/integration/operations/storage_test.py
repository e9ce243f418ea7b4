#!/usr/bin/env python3
"""What a backlog costs. G15: a body is stored once. G16: memory does not grow with the backlog."""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from ferryd import Ferryd

PROGRAM, CLIENT = sys.argv.pop(1), sys.argv.pop(1)
MIB = 1 << 20


def figure(broker, name):
    """The newest value of a metric without labels."""
    return float(re.search(rf"^{name} (\S+)$", broker.get("/metrics")[1], re.M).group(1))


class StorageTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = pathlib.Path(folder.name) / "data"

    def ferry(self, broker, *arguments, text=None):
        done = subprocess.run([CLIENT, "--url", f"ferry://{broker.address}", *arguments],
                              input=text, capture_output=True, text=True, timeout=280)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_a_body_that_reaches_many_queues_is_stored_once(self):
        queues, messages, size = 16, 200, 10_000
        with Ferryd(PROGRAM, self.data) as broker:
            self.ferry(broker, "exchange", "declare", "all", "--type", "fanout")
            for number in range(queues):
                self.ferry(broker, "queue", "declare", f"q{number}")
                self.ferry(broker, "queue", "bind", f"q{number}", "--exchange", "all")
            self.ferry(broker, "publish", "--exchange", "all", "any", text=("x" * size + "\n") * messages)
            shown = self.ferry(broker, "--json", "queue", "show", f"q{queues - 1}")
            self.assertRegex(shown, rf'"ready": ?{messages}\b')
            self.assertEqual(broker.stop(), 0)
        stored = sum(path.read_bytes().count(b"x" * size) for path in self.data.rglob("*") if path.is_file())
        self.assertEqual(stored, messages)

    def test_memory_does_not_grow_with_the_backlog(self):
        with Ferryd(PROGRAM, self.data) as broker:
            before = figure(broker, "process_resident_memory_bytes")
            backlog = ["bench", "--mode", "produce", "--size", "100", "--keep", "--count"]
            self.ferry(broker, *backlog, "3000000")
            grown = figure(broker, "process_resident_memory_bytes") - before
            # 64 MiB is the aim for 10 M messages; 3 M that were all kept in memory would take over 300 MiB.
            self.assertLess(grown, 64 * MIB)
            self.assertEqual(broker.stop(), 0)


if __name__ == "__main__":
    unittest.main()
