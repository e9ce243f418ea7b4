"""Every command of `ferry outbox`: what it prints, where, and how it exits."""
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import unittest

FERRY = os.environ["FERRY"]
DONE, REFUSED, USAGE = 0, 1, 2


def run(*arguments):
    return subprocess.run([FERRY, "outbox", *arguments], capture_output=True, timeout=120)


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ferry-outbox-cli-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = os.path.join(self.folder, "app.db")

    def ferry(self, *arguments, status=DONE):
        done = run(*arguments)
        self.assertEqual(done.returncode, status, (arguments, done.stdout, done.stderr))
        if status != DONE:
            self.assertTrue(done.stderr, "a failure has a sentence on stderr")
        return done.stdout.decode()

    def json(self, *arguments, **options):
        return [json.loads(line) for line in self.ferry(*arguments, "--json", **options).splitlines()]

    def fill(self):
        self.ferry("init", self.path)
        connection = sqlite3.connect(self.path)
        with connection:
            connection.executemany("INSERT INTO ferry_outbox(routing_key, payload, ordering_key) VALUES ('orders', ?, ?)",
                                   [("one", "ada"), (b"\x00\xff", "bob"), ("three", None), ("four", "ada\x1b[2J")])
            connection.executemany("INSERT INTO ferry_outbox_parked VALUES (?, ?, 206, 'no such queue', 10, 1, 2, ?)",
                                   [(2, "bob", None), (3, None, 4_000_000_000_000)])
            connection.execute("INSERT INTO ferry_outbox_sent(id, exchange, routing_key, payload, created_ms, sent_ms) "
                               "VALUES (1000, '', 'q', 'x', 1, 2)")
        connection.close()


class Commands(Case):
    def test_help_has_examples_everywhere(self):
        for command in ("", "init", "status", "list", "show", "retry", "skip", "purge", "verify"):
            done = run(*command.split(), "--help")
            self.assertEqual(done.returncode, DONE, command)
            self.assertIn(b"Examples:", done.stdout, command)
        completion = subprocess.run([FERRY, "completion", "bash"], capture_output=True, timeout=60).stdout.decode()
        self.assertIn("'outbox'", completion)
        self.assertIn("'outbox verify'", completion)

    def test_mistakes_on_the_command_line_are_status_2(self):
        self.fill()
        for arguments in ([], ["fly"], ["init"], ["status"], ["show", self.path], ["show", self.path, "x"], ["purge", self.path],
                          ["purge", self.path, "--older-than", "soon"], ["list", self.path, "--count", "0"],
                          ["list", self.path, "--sent", "--parked"], ["retry", self.path], ["skip", self.path],
                          ["retry", self.path, "1", "--parked"], ["init", self.path, "--max-payload", "1G"]):
            done = run(*arguments)
            self.assertEqual((done.returncode, done.stdout), (USAGE, b""), arguments)
            self.assertTrue(done.stderr, arguments)

    def test_what_is_no_outbox_is_refused_with_a_sentence(self):
        sqlite3.connect(self.path).execute("CREATE TABLE t(x)").connection.close()
        no_database = os.path.join(self.folder, "text")
        with open(no_database, "w", encoding="utf-8") as file:
            file.write("this is not a database, whatever its name says\n" * 100)
        for command in (["status"], ["list"], ["show", "1"], ["retry", "1"], ["skip", "1"], ["purge", "--older-than", "1s"], ["verify"]):
            for path, words in ((self.path, b"no outbox"), (no_database, b"not a database"), (self.folder + "/missing", b"missing")):
                done = run(command[0], path, *command[1:])
                self.assertEqual(done.returncode, REFUSED, (command, path))
                self.assertIn(words, done.stderr + done.stdout, (command, path))

    def test_init_makes_the_tables_once(self):
        (first,) = self.json("init", self.path, "--max-payload", "64KiB")
        (second,) = self.json("init", self.path)
        self.assertEqual(first["producer"], second["producer"])
        self.assertEqual(second["payload_bytes_max"], 65536)
        self.assertEqual(sqlite3.connect(self.path).execute("PRAGMA journal_mode").fetchone(), ("wal",))

    def test_status_counts(self):
        self.fill()
        (status,) = self.json("status", self.path)
        self.assertEqual((status["pending"], status["parked"], status["retrying"], status["relay_at_work"]), (4, 1, 1, False))
        self.assertIsNone(status["sent_per_second"])
        self.assertRegex(self.ferry("status", self.path), r"(?m)^pending +4$")
        (status,) = self.json("status", self.path, "--interval", "100ms", "--exact")
        self.assertEqual(status["sent_per_second"], 0)

    def test_list_and_show(self):
        self.fill()
        self.assertEqual([m["id"] for m in self.json("list", self.path)], [1, 2, 3, 4])
        self.assertEqual([m["id"] for m in self.json("list", self.path, "--parked")], [2])
        self.assertEqual([m["id"] for m in self.json("list", self.path, "--refused")], [2, 3])
        self.assertEqual([m["id"] for m in self.json("list", self.path, "--sent")], [1000])
        self.assertEqual([m["id"] for m in self.json("list", self.path, "--key", "ada")], [1])
        self.assertEqual([m["id"] for m in self.json("list", self.path, "--after", "1", "--count", "2")], [2, 3])
        self.assertNotIn("\x1b", self.ferry("list", self.path), "what is in the database must not steer the terminal")
        (shown,) = self.json("show", self.path, "2")
        self.assertEqual((shown["payload_base64"], shown["reason"], shown["standing"]), ("AP8=", "no such queue", "parked"))
        self.assertEqual(run("show", self.path, "2", "--payload").stdout, b"\x00\xff")
        self.ferry("show", self.path, "77", status=REFUSED)

    def test_retry_and_skip(self):
        self.fill()
        self.ferry("retry", self.path, "1", status=REFUSED)
        self.assertEqual(self.json("retry", self.path, "--parked"), [{"retried": 1}])
        self.assertEqual(self.json("list", self.path, "--parked"), [])
        self.assertEqual(self.json("skip", self.path, "2", "3"), [{"skipped": 2}])
        self.assertEqual([m["id"] for m in self.json("list", self.path)], [1, 4])
        self.ferry("skip", self.path, "2", status=REFUSED)

    def test_purge_takes_only_what_was_sent(self):
        self.fill()
        self.assertEqual(self.json("purge", self.path, "--older-than", "24h"), [{"purged": 1}])
        self.assertEqual(len(self.json("list", self.path)), 4)

    def test_o18_verify_finds_a_sequence_that_was_put_back_and_repairs_it(self):
        self.fill()
        (found,) = self.json("verify", self.path, status=REFUSED)  # id 1000 was used, the sequence is at 4
        self.assertFalse(found["ok"])
        self.assertIn("up to 1000 were used", found["findings"][0]["text"])
        self.assertIn("DAMAGED", self.ferry("verify", self.path, status=REFUSED))
        self.ferry("verify", self.path, "--repair")
        self.assertEqual(self.ferry("verify", self.path), "sound\n")

    def test_a_locked_database_is_waited_for_and_then_refused(self):
        self.fill()
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        done = run("retry", self.path, "2")
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn(b"locked", done.stderr)
        self.assertEqual(self.json("status", self.path)[0]["parked"], 1, "readers are not locked out")
        other.execute("ROLLBACK")
        self.ferry("retry", self.path, "2")


if __name__ == "__main__":
    unittest.main()
