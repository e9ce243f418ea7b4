"""Runs the examples of docs/outbox.md as they stand there."""
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest

EXTENSION = os.environ["FERRY_OUTBOX_EXTENSION"]
GUIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "docs", "outbox.md")
SCHEMA = os.path.join(os.path.dirname(GUIDE), "outbox-schema.md")


def blocks(language):
    with open(GUIDE, encoding="utf-8") as guide:
        return re.findall(rf"^```{language}\n(.*?)^```$", guide.read(), re.S | re.M)


class Guide(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ferry-guide-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = os.path.join(self.folder, "app.db")

    def rows(self, sql):
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def test_the_sql_of_the_guide_does_what_it_says(self):
        scripts = blocks("sql")
        self.assertEqual(len(scripts), 4)
        done = subprocess.run([shutil.which("sqlite3"), "-bail", self.path], capture_output=True, text=True, timeout=60,
                              input=f".load {EXTENSION}\n.timeout 5000\n" + "\n".join(scripts))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.split("\n")[-3:-1], ['1|order.placed|{"amount":4200}', "2|order.paid|{}"])
        self.assertEqual(self.rows("SELECT routing_key, CAST(payload AS TEXT) FROM ferry_outbox WHERE stream IS NULL"),
                         [("orders", '{"id":17,"amount":4200}'), ("orders", '{"id":18}')])

    def test_the_python_of_the_guide_does_what_it_says(self):
        (script,) = blocks("python")
        for n in (1, 2):
            done = subprocess.run([sys.executable, "-c", script, self.path, EXTENSION], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(self.rows("SELECT count(*), max(ordering_key) FROM ferry_outbox"), [(n, "ada")])

    def test_the_schema_page_shows_every_column_and_every_state(self):
        done = subprocess.run([sys.executable, "-c", blocks("python")[0], self.path, EXTENSION], timeout=60)
        self.assertEqual(done.returncode, 0)
        with open(SCHEMA, encoding="utf-8") as page:
            text = page.read()
        sections = dict(re.findall(r"^## (ferry_outbox\w*)\n(.*?)(?=^## |\Z)", text, re.S | re.M))
        for (table,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'ferry_%'"):
            described = {name for row in re.findall(r"^\| ([\w, ]+?) \|", sections[table], re.M) for name in row.split(", ")}
            found = {name for (name,) in self.rows(f"SELECT name FROM pragma_table_info('{table}')")}
            if table == "ferry_outbox_sent":
                found -= {name for (name,) in self.rows("SELECT name FROM pragma_table_info('ferry_outbox')")}
            if table == "ferry_outbox_state":
                found = {name for (name,) in self.rows("SELECT name FROM ferry_outbox_state")}
            self.assertEqual(found - described, set(), f"{table}: not on the page")


if __name__ == "__main__":
    unittest.main()
