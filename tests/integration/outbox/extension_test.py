"""ferry_outbox.so from the outside: the sqlite3 shell, Python, and a plain INSERT without it."""
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import unittest

EXTENSION = os.environ["FERRY_OUTBOX_EXTENSION"]
SHELL = shutil.which("sqlite3")


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ferry-outbox-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = os.path.join(self.folder, "app.db")
        connection = self.connect()
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("SELECT ferry_outbox_init()")
        connection.execute("CREATE TABLE orders(id INTEGER PRIMARY KEY, text TEXT)")
        connection.close()

    def connect(self, extension=True, **options):
        connection = sqlite3.connect(self.path, **options)
        if extension:
            connection.enable_load_extension(True)
            connection.load_extension(EXTENSION)
            connection.enable_load_extension(False)
        return connection

    def pending(self):
        connection = sqlite3.connect(self.path)
        rows = connection.execute("SELECT id, routing_key, CAST(payload AS TEXT) FROM ferry_outbox ORDER BY id").fetchall()
        connection.close()
        return rows

    def shell(self, script):
        return subprocess.run([SHELL, "-bail", self.path], input=script, capture_output=True, text=True, timeout=60)


class Python(Case):
    def test_with_commits_both_and_an_exception_rolls_both_back(self):
        connection = self.connect()
        with connection:
            order = connection.execute("INSERT INTO orders(text) VALUES ('book')").lastrowid
            connection.execute("SELECT ferry_publish('', 'orders', ?)", (f'{{"id":{order}}}',))
        with self.assertRaises(RuntimeError), connection:
            connection.execute("INSERT INTO orders(text) VALUES ('never')")
            connection.execute("SELECT ferry_publish('', 'orders', 'never')")
            raise RuntimeError("the application changed its mind")
        self.assertEqual(self.pending(), [(1, "orders", '{"id":1}')])
        self.assertEqual(connection.execute("SELECT count(*) FROM orders").fetchone(), (1,))
        connection.close()

    def test_outside_a_transaction_it_says_what_to_do(self):
        connection = self.connect()
        with self.assertRaisesRegex(sqlite3.Error, "BEGIN IMMEDIATE"):
            connection.execute("SELECT ferry_publish('', 'orders', 'x')")
        connection.close()
        self.assertEqual(self.pending(), [])

    def test_a_wrong_option_leaves_the_transaction_usable(self):
        connection = self.connect(isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT ferry_publish('', 'orders', 'a')")
        with self.assertRaisesRegex(sqlite3.Error, 'no option "prio"'):
            connection.execute("SELECT ferry_publish('', 'orders', 'b', '{\"prio\":1}')")
        connection.execute("SELECT ferry_publish('', 'orders', 'c')")
        connection.execute("COMMIT")
        connection.close()
        self.assertEqual([row[2] for row in self.pending()], ["a", "c"])

    # G88
    def test_ferry_decide_lets_one_of_commit_and_answer_through(self):
        connection = self.connect(isolation_level=None)
        connection.execute("SELECT ferry_decision_init()")
        with self.assertRaisesRegex(sqlite3.Error, "part of the transaction"):
            connection.execute("SELECT ferry_decide('a')").fetchall()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT ferry_decide('a')").fetchall()
        connection.execute("COMMIT")
        connection.execute("INSERT INTO ferry_decision(id, outcome) VALUES('b', 'rolled back')")
        connection.execute("BEGIN IMMEDIATE")
        with self.assertRaisesRegex(sqlite3.Error, "roll this transaction back"):
            connection.execute("SELECT ferry_decide('b')").fetchall()
        connection.execute("ROLLBACK")
        rows = connection.execute("SELECT id, outcome FROM ferry_decision ORDER BY id").fetchall()
        self.assertEqual(rows, [("a", "committed"), ("b", "rolled back")])
        connection.close()

    def test_closing_leaves_no_log_behind(self):
        connection = self.connect()
        with connection:
            connection.execute("INSERT INTO orders(text) VALUES ('x')")
            connection.execute("SELECT ferry_publish('', 'orders', 'x')")
        connection.close()
        self.assertFalse(os.path.exists(self.path + "-wal"), "a statement that is kept must not keep the connection")

    def test_a_commit_wakes_whoever_listens(self):
        relay = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(relay.close)
        relay.bind(os.path.realpath(self.path) + "-ferry.sock")
        relay.settimeout(30)
        connection = self.connect()
        with connection:
            connection.execute("INSERT INTO orders(text) VALUES ('x')")
            connection.execute("SELECT ferry_publish('', 'orders', 'x')")
        self.assertEqual(relay.recv(10), b"w")
        connection.close()

    def test_many_processes_keep_ids_in_order_of_commit(self):
        script = (
            "import sqlite3, sys\n"
            "c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n"
            "c.enable_load_extension(True); c.load_extension(sys.argv[2])\n"
            "for i in range(60):\n"
            "    c.execute('BEGIN IMMEDIATE')\n"
            "    c.execute('SELECT ferry_publish(?, ?, ?)', ('', 'orders', f'{sys.argv[3]}:{i:03}'))\n"
            "    c.execute('ROLLBACK' if i % 5 == 4 else 'COMMIT')\n")
        writers = [subprocess.Popen([sys.executable, "-c", script, self.path, EXTENSION, str(n)]) for n in range(4)]
        for writer in writers:
            self.assertEqual(writer.wait(120), 0)
        rows = self.pending()
        self.assertEqual([row[0] for row in rows], list(range(1, 4 * 48 + 1)))
        for n in range(4):
            mine = [row[2] for row in rows if row[2].startswith(f"{n}:")]
            self.assertEqual(mine, sorted(mine))
            self.assertEqual(len(mine), 48)

    def test_o1_o2_killed_before_or_after_the_commit(self):
        script = (
            "import os, signal, sqlite3, sys\n"
            "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "c.enable_load_extension(True); c.load_extension(sys.argv[2])\n"
            "c.execute('BEGIN IMMEDIATE')\n"
            "c.execute(\"SELECT ferry_publish('', 'orders', ?)\", (sys.argv[3],))\n"
            "if sys.argv[3] == 'after': c.execute('COMMIT')\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n")
        for when in ("before", "after", "before"):
            done = subprocess.run([sys.executable, "-c", script, self.path, EXTENSION, when], timeout=60)
            self.assertEqual(done.returncode, -signal.SIGKILL)
        self.assertEqual(self.pending(), [(1, "orders", "after")])


class Shell(Case):
    def test_the_shell_publishes(self):
        done = self.shell(f".load {EXTENSION}\n.timeout 5000\nBEGIN IMMEDIATE;\nINSERT INTO orders VALUES (5, 'x');\n"
                          "SELECT ferry_publish('', 'orders', json_object('id', 5), '{\"priority\":3}');\nCOMMIT;\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.pending(), [(1, "orders", '{"id":5}')])

    def test_a_refusal_is_one_sentence(self):
        done = self.shell(f".load {EXTENSION}\nBEGIN IMMEDIATE;\nSELECT ferry_publish('', 'orders', 'x', '{{\"color\":1}}');\n")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('there is no option "color"', done.stderr)
        self.assertEqual(self.pending(), [])

    def test_events_of_a_stream_have_versions(self):
        done = self.shell(f".load {EXTENSION}\nBEGIN IMMEDIATE;\nSELECT ferry_append('order-5', 0, 'placed', '{{}}');\n"
                          "SELECT ferry_append('order-5', 1, 'paid', '{}');\nCOMMIT;\nBEGIN IMMEDIATE;\n"
                          "SELECT ferry_append('order-5', 1, 'paid', '{}');\n")
        self.assertEqual(done.stdout.split(), ["1", "2"])
        self.assertIn("is at version 2, not 1 as expected", done.stderr)


class Plain(Case):
    def test_a_plain_insert_is_enough(self):
        connection = self.connect(extension=False)
        with connection:
            connection.execute("INSERT INTO orders(text) VALUES ('x')")
            connection.execute("INSERT INTO ferry_outbox(routing_key, payload) VALUES ('orders', ?)", (b"x",))
        with self.assertRaisesRegex(sqlite3.IntegrityError, "priority must be a whole number from 0 to 9"):
            connection.execute("INSERT INTO ferry_outbox(routing_key, payload, priority) VALUES ('orders', 'x', 11)")
        connection.close()
        self.assertEqual(self.pending(), [(1, "orders", "x")])


if __name__ == "__main__":
    unittest.main()
