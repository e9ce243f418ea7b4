"""The order service's first half in Python: places orders with plain SQL and the SQLite extension.

    order_service.py FERRY_OUTBOX.so DB ITEM CENTS [HOW_MANY]

`ferry relay DB` sends what is committed here. Any language whose SQLite can load an extension does the same.
"""
import sqlite3
import sys


def open_database(extension, path):
    db = sqlite3.connect(path, isolation_level=None, timeout=5)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.enable_load_extension(True)
    db.load_extension(extension)
    db.execute("SELECT ferry_outbox_init()")
    db.execute("""CREATE TABLE IF NOT EXISTS orders(
        id INTEGER PRIMARY KEY, item TEXT NOT NULL, cents INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'placed', paid_times INTEGER NOT NULL DEFAULT 0)""")
    return db


def place(db, item, cents):
    """The order and the request for its payment are one transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        order, = db.execute("INSERT INTO orders(item, cents) VALUES(?, ?) RETURNING id", (item, cents)).fetchone()
        db.execute("SELECT ferry_publish('', 'payments', ?, json_object('reply_to', 'python-order-events'))",
                   (f"{order} {cents}",))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return order


if __name__ == "__main__":
    database = open_database(sys.argv[1], sys.argv[2])
    for _ in range(int(sys.argv[5]) if len(sys.argv) > 5 else 1):
        print("placed order", place(database, sys.argv[3], int(sys.argv[4])))
