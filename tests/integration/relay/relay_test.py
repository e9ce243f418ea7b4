"""`ferry relay` between an application in Python and a real broker. Processes are killed, stopped and resumed.

What must hold is read from the outside: every committed row is in the queue, once, and in the order of its key.
"""
import collections
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
from broker import Broker, wait_until  # noqa: E402

FERRY = os.environ["FERRY"]


class Relay:
    def __init__(self, database, url, *extra):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([FERRY, "relay", database, "--url", url, *extra],
                                        stdout=subprocess.PIPE, stderr=self.errors)

    def end(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(timeout=60)
        self.process.stdout.close()
        return self.process.returncode

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode()


class Case(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="ferry-relay-")
        self.broker = Broker(os.environ["FERRYD"]).start()
        self.relays = []
        self.path = os.path.join(self.scratch, "app.db")
        self.ferry("outbox", "init", self.path)
        self.ferry("queue", "declare", "q")
        self.app = self.connect(self.path)

    def tearDown(self):
        for relay in self.relays:
            if relay.process.poll() is None:
                relay.process.send_signal(signal.SIGCONT)
                relay.end(signal.SIGKILL)
            relay.errors.close()
        self.app.close()
        self.broker.end()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def ferry(self, *arguments, status=0):
        done = subprocess.run([FERRY, *arguments, "--url", self.broker.url], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, status, f"{arguments}: {done.stdout}{done.stderr}")
        return done

    @staticmethod
    def connect(path):
        app = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        app.execute("PRAGMA synchronous=FULL")
        return app

    def relay(self, *extra, path=None):
        relay = Relay(path or self.path, self.broker.url, *extra)
        self.relays.append(relay)
        return relay

    @staticmethod
    def commit(app, payloads, key=None):
        app.execute("BEGIN IMMEDIATE")
        app.executemany("INSERT INTO ferry_outbox(routing_key, payload, ordering_key) VALUES ('q', ?, ?)",
                        [(payload, key) for payload in payloads])
        app.execute("COMMIT")

    def pending(self):
        return self.app.execute("SELECT count(*) FROM ferry_outbox").fetchone()[0]

    def drained(self, seconds=60):
        wait_until(lambda: self.pending() == 0, "the outbox drains", seconds)

    def consumed(self, count):
        """So many messages of the queue, as (payload, id)."""
        done = self.ferry("consume", "q", "--count", str(count), "--json")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return [(line["payload"], line["id"]) for line in lines]

    def ready(self):
        return json.loads(self.ferry("queue", "show", "q", "--json").stdout)["ready"]

    def check(self, committed):
        """`committed`: payload "key/number". Each is there once, numbers of a key ascend."""
        self.assertEqual(self.ready(), len(committed))
        got = [payload for payload, _ in self.consumed(len(committed))]
        self.assertEqual(collections.Counter(got), collections.Counter(committed))
        last = {}
        for payload in got:
            key, number = payload.split("/")
            self.assertLess(last.get(key, -1), int(number), f"order of key {key}")
            last[key] = int(number)


class Processes(Case):
    def test_a_commit_reaches_the_queue_and_sigterm_ends_cleanly(self):  # R14
        relay = self.relay()
        self.commit(self.app, ["k/1", "k/2"], "k")
        self.drained()
        (first, origin), _ = self.consumed(2)
        self.assertEqual(first, "k/1")
        producer, epoch, sequence = origin.split(":")
        self.assertEqual((len(producer), epoch, sequence), (32, "1", "1"))
        self.assertEqual(relay.end(), 0)
        self.assertIn("2 messages sent", relay.log())

    def test_once_sends_what_is_there_and_ends(self):
        self.commit(self.app, [f"k/{i}" for i in range(5000)], "k")
        relay = self.relay("--once", "--json")
        out = relay.process.stdout.read()
        relay.end()
        self.assertEqual(relay.process.returncode, 0)
        self.assertEqual(json.loads(out)["sent"], 5000)
        self.assertEqual(self.pending(), 0)
        self.check([f"k/{i}" for i in range(5000)])

    def test_wrong_use_is_told(self):
        done = subprocess.run([FERRY, "relay", os.path.join(self.scratch, "none.db")], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("none.db", done.stderr)
        done = subprocess.run([FERRY, "relay", self.path, "--url", "ferry://x:99999"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2, done.stderr)
        done = subprocess.run([FERRY, "relay", self.path, "--url", "ferry://127.0.0.1:1", "--once"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 3, done.stderr)

    def test_metrics_and_health_are_served(self):
        relay = self.relay("--http", "127.0.0.1:0")
        wait_until(lambda: "metrics on port" in relay.log(), "the port is told")
        port = relay.log().split("metrics on port ")[1].split()[0]
        self.commit(self.app, ["k/1"])
        self.drained()
        def text():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                return answer.read().decode()
        wait_until(lambda: "ferry_relay_sent_total 1" in text(), "the message is counted")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=10) as answer:
            self.assertEqual(answer.status, 200)

    def test_relay_and_broker_are_killed_at_random_and_nothing_is_lost_or_doubled(self):  # G50 G51 G52: R1 R2 R3 R4 R8 B1 B2
        committed, stop = [], threading.Event()
        seed = int(os.environ.get("FERRY_SEED", "1"))
        chance = random.Random(seed)

        def application():
            app, numbers = self.connect(self.path), collections.Counter()
            own = random.Random(seed + 1)
            while not stop.is_set():
                key, batch = own.choice("abcd"), own.randint(1, 30)
                payloads = [f"{key}/{numbers[key] + i}" for i in range(batch)]
                app.execute("BEGIN IMMEDIATE")
                app.executemany("INSERT INTO ferry_outbox(routing_key, payload, ordering_key) VALUES ('q', ?, ?)",
                                [(payload, key) for payload in payloads])
                if own.random() < 0.1:
                    app.execute("ROLLBACK")
                    continue
                app.execute("COMMIT")
                numbers[key] += batch
                committed.extend(payloads)
                time.sleep(0.003)
            app.close()

        writer = threading.Thread(target=application)
        writer.start()
        relay = self.relay()
        try:
            for _ in range(20):
                time.sleep(chance.uniform(0.05, 0.4))
                if chance.random() < 0.7:
                    relay.end(signal.SIGKILL)
                    relay = self.relay()
                else:
                    self.broker.restart()
        finally:
            stop.set()
            writer.join()
        self.drained()
        self.assertGreater(len(committed), 500)
        self.check(committed)

    def test_a_relay_stopped_past_its_lease_changes_nothing_when_it_resumes(self):  # R6, I9
        first = self.relay()
        self.commit(self.app, [f"k/{i}" for i in range(100)], "k")
        self.drained()
        first.process.send_signal(signal.SIGSTOP)
        self.commit(self.app, [f"k/{i}" for i in range(100, 200)], "k")
        second = self.relay()
        self.drained(40)  # the second one waits for the lease of 10 seconds
        self.assertIn("this relay works", second.log())
        first.process.send_signal(signal.SIGCONT)
        self.commit(self.app, [f"k/{i}" for i in range(200, 300)], "k")
        self.drained()
        wait_until(lambda: "the lease is lost" in first.log(), "the first one notices", 20)
        second.end()
        self.commit(self.app, ["k/300"], "k")
        self.drained()
        self.check([f"k/{i}" for i in range(301)])

    def test_a_restored_database_loses_nothing_new(self):  # O11
        relay = self.relay()
        self.commit(self.app, [f"k/{i}" for i in range(10)], "k")
        self.drained()
        backup = os.path.join(self.scratch, "backup.db")
        with sqlite3.connect(backup) as copy:
            self.app.backup(copy)
        copy.close()
        self.commit(self.app, [f"k/{i}" for i in range(10, 20)], "k")
        self.drained()
        relay.end()
        self.app.close()
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self.path + suffix):
                os.unlink(self.path + suffix)
        os.rename(backup, self.path)
        self.app = self.connect(self.path)
        self.app.execute("PRAGMA journal_mode=WAL")
        self.commit(self.app, ["new/1", "new/2"])
        relay = self.relay()
        self.drained()
        self.assertIn("NEW EPOCH 2", relay.log())
        self.check([f"k/{i}" for i in range(20)] + ["new/1", "new/2"])

    def test_a_message_for_a_queue_that_is_not_there_parks_and_goes_when_it_is(self):  # R9
        relay = self.relay("--attempts", "2")
        self.app.execute("INSERT INTO ferry_outbox(routing_key, payload, ordering_key) VALUES ('later', 'x/1', 'x')")
        self.commit(self.app, ["x/2"], "x")
        self.commit(self.app, ["y/1"], "y")
        wait_until(lambda: self.app.execute("SELECT count(*) FROM ferry_outbox_parked WHERE next_ms IS NULL")
                   .fetchone()[0] == 1, "it is parked")
        wait_until(lambda: self.ready() == 1, "the other key went on")
        self.ferry("queue", "declare", "later")
        self.ferry("outbox", "retry", self.path, "--parked")
        self.drained()
        self.assertEqual(self.ready(), 2)
        self.assertEqual(relay.end(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
