"""A producer without an outbox: prepare, local work, submit. It stops at the point that it is told, and says so.

Usage: producer.py PORT DATABASE ID POINT
"""
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
from ferry_client import Client, Refused, message  # noqa: E402

PREPARE, DECIDE = 76, 77
PORT, DATABASE, ID, POINT = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


def point(name):
    print(name, flush=True)
    if name == POINT:
        sys.stdin.readline()  # goes on when told so


def main():
    client = Client("127.0.0.1", PORT)
    client.request(PREPARE, ID, {"check_queue": "checks", "producer": "shop", "check_after_ms": 100},
                   message("payments", ID.encode()))
    point("prepared")
    shop = sqlite3.connect(DATABASE, isolation_level=None, timeout=30)
    shop.execute("PRAGMA synchronous=FULL")
    try:
        shop.execute("BEGIN IMMEDIATE")
        shop.execute("INSERT INTO orders(id) VALUES(?)", (ID,))
        shop.execute("INSERT INTO ferry_decision(id) VALUES(?)", (ID,))
        point("open")
        shop.execute("COMMIT")
    except sqlite3.IntegrityError:
        shop.execute("ROLLBACK")
        client.request(DECIDE, ID, "drop")
        print("rolled back", flush=True)
        return
    point("committed")
    try:
        client.request(DECIDE, ID, "submit")
    except Refused as refused:
        print("refused", refused.code, flush=True)
    point("submitted")


main()
