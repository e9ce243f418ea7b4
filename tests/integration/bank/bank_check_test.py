"""A checker that finds nothing proves nothing: each kind of damage must be found."""
import os
import shutil
import sqlite3
import tempfile
import unittest

import bank_check

OUTBOX = "CREATE TABLE ferry_outbox(id); CREATE TABLE ferry_outbox_parked(id);"


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="ferry-bank-check-")
        self.sql("p1", OUTBOX + """
            CREATE TABLE account(key, balance); INSERT INTO account VALUES('a', 10000000 - 30);
            CREATE TABLE orders(token, key, number, amount); INSERT INTO orders VALUES('1','a',1,10), ('2','a',2,20);""")
        self.sql("c1", OUTBOX + """
            CREATE TABLE account(key, balance); INSERT INTO account VALUES('a', 30);
            CREATE TABLE ledger(token, key, number, amount); INSERT INTO ledger VALUES('1','a',1,10), ('2','a',2,20);
            CREATE TABLE ferry_inbox_range(cursor, first, last, unsure);""")
        self.sql("r", OUTBOX + "CREATE TABLE receipt(token); INSERT INTO receipt VALUES('1'), ('2');")
        with open(os.path.join(self.directory, "p1.db.rolled-back"), "w", encoding="ascii") as file:
            file.write("3\n")

    def tearDown(self):
        shutil.rmtree(self.directory)

    def sql(self, name, text):
        db = sqlite3.connect(os.path.join(self.directory, name + ".db"))
        db.executescript(text)
        db.close()

    def findings(self):
        return " / ".join(bank_check.check(self.directory)[0])

    def test_finds_nothing_where_nothing_is_wrong(self):
        self.assertEqual(self.findings(), "")

    def test_finds_every_kind_of_damage(self):
        for name, damage, sentence in (
                ("c1", "DELETE FROM ledger WHERE token = '2'", "has 0 effects"),
                ("c1", "INSERT INTO ledger VALUES('2','a',2,20)", "has 2 effects"),
                ("c1", "INSERT INTO ledger VALUES('3','a',3,20)", "was rolled back"),
                ("c1", "INSERT INTO ledger VALUES('9','a',3,20)", "nobody committed"),
                ("c1", "UPDATE ledger SET rowid = 10 - rowid", "came after"),
                ("c1", "UPDATE account SET balance = 31", "units of money"),
                ("c1", "UPDATE ledger SET amount = 7", "arrived as"),
                ("r", "INSERT INTO receipt VALUES('1')", "has 2 receipts"),
                ("r", "DELETE FROM receipt", "has 0 receipts"),
                ("p1", "INSERT INTO ferry_outbox VALUES(1)", "rows in ferry_outbox"),
                ("c1", "INSERT INTO ferry_inbox_range SELECT 1, value, value, 0 FROM json_each('["
                       + ",".join(map(str, range(60))) + "]')", "ranges")):
            with self.subTest(sentence):
                kept = tempfile.mkdtemp()
                shutil.copytree(self.directory, kept, dirs_exist_ok=True)
                self.sql(name, damage)
                self.assertIn(sentence, self.findings())
                shutil.rmtree(self.directory)
                shutil.move(kept, self.directory)


if __name__ == "__main__":
    unittest.main(verbosity=2)
