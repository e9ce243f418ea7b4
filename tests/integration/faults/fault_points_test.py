"""Every named fault point of ferryd, `ferry relay` and a consumer kills the program at its first and at a later passage.

Needs programs built with FERRY_FAULT_POINTS. A point that is never reached fails the test, so none can rot.
"""
import itertools
import json
import os
import re
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))
sys.path.insert(0, os.path.join(HERE, "..", "relay"))

import ferry_client as ferry  # noqa: E402
from broker import Broker, wait_until  # noqa: E402
from ferry_client import Client, Closed, message, spread  # noqa: E402
from relay_test import Case as RelayCase  # noqa: E402

SOURCE = os.path.join(HERE, "..", "..", "..")
PATIENCE = 60.0
KILLED = -9


def points(room, prefix):
    """The names in the sources: a new point is tested without being listed here."""
    found = set()
    for parent, _, files in os.walk(os.path.join(SOURCE, room)):
        for name in files:
            with open(os.path.join(parent, name), encoding="utf-8") as file:
                found |= set(re.findall(r'FERRY_FAULT_POINT\("(' + prefix + r'[a-z._]+)"\)', file.read()))
    return sorted(found)


class Environment:
    """FERRY_FAULT for the programs that are started inside."""

    def __init__(self, fault):
        self.fault = fault

    def __enter__(self):
        os.environ["FERRY_FAULT"] = self.fault

    def __exit__(self, *_):
        del os.environ["FERRY_FAULT"]


class Relays(RelayCase):
    # G50 G51 G52
    def test_a_relay_killed_at_any_of_its_points_loses_doubles_and_reorders_nothing(self):
        names = points("outbox", "relay")
        self.assertGreaterEqual(len(names), 5)
        committed = []
        for name in names:
            for passage in (1, 4):
                with self.subTest(point=name, passage=passage):
                    self.one_kill(f"{name}:{passage}", committed)
        last = self.relay("--once")
        last.process.wait(timeout=60)
        self.assertEqual(last.end(), 0, last.log())
        self.check(committed)

    def one_kill(self, fault, committed):
        # The lease of the one that was killed ends, ten seconds early.
        self.app.execute("UPDATE ferry_outbox_state SET value = 0 WHERE name = 'lease_until_ms'")
        with Environment(fault):
            relay = self.relay()
        deadline = time.monotonic() + PATIENCE
        while relay.process.poll() is None:
            self.assertLess(time.monotonic(), deadline, f"{fault} was never reached")
            rows = [f"k{i % 3}/{len(committed) + i}" for i in range(6)]
            for key in range(3):
                self.commit(self.app, [row for row in rows if row.startswith(f"k{key}/")], f"k{key}")
            committed += rows
            try:
                relay.process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                pass
        self.assertEqual(relay.end(), KILLED, relay.log())


class Consumers(RelayCase):
    # G30 G31 G32
    def test_a_consumer_killed_at_any_of_its_points_makes_each_effect_once(self):
        names = points("consumer", "(?:inbox|consumer)")
        self.assertGreaterEqual(len(names), 4)
        self.database = os.path.join(self.scratch, "bank.db")
        self.tokens = 0
        for name in names:
            for passage in (1, 3):
                with self.subTest(point=name, passage=passage):
                    self.one_kill(f"{name}:{passage}")
        with subprocess.Popen(self.command(), stderr=subprocess.DEVNULL) as consumer:
            try:
                wait_until(lambda: self.left() == 0, "the queue is empty", PATIENCE)
            finally:
                consumer.terminate()
        bank = self.connect(self.database)
        effects = bank.execute("SELECT CAST(token AS INTEGER), count(*) FROM ledger GROUP BY 1 ORDER BY 1").fetchall()
        self.assertEqual(effects, [(i, 1) for i in range(self.tokens)])
        orders = bank.execute("SELECT number FROM ledger ORDER BY rowid").fetchall()
        self.assertEqual([int(number) for number, in orders], list(range(self.tokens)), "one key, one order")
        receipts = bank.execute("SELECT payload FROM ferry_outbox ORDER BY id").fetchall()
        self.assertEqual([int(payload) for payload, in receipts], list(range(self.tokens)))
        self.assertEqual(bank.execute("SELECT sum(balance) FROM account").fetchone()[0], self.tokens * 7)
        bank.close()

    def command(self):
        return [os.environ["BANK"], "apply", self.database, self.broker.url, "q"]

    def left(self):
        queue = json.loads(self.ferry("queue", "show", "q", "--json").stdout)
        return queue["ready"] + queue["unacked"] + queue["delayed"]

    def one_kill(self, fault):
        rows = [f"{self.tokens + i}|account|{self.tokens + i}|7" for i in range(20)]
        self.tokens += len(rows)
        self.commit(self.app, rows, "account")
        relay = self.relay("--once")
        relay.process.wait(timeout=60)
        self.assertEqual(relay.end(), 0, relay.log())
        with Environment(fault), subprocess.Popen(self.command(), stderr=subprocess.DEVNULL) as consumer:
            try:
                self.assertEqual(consumer.wait(timeout=PATIENCE), KILLED)
            except subprocess.TimeoutExpired:
                consumer.kill()
                raise


class Brokers(unittest.TestCase):
    CONFIG = '[log]\nsegment_bytes = "4MiB"\ncheckpoint_bytes = "4MiB"\ncache_bytes = "1MiB"\n'

    def setUp(self):
        self.broker = Broker(os.environ["FERRYD"])
        self.addCleanup(self.broker.end)
        self.config = os.path.join(self.broker.data, "ferryd.toml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(self.CONFIG)
        self.start()
        client = self.connect()
        client.declare("keep")
        client.declare("busy")
        client.close()
        self.next = {"keep": 1, "busy": 1}
        self.confirmed = {"keep": set(), "busy": set()}
        self.settled = set()   # of busy, told so by the broker
        self.acked = set()     # asked for; may be

    def start(self):
        self.broker.start("--config", self.config)

    def connect(self):
        client = Client("127.0.0.1", self.broker.port)
        self.addCleanup(client.close)
        return client

    # G1 G3 G5 G10 G14
    def test_a_broker_killed_at_any_of_its_points_keeps_what_it_confirmed(self):
        names = points("broker", "log")
        self.assertGreaterEqual(len(names), 14)
        for name in names:
            if name.startswith("log.recovery"):
                continue
            for passage in (1, 2):
                with self.subTest(point=name, passage=passage):
                    self.one_kill(f"{name}:{passage}")
        # A start is killed too, each time where the last one left off.
        for name in (n for n in names if n.startswith("log.recovery")):
            with self.subTest(point=name):
                self.one_kill("log.sync.after:9")
                with Environment(name), self.assertRaises(AssertionError):
                    self.start()
        self.start_and_check(last=True)

    def one_kill(self, fault):
        if self.broker.process is None:
            self.start_and_check()
        self.broker.kill()
        with Environment(fault):
            try:
                self.start()
            except AssertionError:
                return  # reached before it was ready
        deadline = time.monotonic() + PATIENCE
        try:
            client = self.connect()
            client.subscribe(1, "busy", window=2000, window_bytes=64 << 20)
            producers = {queue: client.producer("p-" + queue) for queue in self.next}
            for queue, producer in producers.items():
                self.take_up(client, queue, producer)
            for round_ in itertools.count():
                self.assertLess(time.monotonic(), deadline, f"{fault} was never reached")
                # Some segments of the busy queue's traffic keep a message of the other one, to be compacted, some not.
                if round_ % 16 == 0:
                    self.publish(client, producers["keep"]["producer"], "keep", 1, 100)
                self.publish(client, producers["busy"]["producer"], "busy", 200, 4000)
                self.consume(client)
        except (Closed, OSError):
            pass
        self.assertEqual(self.broker.process.wait(timeout=30), KILLED)
        self.broker.kill()

    def take_up(self, client, queue, producer):
        """What was under way when the broker died is sent again under its sequences."""
        self.assertGreaterEqual(producer["mark"], max(self.confirmed[queue], default=0), "a confirmed message is gone")
        missing = self.next[queue] - 1 - len(self.confirmed[queue])
        if missing:
            first = self.next[queue] - missing
            self.send(client, producer["producer"], queue, first, missing, 50, ("confirmed", "duplicate"))

    def publish(self, client, handle, queue, count, size):
        first = self.next[queue]
        self.next[queue] += count
        self.send(client, handle, queue, first, count, size)

    def send(self, client, handle, queue, first, count, size, answers=("confirmed",)):
        payloads = [(b"%d " % (first + i)).ljust(size, b".") for i in range(count)]
        client.publish(handle, first, [message(queue, payload) for payload in payloads])
        for sequence, what in client.outcomes(handle, first, first + count - 1).items():
            self.assertIn(what, answers)
            self.confirmed[queue].add(sequence)

    def consume(self, client):
        """Takes what is there and asks to be told that it is settled."""
        while True:
            try:
                frame = client.wait_for(lambda f: f[0] == ferry.DELIVER, 0.01)
            except OSError:
                return
            numbers = {int(each[3].split(b" ")[0]) for each in frame[7]}
            self.assertFalse(numbers & self.settled, "a settled message came again")
            self.acked |= numbers
            last = frame[2] + len(frame[7]) - 1
            client.send(ferry.ACK, 9, 1, [frame[2], last])
            lost = spread(client.answer(9, answers=(ferry.SETTLED,)))
            self.assertEqual(lost, set())
            self.settled |= numbers

    def start_and_check(self, last=False):
        self.start()
        client = self.connect()
        for queue in self.next:
            left = client.request(ferry.QUEUE_SHOW, queue)["ready"]
            at_least = len(self.confirmed[queue]) - (len(self.acked) if queue == "busy" else 0)
            self.assertGreaterEqual(left, at_least, "confirmed messages are gone")
        if last:
            kept = [int(payload.split(b" ")[0]) for payload in self.drain(client, "keep")]
            self.assertEqual(kept, sorted(set(kept)), "twice, or out of order")
            self.assertLessEqual(self.confirmed["keep"], set(kept))
            rest = {int(payload.split(b" ")[0]) for payload in self.drain(client, "busy")}
            self.assertFalse(rest & self.settled)
            self.assertLessEqual(self.confirmed["busy"] - self.acked, rest)
        client.close()

    @staticmethod
    def drain(client, queue):
        count = client.request(ferry.QUEUE_SHOW, queue)["ready"]
        client.subscribe(2, queue, window=100_000, window_bytes=256 << 20)
        payloads = []
        while len(payloads) < count:
            payloads += [m[3] for m in client.wait_for(lambda f: f[0] == ferry.DELIVER, 20.0)[7]]
        client.unsubscribe(2)
        return payloads


del RelayCase  # its own tests run elsewhere

if __name__ == "__main__":
    unittest.main()
