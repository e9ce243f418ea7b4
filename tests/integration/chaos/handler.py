"""A handler as somebody might write it: handler.py right|ack-first|no-inbox DATABASE

Ends when the broker goes away; `ferry chaos run` starts it again.
"""
import json
import os
import sqlite3
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
import ferry_client as ferry  # noqa: E402
from ferry_client import Client, Closed  # noqa: E402


def apply(db, kind, body):
    order = json.loads(body)
    db.execute("BEGIN IMMEDIATE")
    fresh = db.execute("INSERT OR IGNORE INTO done(id) VALUES(?)", (order["order"],)).rowcount == 1
    if fresh or kind != "right":
        db.execute("INSERT INTO bill(id, customer) VALUES(?, ?)", (order["order"], order["customer"]))
    db.execute("COMMIT")


def main():
    kind, path = sys.argv[1:]
    db = sqlite3.connect(path, isolation_level=None, timeout=30)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE IF NOT EXISTS done(id INTEGER PRIMARY KEY)")
    db.execute("CREATE TABLE IF NOT EXISTS bill(id INTEGER, customer TEXT)")
    url = urllib.parse.urlparse(os.environ["FERRY_URL"])
    client = Client(url.hostname, url.port)
    client.subscribe(1, os.environ["FERRY_QUEUE"], window=20)
    while True:
        _, _, tag, _, _, _, _, messages = client.wait_for(lambda f: f[0] == ferry.DELIVER, 3600)[:8]
        for i, each in enumerate(messages):
            if kind == "ack-first":
                client.ack(1, [tag + i, tag + i])
            else:
                apply(db, kind, each[3])
            if kind != "right":
                time.sleep(0.03)
            if kind == "ack-first":
                apply(db, kind, each[3])
            else:
                client.ack(1, [tag + i, tag + i])


if __name__ == "__main__":
    try:
        main()
    except (Closed, OSError) as gone:
        sys.exit(f"handler: {gone!r}")
