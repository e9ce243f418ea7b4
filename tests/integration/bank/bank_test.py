"""A bank of ten processes, each killed (SIGKILL) at random, or stopped for longer than a lease, then checked by bank_check.py
and, as a history, by ferry_check, which share no code.

    p1 p2  transfers and an outbox         c1 c2  an inbox, accounts and an outbox       r  an inbox, receipts
     └─ relay ─► ferryd ─ bank1 bank2 ──────►└─ relay ─► ferryd ─ receipts ──────────────►┘

BANK_CYCLES says how many kills there are (default 250); BANK_SEED repeats their order.
Cites G30, G31, G32, G34, G37.
"""
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))
import bank_check  # noqa: E402
from broker import Broker  # noqa: E402
from notes import Notes  # noqa: E402

GOAL = 250
CYCLES = int(os.environ.get("BANK_CYCLES", GOAL))
SEED = int(os.environ.get("BANK_SEED", str(random.randrange(1 << 30))))
QUEUES = ("bank1", "bank2", "receipts")
LEASE = 2.0
# Of the history: processes, and one queue of transfers and one of receipts.
NUMBERS = {"broker": 9, "p1": 1, "p2": 2, "c1": 11, "c2": 12, "r": 13,
           "relay-p1": 21, "relay-p2": 22, "relay-c1": 23, "relay-c2": 24}
TRANSFERS, RECEIPTS = 1, 2


class Process:
    def __init__(self, name, directory, *command):
        self.name, self.command = name, command
        self.errors = open(os.path.join(directory, name + ".stderr"), "ab")
        self.process = None
        self.stopped_until = None

    def pause(self, seconds):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
            self.stopped_until = time.monotonic() + seconds

    def wake(self, in_any_case=False):
        if self.stopped_until is not None and (in_any_case or time.monotonic() > self.stopped_until):
            self.process.send_signal(signal.SIGCONT)
            self.stopped_until = None

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=self.errors)

    def kill(self):
        # It may have ended by itself already: a relay that found no database, a consumer no broker.
        self.process.kill()
        self.process.wait()
        self.stopped_until = None

    def stop(self):
        self.wake(True)
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            return "no end after SIGTERM"


class Bank:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="ferry-bank-")
        self.broker = Broker(os.environ["FERRYD"]).start()
        bank, ferry, url = os.environ["BANK"], os.environ["FERRY"], self.broker.url
        for queue in QUEUES:
            subprocess.run([ferry, "--url", url, "queue", "declare", queue], check=True, stdout=subprocess.DEVNULL)
        db = {name: os.path.join(self.directory, name + ".db") for name in ("p1", "p2", "c1", "c2", "r")}
        self.db = db
        make = lambda name, *command: Process(name, self.directory, *command)  # noqa: E731
        self.producers = [make(p, bank, "produce", db[p], "bank1", "bank2") for p in ("p1", "p2")]
        self.consumers = [make("c1", bank, "apply", db["c1"], url, "bank1"),
                          make("c2", bank, "apply", db["c2"], url, "bank2"),
                          make("r", bank, "receive", db["r"], url, "receipts")]
        self.relays = [make("relay-" + name, ferry, "--url", url, "relay", db[name], "--lease", "1s") for name in ("p1", "p2", "c1", "c2")]
        self.random = random.Random(SEED)
        self.notes = Notes(os.path.join(self.directory, "history"))
        self.notes.rules(brokers=[NUMBERS["broker"]])
        self.pauses = self.recovery_kills = 0

    def start(self):
        for process in self.producers + self.consumers:
            process.start()
        self.until(lambda: all(self.has_outbox(name) for name in ("p1", "p2", "c1", "c2")), "the databases are made")
        for process in self.relays:
            process.start()

    def has_outbox(self, name):
        try:
            return self.count(name, "SELECT count(*) FROM ferry_outbox_state") > 0
        except sqlite3.OperationalError:
            return False

    def count(self, name, sql):
        db = sqlite3.connect(f"file:{self.db[name]}?mode=ro", uri=True, timeout=10)
        try:
            return db.execute(sql).fetchone()[0]
        finally:
            db.close()

    def until(self, condition, what, seconds=90):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                self.explain()
                raise AssertionError(f"still waiting after {seconds} s: {what} (BANK_SEED={SEED})")
            time.sleep(0.1)

    def cycle(self, number):
        everybody = self.producers + self.consumers + self.relays
        many = everybody + ["broker"]
        victims = many if number % 40 == 39 else self.random.sample(many, self.random.choice((1, 1, 2, 3)))
        for victim in victims:
            self.notes.add("crash", process=NUMBERS["broker" if victim == "broker" else victim.name])
            self.broker.kill() if victim == "broker" else victim.kill()
        time.sleep(self.random.random() * 0.1)
        if "broker" in victims and self.random.random() < 0.35:
            # Also while it recovers.
            self.broker.begin()
            time.sleep(self.random.random() * 0.03)
            self.broker.kill()
            self.recovery_kills += 1
        for victim in victims:
            self.broker.start() if victim == "broker" else victim.start()
        # Those that gave up while the broker was away.
        for process in everybody:
            if process.process.poll() is not None:
                process.start()
            process.wake()
        if number % 25 == 12:
            # Beyond the lease of what it holds; kills go on meanwhile.
            self.random.choice(self.consumers + self.relays).pause(LEASE + 0.7)
            self.pauses += 1
        time.sleep(self.random.random() * 0.6)

    def drained(self):
        for process in self.consumers + self.relays:
            if process.process.poll() is not None:
                process.start()
        if any(self.count(name, "SELECT count(*) FROM ferry_outbox") for name in ("p1", "p2", "c1", "c2")):
            return False
        listed = subprocess.run([os.environ["FERRY"], "--url", self.broker.url, "queue", "list", "--json"],
                                stdout=subprocess.PIPE, check=True).stdout.decode()
        return all(queue["ready"] == 0 and queue["unacked"] == 0 for queue in map(json.loads, listed.splitlines()))

    def settle(self):
        for process in self.producers + self.consumers + self.relays:
            process.wake(True)
        for process in self.producers:
            status = process.stop()
            assert status == 0, f"{process.name} ended with {status}"
        self.until(self.drained, "all has arrived and is handled")  # I10

    def judge(self):
        """What ferry_check says of the whole run as a history; None: nothing is wrong."""
        for name in ("p1", "p2"):
            for token, in bank_check.rows(self.db[name], "SELECT token FROM orders"):
                self.notes.add("commit", process=NUMBERS[name], queue=TRANSFERS, id=int(token))
            with open(self.db[name] + ".rolled-back", encoding="ascii") as lines:
                for token in lines:
                    self.notes.add("commit", "fail", process=NUMBERS[name], queue=TRANSFERS, id=int(token))
        for name in ("c1", "c2"):
            for token, in bank_check.rows(self.db[name], "SELECT token FROM ledger"):
                self.notes.add("effect", process=NUMBERS[name], queue=TRANSFERS, id=int(token))
                self.notes.add("commit", process=NUMBERS[name], queue=RECEIPTS, id=int(token))
        for token, in bank_check.rows(self.db["r"], "SELECT token FROM receipt"):
            self.notes.add("effect", process=NUMBERS["r"], queue=RECEIPTS, id=int(token))
        self.notes.add("drained")
        self.notes.close()
        done = subprocess.run([os.environ["FERRY_CHECK"], self.notes.path], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        return done.stdout.decode() if done.returncode != 0 else None

    def tidy(self):
        return all(self.count(name, "SELECT count(*) FROM ferry_inbox_range WHERE unsure = 0") <= 50
                   for name in ("c1", "c2", "r"))

    def explain(self):
        for name in sorted(os.listdir(self.directory)):
            if name.endswith(".stderr"):
                with open(os.path.join(self.directory, name), encoding="utf-8", errors="replace") as file:
                    print(f"--- {name}\n{file.read()[-1500:]}", file=sys.stderr)

    def end(self):
        for process in self.producers + self.consumers + self.relays:
            if process.process is not None and process.process.poll() is None:
                process.kill()
        self.broker.end()
        shutil.rmtree(self.directory, ignore_errors=True)


def main():
    began = time.monotonic()
    print(f"{CYCLES} kills, BANK_SEED={SEED}", flush=True)
    os.environ["BANK_LEASE_MS"] = str(int(LEASE * 1000))
    bank = Bank()
    try:
        bank.start()
        for number in range(CYCLES):
            bank.cycle(number)
        bank.settle()
        # A little calm traffic tells the inboxes how far everything is settled: a relay with much in flight cannot.
        for _ in range(20):
            for process in bank.producers:
                process.start()
            time.sleep(1.5)
            bank.settle()
            time.sleep(2.5)  # they tidy up once a second
            if bank.tidy():
                break
        for process in bank.consumers + bank.relays:
            status = process.stop()
            assert status == 0, f"{process.name} ended with {status}"
        assert bank.broker.stop() == 0
        wrong, figures = bank_check.check(bank.directory)
        verdict = bank.judge()
        wrong += [verdict] if verdict else []
        print(f"{bank.pauses} pauses beyond a lease, {bank.recovery_kills} kills during recovery")
        print(f"evidence: random-kills reached {CYCLES} of {GOAL}")
        print(", ".join(f"{name} {value}" for name, value in figures.items()), f"in {time.monotonic() - began:.0f} s")
        if wrong:
            bank.explain()
            print("\n".join(wrong[:30]), file=sys.stderr)
            print(f"{len(wrong)} findings, BANK_SEED={SEED}", file=sys.stderr)
            return 1
        assert figures["committed"] > CYCLES, "hardly anything happened"
        return 0
    finally:
        bank.end()


if __name__ == "__main__":
    sys.exit(main())
