"""Looks at the bank's databases after the fact, with nothing but SQL.

    bank_check.py DIRECTORY        p*.db made transfers, c*.db credited them, r.db has the receipts

What must hold: G30 one effect for each committed transfer, G31 none for a rolled-back one, money conserved (I5),
G37 order per account (I4), receipts once (G32), and tables back at rest (I8, G34).
"""
import collections
import glob
import os
import sqlite3
import sys

INITIAL = 10 * 1_000_000
UNSURE_MAX = 10_000


def rows(path, sql):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def check(directory):
    """Sentences on what is wrong, and figures."""
    wrong = []
    producers = sorted(glob.glob(os.path.join(directory, "p*.db")))
    consumers = sorted(glob.glob(os.path.join(directory, "c*.db")))
    receivers = [os.path.join(directory, "r.db")]
    committed, rolled_back, order = {}, set(), {}
    for path in producers:
        for token, key, number, amount in rows(path, "SELECT token, key, number, amount FROM orders"):
            if token in committed:
                wrong.append(f"token {token} was given twice: the workload is broken")
            committed[token] = (path, key, number, amount)
        with open(path + ".rolled-back", encoding="ascii") as lines:
            rolled_back |= {line.strip() for line in lines}
    applied = collections.Counter()
    for path in consumers:
        for token, key, number, amount in rows(path, "SELECT token, key, number, amount FROM ledger ORDER BY rowid"):
            applied[token] += 1
            if token not in committed:
                wrong.append(f"{os.path.basename(path)} has an effect of {token}, which "
                             + ("was rolled back" if token in rolled_back else "nobody committed"))
                continue
            source, its_key, its_number, its_amount = committed[token]
            if (key, number, amount) != (its_key, its_number, its_amount):
                wrong.append(f"token {token} arrived as {(key, number, amount)}")
            lane = (path, source, key)
            if number <= order.get(lane, 0):
                wrong.append(f"{os.path.basename(path)}: number {number} of {key} came after {order[lane]}")
            order[lane] = max(number, order.get(lane, 0))
    wrong += [f"committed transfer {t} has {applied[t]} effects" for t in committed if applied[t] != 1]
    wrong += [f"rolled-back transfer {t} was committed too" for t in rolled_back & set(committed)]
    receipts = collections.Counter(token for path in receivers for token, in rows(path, "SELECT token FROM receipt"))
    wrong += [f"transfer {t} has {receipts[t]} receipts" for t in set(applied) | set(receipts) if receipts[t] != 1]
    total = sum(rows(path, "SELECT coalesce(sum(balance), 0) FROM account")[0][0] for path in producers + consumers)
    if total != INITIAL * len(producers):
        wrong.append(f"{total} units of money are there instead of {INITIAL * len(producers)}")
    for path in producers + consumers + receivers:
        wrong += at_rest(path)
    return wrong, {"committed": len(committed), "rolled back": len(rolled_back), "effects": sum(applied.values()),
                   "receipts": sum(receipts.values()), "money": total}


def at_rest(path):
    name, wrong = os.path.basename(path), []
    if rows(path, "PRAGMA integrity_check")[0][0] != "ok":
        wrong.append(f"{name} is damaged")
    for table in ("ferry_outbox", "ferry_outbox_parked"):
        left = rows(path, f"SELECT count(*) FROM {table}")[0][0]
        if left:
            wrong.append(f"{name}: {left} rows in {table}")
    if rows(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'ferry_inbox_range'")[0][0]:
        exact, = rows(path, "SELECT count(*) FROM ferry_inbox_range WHERE unsure = 0")[0]
        unsure, = rows(path, "SELECT count(*) FROM ferry_inbox_range WHERE unsure = 1")[0]
        if exact > 50 or unsure > UNSURE_MAX:
            wrong.append(f"{name}: {exact} ranges and {unsure} unsure ones are kept")
    wal = path + "-wal"
    if os.path.exists(wal) and os.path.getsize(wal) > 64 << 20:
        wrong.append(f"{name}: its WAL has {os.path.getsize(wal)} bytes")
    return wrong


def main():
    wrong, figures = check(sys.argv[1])
    for sentence in wrong[:50]:
        print(sentence, file=sys.stderr)
    print(", ".join(f"{name} {value}" for name, value in figures.items()))
    print("all is as it must be" if not wrong else f"{len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
