"""The third participant of an order, in Python: ships, with nothing but sqlite3, the extension and `ferry`.

    shipping.py FERRY FERRY_OUTBOX.so DB URL

`ferry consume` brings the commands, `ferry relay DB` (beside this program) sends the answers. What is shipped, what the
barrier remembers and the answer are one transaction. A command that `ferry consume` took and this program did not carry
out because it was killed comes again: the saga asks until it is answered.
"""
import json
import sqlite3
import subprocess
import sys

QUEUE = "shipping.ship"


def open_database(extension, path):
    db = sqlite3.connect(path, isolation_level=None, timeout=5)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.enable_load_extension(True)
    db.load_extension(extension)
    db.execute("SELECT ferry_outbox_init()")
    db.execute("CREATE TABLE IF NOT EXISTS parcel(id INTEGER PRIMARY KEY, order_id TEXT NOT NULL)")
    db.execute("""CREATE TABLE IF NOT EXISTS barrier(
        saga TEXT NOT NULL, step TEXT NOT NULL, acted TEXT, undone INTEGER NOT NULL DEFAULT 0,
        token INTEGER NOT NULL, result TEXT, PRIMARY KEY(saga, step)) WITHOUT ROWID""")
    return db


def ship(db, order):
    """The effect. A result, or None for a refusal."""
    cursor = db.execute("INSERT INTO parcel(order_id) VALUES(?)", (order["order"],))
    return json.dumps({"parcel": cursor.lastrowid})


def handle(db, message):
    """The table of docs/saga.md, row by row; this step has no compensation but an empty one."""
    headers, saga = message["headers"], message["correlation_id"]
    step, token = headers["ferry-saga-step"], headers["ferry-saga-token"]
    row = db.execute("SELECT acted, undone, token, result FROM barrier WHERE saga = ? AND step = ?", (saga, step)).fetchone()
    acted, undone, seen, result = row or (None, 0, 0, None)
    if token < seen or (row and token == seen and acted is None and not undone):
        return
    answer, reason = "done", None
    if headers["ferry-saga-op"] == "undo":
        if acted and not undone:
            db.execute("DELETE FROM parcel WHERE order_id = ?", (json.loads(message["payload"])["order"],))
        undone = 1
    elif undone:
        answer, reason = "failed", "it was undone before it came"
    elif acted is None:
        acted, result = "done", ship(db, json.loads(message["payload"]))
    db.execute("""INSERT INTO barrier(saga, step, acted, undone, token, result) VALUES(?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT DO UPDATE SET acted = ?3, undone = ?4, token = ?5, result = ?6""",
               (saga, step, acted, undone, token, result))
    reply = {"ferry-saga-step": step, "ferry-saga-op": headers["ferry-saga-op"],
             "ferry-saga-attempt": headers["ferry-saga-attempt"], "ferry-saga-answer": answer,
             "traceparent": headers["traceparent"]}
    if reason:
        reply["ferry-saga-reason"] = reason
    db.execute("SELECT ferry_publish('', ?, ?, ?)", (message["reply_to"], result or "{}", json.dumps(
        {"ordering_key": saga, "correlation_id": saga, "content_type": "application/json", "headers": reply})))


def main():
    ferry, extension, path, url = sys.argv[1:]
    db = open_database(extension, path)
    consume = subprocess.Popen([ferry, "--url", url, "consume", QUEUE, "--follow", "--format", "json", "--window", "1"],
                               stdout=subprocess.PIPE, text=True)
    print("shipping is ready", flush=True)
    for line in consume.stdout:
        db.execute("BEGIN IMMEDIATE")
        try:
            handle(db, json.loads(line))
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
    return consume.wait()


if __name__ == "__main__":
    sys.exit(main())
