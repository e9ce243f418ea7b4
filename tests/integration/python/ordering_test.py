"""Ordered queues, single active consumers and consistent-hash exchanges, against a real broker that is killed."""
import collections
import os
import random
import socket
import subprocess
import time
import unittest

import ferry_client as ferry
from broker import Broker
from ferry_client import Client, Closed, message, spread
from notes import Notes

DELIVER_SOME, ACTIVATED = 70, 71
ORDERING_KEY = 2


def keyed(queue, key, number, exchange=""):
    return [exchange, queue, {ORDERING_KEY: key}, f"{key}:{number}".encode()]


# Processes of the history; connections of consumers count from 100.
PRODUCER, BROKER = 1, 9


def number_of(key, number):
    """The id of a message in the history."""
    return key * 1000 + number + 1


class Case(unittest.TestCase):
    connections = 99

    def setUp(self):
        self.broker = Broker(os.environ["FERRYD"]).start()
        self.addCleanup(self.broker.end)

    def connect(self, **options):
        client = Client("127.0.0.1", self.broker.port, hello=False)
        self.addCleanup(client.close)
        client.info = client.hello(**options)
        return client

    def publish(self, client, first, messages, name="p"):
        producer = client.producer(name)["producer"]
        client.publish(producer, first, messages)
        self.assertEqual(set(client.outcomes(producer, first, first + len(messages) - 1).values()), {"confirmed"})


class Ordered(Case):
    def test_c10_a_retry_holds_its_key_over_kill_9(self):
        """G62, G63"""
        client = self.connect()
        client.declare("q", ordered=True)
        self.publish(client, 1, [keyed("q", k, n) for n in (1, 2) for k in "ab"])
        client.subscribe(1, "q")
        first = client.deliveries(1, 2)
        self.assertEqual([d["payload"] for d in first], [b"a:1", b"b:1"])
        client.request(ferry.NACK, 1, [1, 1], True, 8000, answers=(ferry.SETTLED,))
        self.broker.restart()
        client = self.connect()
        client.subscribe(1, "q")
        self.assertEqual(client.deliveries(1, 1)[0]["payload"], b"b:1")
        self.assertTrue(client.no_delivery(1), "a:2 does not pass a:1")
        again = client.deliveries(1, 1, timeout=30)[0]
        self.assertEqual(again["payload"], b"a:1")
        self.assertGreater(again["attempt"], 1)
        client.ack(1, [again["tag"], again["tag"]])
        self.assertEqual(client.deliveries(1, 1)[0]["payload"], b"a:2")

    def test_keys_stay_in_order_through_kills_of_the_broker_and_of_consumers(self):
        """G61, G63: the first successful ack of each key's messages is in the order of publishing, and the checker of histories
        finds nothing in what the clients saw."""
        random.seed(7)
        keys, each = 40, 25
        client = self.connect()
        client.declare("q", ordered=True, lease_ms=5000)
        self.notes = Notes(os.path.join(self.broker.data, "history"))
        # Not all is settled at the end; a consumer may be late to see that its lease has ended.
        self.notes.rules(brokers=[BROKER], ordered_queues=[1], lease_ns=5 * 10**9, tolerance_ns=10**9, drain_expected=False)
        everything = [(k, n) for n in range(each) for k in range(keys)]
        for k, n in everything:
            self.notes.add("publish", "invoke", process=PRODUCER, queue=1, id=number_of(k, n), key=k + 1)
        self.publish(client, 1, [keyed("q", f"k{k}", n) for k, n in everything])
        for k, n in everything:
            self.notes.add("publish", process=PRODUCER, queue=1, id=number_of(k, n))
        done = collections.defaultdict(list)
        kills = 0
        deadline = time.monotonic() + 60
        while sum(map(len, done.values())) < keys * each:
            self.assertLess(time.monotonic(), deadline, f"{sum(map(len, done.values()))} of {keys * each} done")
            consumers = [self.connect(capabilities=["deliver_some"]) for _ in range(3)]
            for number, consumer in enumerate(consumers):
                self.connections += 1
                consumer.process = self.connections
                consumer.subscribe(1, "q", 50, member=f"m{number}", weight=1 + number)
            for _ in range(random.randint(5, 30)):
                self.handle_some(consumers, done)
            if kills < 4 and random.random() < 0.5:
                kills += 1
                self.notes.add("crash", process=BROKER)
                self.broker.restart()
            else:
                for consumer in consumers:
                    self.notes.add("crash", process=consumer.process)
                    consumer.kill()
        for key, numbers in done.items():
            # An ack that was not durable when the broker died lets its message come again; the first time counts.
            firsts = list(dict.fromkeys(numbers))
            self.assertEqual(firsts, sorted(firsts), key)
        self.assertGreater(kills, 0)
        self.notes.close()
        judged = subprocess.run([os.environ["FERRY_CHECK"], self.notes.path], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, check=False)
        self.assertEqual(judged.returncode, 0, judged.stdout.decode())

    def note(self, what, consumer, tags, leases, kind="ok"):
        for tag in tags:
            ident, token = leases[tag]
            self.notes.add(what, kind, process=consumer.process, queue=1, id=ident, lease=token)

    def note_deliveries(self, consumer, frame, outs):
        """{tag: (id, token)}"""
        leases = {}
        for i, (key, number) in enumerate(outs):
            if frame[0] == DELIVER_SOME:
                position, attempt = frame[3][i], 1
                token = position
            else:
                position, attempt = frame[3] + i, frame[4]
                token = frame[5] or position
            leases[frame[2] + i] = (number_of(int(key[1:]), int(number)), token)
            self.notes.add("deliver", process=consumer.process, queue=1, id=leases[frame[2] + i][0], position=position,
                           lease=token, attempt=attempt, redelivered=attempt > 1)
        return leases

    def handle_some(self, consumers, done):
        for consumer in consumers:
            try:
                frame = consumer.wait_for(lambda f: f[0] in (DELIVER_SOME, ferry.DELIVER), 0.02)
            except socket.timeout:
                continue
            if frame[0] == DELIVER_SOME:
                _, _, tag, positions, published, messages = frame
                self.assertEqual(len(positions), len(messages))
                self.assertEqual(len(published), len(messages))
            else:
                tag, messages = frame[2], frame[7]
            outs = [body[3].decode().split(":") for body in messages]
            self.assertEqual(len({key for key, _ in outs}), len(outs), "one of a key at a time")
            leases = self.note_deliveries(consumer, frame, outs)
            back = [tag + i for i in range(len(outs)) if random.random() < 0.2]
            kept = [tag + i for i in range(len(outs)) if tag + i not in back]
            self.note("ack", consumer, kept, leases, "invoke")
            lost = spread(consumer.ack(1, [n for t in kept for n in (t, t)])) if kept else set()
            self.note("ack", consumer, [t for t in kept if t not in lost], leases)
            self.note("ack", consumer, lost, leases, "fail")
            for t in kept:
                if t not in lost:
                    done[outs[t - tag][0]].append(int(outs[t - tag][1]))
            if back:
                self.note("nack", consumer, back, leases, "invoke")
                consumer.request(ferry.NACK, 1, [n for t in back for n in (t, t)], True, random.choice([0, 20]),
                                 answers=(ferry.SETTLED,))

    def test_a_client_without_the_capability_gets_plain_deliveries(self):
        client = self.connect()
        self.assertIn("deliver_some", client.info["capabilities"])
        client.declare("q", ordered=True)
        self.publish(client, 1, [keyed("q", f"k{n}", n) for n in range(100)])
        client.subscribe(1, "q")
        self.assertEqual(len(client.deliveries(1, 100)), 100)

    def test_single_messages_of_many_keys_come_in_one_frame(self):
        client = self.connect(capabilities=["deliver_some", "something new", 7])
        client.declare("q", ordered=True)
        self.publish(client, 1, [keyed("q", f"k{n % 90}", n) for n in range(100)])
        client.subscribe(1, "q", 1000)
        seen = {}
        while len(seen) < 90:
            frame = client.wait_for(lambda f: f[0] in (DELIVER_SOME, ferry.DELIVER))
            messages = frame[5] if frame[0] == DELIVER_SOME else frame[7]
            for i, body in enumerate(messages):
                seen[frame[2] + i] = body[3]
        self.assertEqual(sorted(seen), list(range(1, 91)))
        shown = client.request(ferry.QUEUE_SHOW, "q")
        self.assertEqual((shown["held_keys"], shown["blocked"]), (90, 10))
        self.assertEqual(sum(m["slots"] for m in shown["members"]), 1024)


class SingleActive(Case):
    def test_the_next_one_takes_over_when_the_active_one_is_killed(self):
        one = self.connect(capabilities=["single_active"])
        two = self.connect(capabilities=["single_active"])
        one.declare("q", single_active=True)
        one.subscribe(1, "q")
        self.assertEqual(one.wait_for(lambda f: f[0] == ACTIVATED)[1:3], [1, True])
        two.subscribe(9, "q")
        self.assertEqual(two.wait_for(lambda f: f[0] == ACTIVATED)[1:3], [9, False])
        self.publish(two, 1, [message("q", b"x")])
        self.assertEqual(one.deliveries(1, 1)[0]["payload"], b"x")
        self.assertTrue(two.no_delivery(9))
        one.kill()
        self.assertEqual(two.wait_for(lambda f: f[0] == ACTIVATED)[1:3], [9, True])
        self.assertEqual(two.deliveries(9, 1)[0]["attempt"], 2)

    def test_a_client_that_does_not_know_the_notice_gets_none(self):
        client = self.connect()
        client.declare("q", single_active=True)
        client.subscribe(1, "q")
        with self.assertRaises(socket.timeout):
            client.wait_for(lambda f: f[0] == ACTIVATED, 0.3)


class HashExchange(Case):
    def test_h4_the_map_stays_over_kill_9_and_h2_a_bad_weight_is_refused(self):
        """G60"""
        client = self.connect()
        client.request(ferry.EXCHANGE_DECLARE, "x", "consistent-hash", {"hash": "ordering_key"})
        for queue, weight in (("a", "1"), ("b", "2")):
            client.declare(queue)
            client.request(ferry.BIND, "x", queue, "queue", weight, {})
        self.publish(client, 1, [keyed("any", f"k{n}", n, "x") for n in range(300)])

        def held(queue):
            shown = client.request(ferry.QUEUE_PEEK, queue, 0, 1000, 1 << 20)["messages"]
            return {m[3][3].split(b":")[0] for m in shown}

        before = held("a"), held("b")
        self.assertEqual(len(before[0]) + len(before[1]), 300)
        self.assertLess(len(before[0]), len(before[1]))
        self.broker.restart()
        client = self.connect()
        self.publish(client, 301, [keyed("any", f"k{n}", n, "x") for n in range(300)])
        self.assertEqual((held("a"), held("b")), before)
        for weight in ("0", "65", "much"):
            with self.assertRaises(ferry.Refused) as refused:
                client.request(ferry.BIND, "x", "a", "queue", weight, {})
            self.assertIn("1 to 64", refused.exception.text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
