"""`ferry chaos run`: that it is quiet about handlers that are right, and finds what is wrong with others.

Cites G30, G31.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
FERRY = os.environ["FERRY"]
HANDLER = [sys.executable, "-B", os.path.join(HERE, "handler.py")]
BILLS = ("import os, sqlite3; [print(i) for i, in sqlite3.connect(os.environ['FERRY_CHAOS_DIR'] + '/bills.db')"
         ".execute('SELECT id FROM bill')]")
CHECK = f'{sys.executable} -c "{BILLS}"'


class Chaos(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="ferry-chaos-test-")
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def chaos(self, *arguments, status):
        seed = [] if "--seed" in arguments else ["--seed", "7"]
        done = subprocess.run([FERRY, "chaos", "run", *seed, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, cwd=self.scratch, timeout=200, check=False,
                              env=dict(os.environ, TMPDIR=self.scratch))
        said = done.stdout.decode() + done.stderr.decode()
        self.assertEqual(done.returncode, status, said)
        return done

    def judged(self, *arguments, status):
        done = self.chaos("--json", *arguments, status=status)
        return json.loads(done.stdout)

    def names(self, verdict):
        return {one["name"] for one in verdict["violations"]}

    # G30 G31
    def test_the_built_in_handler_has_each_effect_once_whatever_is_killed_or_paused(self):
        verdict = self.judged("--cycles", "25", "--pause", "--lease", "1s", status=0)
        self.assertTrue(verdict["clean"])
        self.assertEqual(verdict["cycles"], 25)
        self.assertEqual(verdict["effects"], verdict["committed"])
        self.assertGreater(verdict["committed"], 300)
        self.assertGreater(verdict["rolled_back"], 10)
        self.assertGreaterEqual(sum(one["kills"] for one in verdict["programs"].values()), 25)
        self.assertGreater(sum(one["pauses"] for one in verdict["programs"].values()), 0)
        self.assertEqual(os.listdir(self.scratch), [], "a clean run leaves nothing behind")

    def test_a_handler_that_acks_first_is_caught_losing_effects(self):
        verdict = self.judged("--cycles", "20", "--mistake", "ack-first", "--data", "run", status=1)
        # An ack that a dying broker forgot brings a double as well.
        self.assertIn("lost-effect", self.names(verdict))
        lost = verdict["violations"][0]
        with open(os.path.join(self.scratch, "run", "report.txt"), encoding="utf-8") as report:
            text = report.read()
        self.assertIn(f"message {lost['ids'][0]} of queue 1 was committed", text)
        with open(os.path.join(self.scratch, "run", "history.jsonl"), encoding="ascii") as history:
            events = [json.loads(line) for line in history]
        self.assertGreater(sum(event["what"] == "crash" for event in events), 10)

    def test_a_handler_without_an_inbox_is_caught_with_double_effects_unless_that_is_allowed(self):
        verdict = self.judged("--cycles", "20", "--mistake", "no-inbox", status=1)
        self.assertEqual(self.names(verdict), {"duplicate-effect"})
        verdict = self.judged("--cycles", "20", "--mistake", "no-inbox", "--at-least-once", status=0)
        self.assertGreater(verdict["effects"], verdict["committed"])

    def test_handlers_of_others_are_judged_by_what_their_check_lists(self):
        for kind, status, wanted in (("right", 0, set()), ("ack-first", 1, {"lost-effect"}),
                                     ("no-inbox", 1, {"duplicate-effect"})):
            with self.subTest(kind):
                verdict = self.judged("--cycles", "20", "--rate", "50", "--payload", '{"order": {id}, "customer": "{key}"}',
                                      "--check", CHECK, "--", "sh", "-c",
                                      f'exec {" ".join(HANDLER)} {kind} "$FERRY_CHAOS_DIR/bills.db"', status=status)
                self.assertLessEqual(wanted, self.names(verdict))
                self.assertLessEqual(self.names(verdict), wanted | {"duplicate-effect"})

    def test_only_those_named_are_killed(self):
        verdict = self.judged("--cycles", "4", "--kill", "relay", "--consumers", "1", status=0)
        kills = {name: one["kills"] for name, one in verdict["programs"].items()}
        self.assertGreaterEqual(kills.pop("relay-1") + kills.pop("relay-2"), 4)
        self.assertEqual(kills, {"broker": 0, "consumer-1": 0})

    def test_what_never_arrives_is_said(self):
        verdict = self.judged("--cycles", "2", "--rate", "20", "--patience", "2s", "--check", "true", "--", "sleep", "1000",
                              status=1)
        self.assertIn("not-drained", self.names(verdict))
        self.assertIn("messages are ready", verdict["not_drained"])

    def test_wrong_usage_is_said_before_anything_is_started(self):
        for arguments, sentence in (
                (["--", "true"], "--check is missing"),
                (["--kill", "printer"], "not 'printer'"),
                (["--payload", "x", "--check", "true", "--", "true"], "must have {id}"),
                (["--payload", "<{id}>"], "a handler of your own"),
                (["--mistake", "no-inbox", "--check", "true", "--", "true"], "built-in"),
                (["--lease", "10ms"], "at least 1s"),
                (["--seed", "dice"], "whole number"),
                (["--ferryd", "/nowhere/ferryd"], "there is no /nowhere/ferryd"),
                (["--cycles", "0"], "--cycles")):
            with self.subTest(sentence):
                self.assertIn(sentence, self.chaos(*arguments, status=2).stderr.decode())

    def test_a_run_that_cannot_be_made_says_why(self):
        for arguments, sentence in ((["--check", "echo 12; echo twelve", "--", "sleep", "1000"], "line 2 of the check is no id: 'twelve'"),
                                    (["--check", "exit 4", "--", "sleep", "1000"], "ended with status 4"),
                                    (["--check", "true", "--", "/nowhere/handler"], "cannot start /nowhere/handler"),
                                    (["--ferryd", "/bin/false"], "ferryd ended by itself")):
            with self.subTest(sentence):
                done = self.chaos("--cycles", "1", "--patience", "1s", *arguments, status=3)
                self.assertIn(sentence, done.stderr.decode())


if __name__ == "__main__":
    unittest.main(verbosity=2)
