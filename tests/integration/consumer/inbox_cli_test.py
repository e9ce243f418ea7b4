"""`ferry inbox` on databases with known contents: what it prints, what it changes, how it exits."""
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import unittest

FERRY = os.environ["FERRY"]
DONE, REFUSED, USAGE = 0, 1, 2
PRODUCER = "4f2a90c1d5e84b7f8a3b1c2d3e4f5a6b"


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="ferry-inbox-")
        self.db = os.path.join(self.directory, "app.db")
        self.ferry("init", self.db)

    def tearDown(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def ferry(self, *arguments, status=DONE):
        done = subprocess.run([FERRY, "inbox", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, status, f"{arguments}\n{done.stdout.decode()}\n{done.stderr.decode()}")
        self.message = done.stderr.decode()
        if status != DONE:
            self.assertTrue(self.message, "a failure has a sentence on stderr")
        return done.stdout.decode()

    def json(self, *arguments, **options):
        return [json.loads(line) for line in self.ferry(*arguments, "--json", **options).splitlines()]

    def sql(self, text):
        db = sqlite3.connect(self.db)
        try:
            with db:
                return db.executescript(text)
        finally:
            db.close()

    def fill(self):
        self.sql(f"""
            INSERT INTO ferry_inbox_consumer(id, name, queue, log_id, floor, running)
              VALUES(1, 'billing', 'orders', 'log', 77, 1), (2, 'mailing', '', '', 0, 0);
            INSERT INTO ferry_inbox_cursor(id, consumer, producer, epoch, below, seen_ms)
              VALUES(5, 1, '{PRODUCER}', 1, 40, 1000);
            INSERT INTO ferry_inbox_range(cursor, first, last, unsure) VALUES(5, 40, 50, 0), (5, 60, 60, 1);
            INSERT INTO ferry_inbox_id(consumer, id, seen_ms) VALUES(1, 'mail-1', 1000), (1, 'mail-2', 99999999999999);
        """)

    def test_init_twice_changes_nothing_and_makes_a_database_in_wal_mode(self):
        self.fill()
        self.ferry("init", self.db)
        self.assertEqual(len(self.json("status", self.db)), 2)
        mode = sqlite3.connect(self.db).execute("PRAGMA journal_mode").fetchone()[0]
        self.assertEqual(mode, "wal")

    def test_init_leaves_the_mode_of_an_application_s_database_alone(self):
        other = os.path.join(self.directory, "other.db")
        sqlite3.connect(other).execute("CREATE TABLE t(x)")
        self.ferry("init", other, status=REFUSED)
        self.assertIn("PRAGMA journal_mode=WAL", self.message)

    def test_status_and_list_show_what_is_kept(self):
        self.fill()
        billing, mailing = self.json("status", self.db)
        self.assertEqual((billing["consumer"], billing["queue"], billing["floor"]), ("billing", "orders", 77))
        self.assertEqual((billing["cursors"], billing["ranges"], billing["unsure"], billing["ids"]), (1, 2, 1, 2))
        self.assertEqual((mailing["running"], mailing["ranges"]), (False, 0))
        self.assertIn("billing", self.ferry("status", self.db))
        cursor, = self.json("list", self.db)
        self.assertEqual((cursor["producer"], cursor["below"], cursor["newest"]), (PRODUCER, 40, 60))
        self.assertEqual(self.json("list", self.db, "mailing"), [])
        self.ferry("list", self.db, "nobody", status=REFUSED)
        self.assertIn("no consumer nobody", self.message)

    def test_show_tells_what_would_become_of_a_message(self):
        self.fill()
        for sequence, applied in ((39, True), (45, True), (55, False), (60, True)):
            billing, mailing = self.json("show", self.db, f"{PRODUCER}:1:{sequence}")
            self.assertEqual(billing["applied"], applied, sequence)
            self.assertFalse(mailing["applied"])
        self.assertTrue(self.json("show", self.db, "mail-1", "billing")[0]["applied"])
        self.assertIn("would be applied", self.ferry("show", self.db, "mail-9", "billing"))
        self.assertIn("below the cursor", self.ferry("show", self.db, f"{PRODUCER}:1:3", "billing"))

    def test_purge_forgets_old_ids_or_a_whole_consumer(self):
        self.fill()
        self.assertEqual(self.json("purge", self.db, "billing", "--older-than", "1h"),
                         [{"ids": 1, "cursors": 0, "ranges": 0}])
        self.ferry("purge", self.db, "billing", status=USAGE)
        self.assertEqual(self.json("purge", self.db, "billing", "--everything"),
                         [{"ids": 1, "cursors": 1, "ranges": 2}])
        self.assertEqual([row["consumer"] for row in self.json("status", self.db)], ["mailing"])
        self.ferry("purge", self.db, "billing", "--everything", status=REFUSED)
        self.ferry("verify", self.db)

    def test_accept_forgets_where_the_broker_was(self):
        self.fill()
        self.ferry("accept", self.db, "billing")
        self.assertEqual((self.json("status", self.db)[0]["floor"], self.json("status", self.db)[0]["log_id"]), (0, ""))

    def test_verify_finds_what_does_not_fit(self):
        self.fill()
        self.assertEqual(self.json("verify", self.db), [{"ok": True, "problems": []}])
        self.sql("INSERT INTO ferry_inbox_range VALUES(5, 45, 70, 0), (99, 1, 2, 0)")
        found, = self.json("verify", self.db, status=REFUSED)
        self.assertEqual(len(found["problems"]), 2)
        self.assertIn("overlap", self.message)

    def test_what_is_no_inbox_is_refused_with_what_to_do(self):
        for command in (["status"], ["list"], ["verify"], ["show"], ["purge"], ["accept"]):
            arguments = {"show": ["x"], "purge": ["c", "--everything"], "accept": ["c"]}.get(command[0], [])
            self.ferry(*command, os.path.join(self.directory, "none.db"), *arguments, status=REFUSED)
            other = os.path.join(self.directory, "other.db")
            sqlite3.connect(other).execute("CREATE TABLE IF NOT EXISTS t(x)")
            self.ferry(*command, other, *arguments, status=REFUSED)
            self.assertIn("ferry inbox init", self.message)


if __name__ == "__main__":
    unittest.main(verbosity=2)
