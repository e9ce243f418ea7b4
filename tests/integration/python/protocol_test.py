"""The protocol as docs/protocol.md tells it, against a real broker."""
import os
import socket
import struct
import sys
import time
import unittest

import ferry_client as ferry
from broker import Broker, wait_until
from ferry_client import Client, Closed, Refused, frame, message, spread

MALFORMED_FRAME, FRAME_TOO_LARGE, UNEXPECTED_VERB, UNSUPPORTED_VERSION = 100, 101, 102, 103
NO_SUCH_QUEUE, NO_SUCH_EXCHANGE, DECLARED_DIFFERENTLY, EXCLUSIVE_ELSEWHERE = 200, 201, 202, 203
NO_SUCH_SUBSCRIPTION, NO_ROUTE, BAD_NAME, BAD_OPTION, NOT_EMPTY, IN_USE = 204, 205, 206, 207, 208, 209
NO_SUCH_BINDING, ALREADY_EXISTS = 210, 212
SEQUENCE_GAP, FENCED, NO_SUCH_PRODUCER, MESSAGE_TOO_LARGE = 300, 301, 303, 403
LEASE_LOST, TRANSACTION_OVER, QUEUE_FULL = 302, 330, 430
TRANSACTIONS, TRANSACTION = 74, 75


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(os.environ["FERRYD"]).start()
        cls.names = 0

    @classmethod
    def tearDownClass(cls):
        cls.broker.end()

    def connect(self, **options):
        client = Client("127.0.0.1", self.broker.port, **options)
        self.addCleanup(client.close)
        return client

    def name(self, kind="q"):
        Case.names = getattr(Case, "names", 0) + 1
        return f"{kind}{Case.names}"

    def queue(self, client, **options):
        name = self.name()
        client.declare(name, **options)
        return name

    def refuses(self, code, call, *arguments, **options):
        with self.assertRaises(Refused) as caught:
            call(*arguments, **options)
        self.assertEqual(caught.exception.code, code, caught.exception.text)
        self.assertTrue(caught.exception.text, "an error has a sentence for people")

    def filled(self, client, count, **options):
        """A queue with `count` messages b'0', b'1' …"""
        queue = self.queue(client, **options)
        producer = client.producer(self.name("p"))["producer"]
        client.publish(producer, 1, [message(queue, str(i).encode()) for i in range(count)])
        self.assertEqual(set(client.outcomes(producer, 1, count).values()), {"confirmed"})
        return queue


class Transactions(Case):
    """[transaction, request, producer, sequence, flags, settled, parts, messages]"""

    def transact(self, client, producer, sequence, parts, messages, flags=1):
        return client.request(TRANSACTION, producer, sequence, flags, 0, parts, messages)

    def test_publishes_and_acks_happen_together(self):
        client = self.connect()
        jobs, done = self.filled(client, 3), self.queue(client)
        producer = client.producer(self.name("tx"))["producer"]
        client.subscribe(1, jobs)
        client.deliveries(1, 3)
        answer = self.transact(client, producer, 1, [[1, [1, 2], False]], [message(done, b"x")])
        self.assertEqual(answer, {"duplicate": False})
        self.assertEqual(client.show(jobs)["unacked"], 1)
        self.assertEqual(client.show(done)["ready"], 1)
        # The same sequence again: it was there before.
        answer = self.transact(client, producer, 1, [[1, [1, 2], False]], [message(done, b"x")])
        self.assertEqual(answer, {"duplicate": True})
        self.assertEqual(client.show(done)["ready"], 1)

    def test_a_lost_lease_or_a_missing_queue_refuses_all_of_it(self):
        client = self.connect()
        jobs, done = self.filled(client, 2), self.queue(client)
        producer = client.producer(self.name("tx"))["producer"]
        client.subscribe(1, jobs)
        client.deliveries(1, 2)
        client.ack(1, [1, 1])
        self.refuses(LEASE_LOST, self.transact, client, producer, 1, [[1, [1, 2], False]], [message(done, b"x")])
        self.refuses(NO_ROUTE, self.transact, client, producer, 2, [[1, [2, 2], False]],
                     [message(done, b"x"), message("no-such-queue", b"y")])
        self.refuses(TRANSACTION_OVER, self.transact, client, producer, 2, [[1, [2, 2], False]], [message(done, b"x")])
        self.refuses(BAD_OPTION, self.transact, client, producer, 3, [[1, [2, 2], False], [1, [2, 2], False]], [])
        self.refuses(SEQUENCE_GAP, self.transact, client, producer, 9, [], [message(done, b"x")])
        self.assertEqual(client.show(done)["ready"], 0)
        self.assertEqual(client.show(jobs)["unacked"], 1)
        self.transact(client, producer, 4, [[1, [2, 2], False]], [message(done, b"x")])
        self.assertEqual(client.show(done)["ready"], 1)
        self.assertEqual(client.show(jobs)["unacked"], 0)

    def test_what_is_held_is_never_carried_out(self):
        old, new = self.connect(), self.connect()
        done = self.queue(old)
        name = self.name("tx")
        producer = old.producer(name)["producer"]
        other = new.producer(name)
        new.hold(other["producer"], [1, 1])
        self.refuses(TRANSACTION_OVER, self.transact, old, producer, 1, [], [message(done, b"x")])
        self.assertEqual(old.show(done)["ready"], 0)
        self.assertEqual(new.producer(name)["open"], [1, 1])

    def test_many_in_one_frame_are_told_by_sequence(self):
        """[transactions, first sequence, producer, flags, settled, [[messages, parts] ...], messages]"""
        client = self.connect()
        jobs, done = self.filled(client, 4), self.queue(client)
        producer = client.producer(self.name("tx"))["producer"]
        client.subscribe(1, jobs)
        client.deliveries(1, 4)
        items = [[1, [[1, [1, 1], False]]], [2, []], [0, [[1, [2, 3], False]]], [1, [[1, [3, 4], False]]]]
        messages = [message(done, b"a"), message(done, b"b"), message("no-such-queue", b"c"), message(done, b"d")]
        client.send(TRANSACTIONS, 1, producer, 1, 0, items, messages)
        self.assertEqual(client.outcomes(producer, 1, 4),
                         {1: "confirmed", 2: NO_ROUTE, 3: "confirmed", 4: LEASE_LOST})
        self.assertEqual(client.show(done)["ready"], 1)
        self.assertEqual(client.show(jobs)["unacked"], 1)
        # All of it is one record when nothing is refused; the same again was there before.
        client.send(TRANSACTIONS, 5, producer, 1, 4, [[1, []], [0, [[1, [4, 4], False]]]], [message(done, b"e")])
        self.assertEqual(client.outcomes(producer, 5, 6), {5: "confirmed", 6: "confirmed"})
        client.send(TRANSACTIONS, 5, producer, 1, 4, [[1, []]], [message(done, b"e")])
        self.assertEqual(client.outcomes(producer, 5, 5), {5: "duplicate"})
        self.assertEqual(client.show(done)["ready"], 2)
        self.assertEqual(client.show(jobs)["unacked"], 0)

    def test_malformed_ones_in_one_frame_close_the_connection(self):
        one = [["", "q", None, b"x"]]
        for items, messages in (([], []), ([[2, []]], one), ([[0, []]], one), ([[1]], one), ("x", one),
                                ([[1, [[1, [2, 1], False]]]], one), ([[1, []]], [["", "q"]])):
            client = self.connect()
            producer = client.producer(self.name("tx"))["producer"]
            client.send(TRANSACTIONS, 1, producer, 0, 0, items, messages)
            self.assertEqual(client.expect_closed()[-1][2], MALFORMED_FRAME)

    def test_a_malformed_one_closes_the_connection(self):
        for parts, messages in (([[1, [2, 1], False]], []), ([[1]], []), ([], [["", "q"]]), ("x", [])):
            client = self.connect()
            producer = client.producer(self.name("tx"))["producer"]
            client.send(TRANSACTION, 77, producer, 1, 0, 0, parts, messages)
            self.assertEqual(client.expect_closed()[-1][2], MALFORMED_FRAME)


class Limits(Case):
    def test_a_full_queue_refuses_and_takes_it_later_under_the_same_sequence(self):
        client = self.connect()
        queue = self.queue(client, max_length=1, overflow="reject_publish")
        producer = client.producer(self.name("p"))["producer"]
        client.publish(producer, 1, [message(queue, b"a"), message(queue, b"b")])
        self.assertEqual(client.outcomes(producer, 1, 2), {1: "confirmed", 2: QUEUE_FULL})
        client.subscribe(1, queue)
        client.deliveries(1, 1)
        client.ack(1, [1, 1])
        client.publish(producer, 2, [message(queue, b"b")])
        self.assertEqual(client.outcomes(producer, 2, 2), {2: "confirmed"})

    def test_bad_values_are_refused_with_their_range(self):
        client = self.connect()
        for options in ({"max_length": 1 << 41}, {"max_bytes": 1 << 51}, {"overflow": "reject_publish"},
                        {"max_length": 1, "overflow": "sometimes"}, {"max_length": 1, "overflow": "dead_letter_head"},
                        {"dedupe_window_ms": 604800001}, {"dedupe_window_ms": 1000, "dedupe_max_ids": 1000001},
                        {"dedupe_max_ids": 10}, {"priorities": 3}):
            self.refuses(BAD_OPTION, client.declare, self.name(), **options)

    def test_a_repeated_id_is_confirmed_with_flag_2_and_not_stored(self):
        client = self.connect()
        queue = self.queue(client, dedupe_window_ms=60000)
        producer = client.producer(self.name("p"))["producer"]
        for sequence, flags in ((1, 0), (2, 2)):
            client.publish(producer, sequence, [["", queue, {1: "id-1"}, b"x"]])
            confirm = client.wait_for(lambda f: f[0] == ferry.CONFIRM)
            self.assertEqual(confirm[4], flags)
        self.assertEqual(client.show(queue)["ready"], 1)
        self.assertEqual(client.show(queue)["repeated"], 1)

    def test_priorities_go_first(self):
        client = self.connect()
        queue = self.queue(client, priorities=True)
        producer = client.producer(self.name("p"))["producer"]
        client.publish(producer, 1, [["", queue, {8: p}, str(p).encode()] for p in (0, 9, 5)])
        client.outcomes(producer, 1, 3)
        client.subscribe(1, queue)
        self.assertEqual([d["payload"] for d in client.deliveries(1, 3)], [b"9", b"5", b"0"])


class Hello(Case):
    def test_tells_the_limits_and_who_the_broker_is(self):
        info = self.connect().info
        for key in ("version", "server", "log_id", "session", "heartbeat_ms", "frame_bytes_max",
                    "payload_bytes_max", "capabilities"):
            self.assertIn(key, info)
        self.assertEqual(info["version"], 1)
        self.assertEqual(info["payload_bytes_max"], info["frame_bytes_max"] - 24 * 1024)

    def test_of_another_version_is_refused_and_closed(self):
        client = self.connect(hello=False)
        client.send(ferry.HELLO, 1, 99, {})
        self.assertEqual(client.read_frame()[:3], [ferry.ERROR, 1, UNSUPPORTED_VERSION])
        self.assertEqual(client.expect_closed(), [])

    def test_with_an_unknown_option_is_refused(self):
        client = self.connect(hello=False)
        self.refuses(BAD_OPTION, client.request, ferry.HELLO, 1, {"colour": "blue"})

    def test_must_come_first(self):
        client = self.connect(hello=False)
        client.send(ferry.STATS, 7)
        self.assertEqual(client.read_frame()[:3], [ferry.ERROR, 7, UNEXPECTED_VERB])
        self.assertEqual(client.expect_closed(), [])

    def test_comes_once(self):
        client = self.connect()
        client.send(ferry.HELLO, 8, 1, {})
        self.assertEqual(client.read_frame()[:3], [ferry.ERROR, 8, UNEXPECTED_VERB])
        self.assertEqual(client.expect_closed(), [])

    def test_frames_before_it_are_small(self):
        client = self.connect(hello=False)
        client.send_bytes(struct.pack(">I", 5000))
        self.assertEqual(client.read_frame()[:3], [ferry.ERROR, 0, FRAME_TOO_LARGE])
        self.assertEqual(client.expect_closed(), [])


class Frames(Case):
    def test_come_through_byte_by_byte(self):
        client = self.connect(hello=False)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame([ferry.HELLO, 1, 1, {}]) + frame([ferry.STATS, 2]):
            client.send_bytes(bytes([byte]))
        self.assertEqual(client.read_frame()[:2], [ferry.OK, 1])
        self.assertEqual(client.read_frame()[:2], [ferry.OK, 2])

    def test_come_through_many_at_once(self):
        client = self.connect()
        client.send_bytes(b"".join(frame([ferry.STATS, 100 + i]) for i in range(50)))
        self.assertEqual([client.read_frame()[1] for _ in range(50)], list(range(100, 150)))

    def broken(self, data, code):
        client = self.connect()
        witness = self.connect()
        client.send_bytes(data)
        answer = client.read_frame()
        self.assertEqual((answer[0], answer[2]), (ferry.ERROR, code), answer)
        self.assertEqual(client.expect_closed(), [])
        self.assertIn("version", witness.request(ferry.STATS), "nobody else notices")

    # G18
    def test_that_are_not_msgpack_close_the_connection(self):
        self.broken(struct.pack(">I", 3) + b"\xc1\xc1\xc1", MALFORMED_FRAME)

    def test_that_are_no_array_close_the_connection(self):
        self.broken(frame({"verb": 1}), MALFORMED_FRAME)

    def test_that_are_empty_close_the_connection(self):
        self.broken(struct.pack(">I", 0), MALFORMED_FRAME)

    def test_with_fields_missing_close_the_connection(self):
        self.broken(frame([ferry.SUBSCRIBE, 1, 1]), MALFORMED_FRAME)

    def test_with_fields_of_the_wrong_type_close_the_connection(self):
        self.broken(frame([ferry.QUEUE_DECLARE, 1, 17, {}]), MALFORMED_FRAME)

    def test_that_promise_more_elements_than_they_hold_close_the_connection(self):
        body = b"\x96\x0a\x01\x01\x00\x00\xdd\xff\xff\xff\xff"
        self.broken(struct.pack(">I", len(body)) + body, MALFORMED_FRAME)

    def test_nested_too_deep_close_the_connection(self):
        body = b"\x93\x3c\x01" + b"\x91" * 2000 + b"\xc0"
        client = self.connect()
        client.send_bytes(struct.pack(">I", len(body)) + body)
        # A field that the page does not name may be ignored; nesting over the limit may not.
        self.assertEqual(client.read_frame()[2], MALFORMED_FRAME)

    def test_that_are_too_large_close_the_connection_before_they_arrive(self):
        client = self.connect()
        client.send_bytes(struct.pack(">I", client.info["frame_bytes_max"] + 1))
        self.assertEqual(client.read_frame()[:3], [ferry.ERROR, 0, FRAME_TOO_LARGE])
        self.assertEqual(client.expect_closed(), [])

    def test_with_an_unknown_verb_close_the_connection(self):
        self.broken(frame([99, 5]), UNEXPECTED_VERB)

    def test_with_a_verb_of_the_broker_close_the_connection(self):
        self.broken(frame([ferry.CONFIRM, 5, 1, 1, 0]), UNEXPECTED_VERB)

    def test_may_carry_fields_of_later_versions(self):
        client = self.connect()
        self.assertIn("version", client.request(ferry.STATS, "something", {"new": [1]}))

    def test_of_the_worked_example_are_a_publish(self):
        client = self.connect()
        client.declare("q")
        self.assertEqual(client.producer(self.name("p"))["producer"], 1, "the first handle is 1")
        client.send_bytes(bytes.fromhex("00000010 960a01010000 9194a0a171c0c4026869"))
        self.assertEqual(client.outcomes(1, 1, 1), {1: "confirmed"})
        client.request(ferry.QUEUE_DELETE, "q", {})

    def test_goodbye_is_answered_and_closes(self):
        client = self.connect()
        client.goodbye()
        self.assertEqual(client.expect_closed(), [])

    def test_heartbeats_come_when_nothing_else_does(self):
        client = self.connect(hello=False)
        client.hello(heartbeat_ms=1000)
        client.socket.settimeout(3.0)
        self.assertEqual(client.socket.recv(100), frame([ferry.HEARTBEAT, 0]))

    def test_silence_for_two_heartbeats_closes_the_connection(self):
        client = self.connect(hello=False)
        client.hello(heartbeat_ms=1000)
        client.timeout = 5.0
        seen = client.expect_closed()
        self.assertTrue(all(f[0] == ferry.ERROR and f[2] == 104 for f in seen), seen)


class Publishing(Case):
    def test_a_message_is_confirmed_and_there(self):
        client = self.connect()
        queue = self.filled(client, 3)
        self.assertEqual(client.request(ferry.QUEUE_SHOW, queue)["ready"], 3)

    # G5
    def test_the_same_sequence_again_is_a_duplicate(self):
        client = self.connect()
        queue = self.queue(client)
        name = self.name("p")
        producer = client.producer(name)["producer"]
        client.publish(producer, 1, [message(queue, b"one"), message(queue, b"two")])
        client.outcomes(producer, 1, 2)
        client.publish(producer, 1, [message(queue, b"one"), message(queue, b"two")])
        self.assertEqual(client.outcomes(producer, 1, 2), {1: "duplicate", 2: "duplicate"})
        other = self.connect()
        again = other.producer(name)
        self.assertEqual((again["mark"], again["open"]), (2, []))
        other.publish(again["producer"], 2, [message(queue, b"two"), message(queue, b"three")])
        self.assertEqual(other.outcomes(again["producer"], 2, 3), {2: "duplicate", 3: "confirmed"})
        self.assertEqual(client.request(ferry.QUEUE_SHOW, queue)["ready"], 3)

    def test_a_gap_is_refused(self):
        client = self.connect()
        queue = self.queue(client)
        producer = client.producer(self.name("p"))["producer"]
        client.publish(producer, 3, [message(queue, b"three")])
        self.assertEqual(client.outcomes(producer, 3, 3), {3: SEQUENCE_GAP})
        self.assertEqual(client.request(ferry.QUEUE_SHOW, queue)["ready"], 0)

    def test_a_held_gap_is_taken_and_may_be_filled_later(self):
        client = self.connect()
        queue = self.queue(client)
        name = self.name("p")
        producer = client.producer(name)["producer"]
        client.hold(producer, [1, 2])
        client.publish(producer, 3, [message(queue, b"three")])
        self.assertEqual(client.outcomes(producer, 3, 3), {3: "confirmed"})
        self.assertEqual(spread(self.connect().producer(name)["open"]), {1, 2})
        client.publish(producer, 2, [message(queue, b"two")])
        self.assertEqual(client.outcomes(producer, 2, 2), {2: "confirmed"})

    def test_a_refused_sequence_is_open_and_can_be_sent_again(self):
        client = self.connect()
        queue = self.queue(client)
        name = self.name("p")
        producer = client.producer(name)["producer"]
        client.publish(producer, 1, [message("nowhere-" + name, b"x"), message(queue, b"y")], mandatory=True)
        self.assertEqual(client.outcomes(producer, 1, 2), {1: NO_ROUTE, 2: "confirmed"})
        self.assertEqual(client.producer(name)["open"], [1, 1])
        client.publish(producer, 1, [message(queue, b"x")])
        self.assertEqual(client.outcomes(producer, 1, 1), {1: "confirmed"})

    def test_settled_ends_a_refused_sequence(self):
        client = self.connect()
        queue = self.queue(client)
        name = self.name("p")
        producer = client.producer(name)["producer"]
        client.publish(producer, 1, [message("nowhere-" + name, b"x")], mandatory=True)
        client.outcomes(producer, 1, 1)
        client.publish(producer, 2, [message(queue, b"y")], settled=1)
        client.outcomes(producer, 2, 2)
        self.assertEqual(client.producer(name)["open"], [])

    def test_without_a_route_is_confirmed_and_dropped_unless_mandatory(self):
        client = self.connect()
        producer = client.producer(self.name("p"))["producer"]
        client.publish(producer, 1, [message("nobody-home", b"x")])
        self.assertEqual(client.outcomes(producer, 1, 1), {1: "confirmed"})

    def test_a_newer_epoch_fences_the_older_one(self):
        old = self.connect()
        queue = self.queue(old)
        name = self.name("p")
        first = old.producer(name)
        new = self.connect()
        second = new.producer(name, epoch=first["epoch"] + 1)
        self.assertEqual(second["mark"], 0, "a new epoch begins at sequence 1")
        old.publish(first["producer"], 1, [message(queue, b"late")])
        self.assertEqual(old.outcomes(first["producer"], 1, 1), {1: FENCED})
        self.refuses(FENCED, new.producer, name, epoch=first["epoch"])

    def test_to_an_exchange_that_is_not_there_is_refused(self):
        client = self.connect()
        producer = client.producer(self.name("p"))["producer"]
        client.publish(producer, 1, [message("k", b"x", exchange="no-such-exchange")])
        self.assertEqual(client.outcomes(producer, 1, 1), {1: NO_SUCH_EXCHANGE})

    def test_with_a_handle_that_was_not_given_is_refused(self):
        client = self.connect()
        client.publish(99, 1, [message("k", b"x")])
        answer = client.wait_for(lambda f: f[0] in (ferry.REFUSED, ferry.ERROR))
        self.assertIn(NO_SUCH_PRODUCER, answer)

    def test_a_payload_over_the_limit_is_refused_alone(self):
        client = self.connect()
        queue = self.queue(client)
        producer = client.producer(self.name("p"))["producer"]
        client.publish(producer, 1, [message(queue, b"x" * (client.info["payload_bytes_max"] + 1))])
        self.assertEqual(client.outcomes(producer, 1, 1), {1: MESSAGE_TOO_LARGE})

    def test_the_largest_payload_comes_back_whole(self):
        client = self.connect()
        queue = self.queue(client)
        producer = client.producer(self.name("p"))["producer"]
        payload = os.urandom(client.info["payload_bytes_max"])
        client.publish(producer, 1, [message(queue, payload)])
        client.outcomes(producer, 1, 1)
        client.subscribe(1, queue, window_bytes=10)
        self.assertEqual(client.deliveries(1, 1)[0]["payload"], payload)

    def test_properties_come_back_as_they_were(self):
        client = self.connect()
        queue = self.queue(client)
        producer = client.producer(self.name("p"))["producer"]
        properties = {1: "id-1", 2: "order-7", 3: {"a": 1, "b": None, "c": 1.5, "d": b"\x00", "e": True, "f": "t"},
                      4: "text/plain", 5: 1_700_000_000_000, 8: 9, 9: "back", 10: "corr", 77: "unknown"}
        client.publish(producer, 1, [message(queue, b"x", properties=properties)])
        self.assertEqual(client.outcomes(producer, 1, 1), {1: "confirmed"})
        client.subscribe(1, queue)
        self.assertEqual(client.deliveries(1, 1)[0]["properties"], properties)

    def test_a_delayed_message_comes_at_its_time_and_may_be_cancelled(self):
        client = self.connect()
        queue = self.queue(client)
        producer = client.producer(self.name("p"))["producer"]
        due = int(time.time() * 1000) + 700
        client.publish(producer, 1, [message(queue, b"later", properties={7: due}),
                                     message(queue, b"never", properties={7: due, 1: "x"}),
                                     message(queue, b"now")])
        self.assertEqual(set(client.outcomes(producer, 1, 3).values()), {"confirmed"})
        client.subscribe(1, queue)
        self.assertEqual(client.deliveries(1, 1)[0]["payload"], b"now")
        self.assertEqual(client.request(ferry.QUEUE_SHOW, queue)["delayed"], 2)
        self.assertEqual(client.request(ferry.QUEUE_DROP, queue, "x")["messages"], 1)
        self.assertEqual(client.request(ferry.QUEUE_DROP, queue, "x")["messages"], 0)
        later = client.deliveries(1, 1)[0]
        self.assertEqual(later["payload"], b"later")
        self.assertGreaterEqual(int(time.time() * 1000), due)
        self.assertTrue(client.no_delivery(1))
        client.publish(producer, 4, [message(queue, b"x", properties={7: due + 200 * 365 * 86_400_000})])
        self.assertEqual(client.outcomes(producer, 4, 4), {4: BAD_OPTION})

    def test_a_message_past_its_time_is_not_delivered(self):
        client = self.connect()
        queue = self.queue(client)
        producer = client.producer(self.name("p"))["producer"]
        client.publish(producer, 1, [message(queue, b"short", properties={6: int(time.time() * 1000) + 50}),
                                     message(queue, b"long", properties={6: int(time.time() * 1000) + 60_000})])
        client.outcomes(producer, 1, 2)
        wait_until(lambda: client.request(ferry.QUEUE_SHOW, queue)["expired"] == 1, "the first expired")
        client.subscribe(1, queue)
        self.assertEqual(client.deliveries(1, 1)[0]["payload"], b"long")

    def test_a_nack_with_a_delay_and_a_reject_that_becomes_a_dead_letter(self):
        client = self.connect()
        queue, dead = self.name("q"), self.name("dead")
        client.declare(queue, dead_letter_key=dead, max_deliveries=5)
        client.declare(dead)
        producer = client.producer(self.name("p"))["producer"]
        client.publish(producer, 1, [message(queue, b"x")])
        client.outcomes(producer, 1, 1)
        client.subscribe(1, queue)
        client.deliveries(1, 1)
        begin = time.monotonic()
        self.assertEqual(client.request(ferry.NACK, 1, [1, 1], True, 400, answers=(ferry.SETTLED,)), [])
        self.assertEqual(client.deliveries(1, 1)[0]["attempt"], 2)
        self.assertGreaterEqual(time.monotonic() - begin, 0.39)
        self.assertEqual(client.nack(1, [2, 2], False), [])
        client.subscribe(2, dead)
        letter = client.deliveries(2, 1)[0]
        self.assertEqual((letter["payload"], letter["attempt"]), (b"x", 1))
        self.assertEqual(letter["properties"][3]["ferry-death-reason"], "rejected")
        self.assertEqual(letter["properties"][3]["ferry-death-attempts"], 2)


class Consuming(Case):
    def test_deliveries_have_consecutive_tags_and_growing_positions(self):
        client = self.connect()
        queue = self.filled(client, 10)
        self.assertEqual(client.subscribe(1, queue)["queue"], queue)
        got = client.deliveries(1, 10)
        self.assertEqual([d["tag"] for d in got], list(range(1, 11)))
        self.assertEqual([d["payload"] for d in got], [str(i).encode() for i in range(10)])
        self.assertEqual({d["attempt"] for d in got}, {1})
        positions = [d["position"] for d in got]
        self.assertEqual(positions, sorted(set(positions)))

    # G9
    def test_the_window_is_never_exceeded(self):
        client = self.connect()
        queue = self.filled(client, 10)
        client.subscribe(1, queue, window=3)
        client.deliveries(1, 3)
        self.assertTrue(client.no_delivery(1))
        self.assertEqual(client.ack(1, [1, 2]), [])
        client.deliveries(1, 2)
        client.request(ferry.CREDIT, 1, 5, 1 << 20)
        client.deliveries(1, 2)
        self.assertTrue(client.no_delivery(1))

    # G3
    def test_an_ack_is_for_good(self):
        client = self.connect()
        queue = self.filled(client, 4)
        client.subscribe(1, queue)
        client.deliveries(1, 4)
        self.assertEqual(client.ack(1, [1, 2, 4, 4]), [])
        client.kill()
        again = self.connect()
        again.subscribe(1, queue)
        left = again.deliveries(1, 1)[0]
        self.assertEqual((left["payload"], left["attempt"]), (b"2", 2))
        self.assertTrue(again.no_delivery(1))

    def test_a_nack_with_requeue_comes_again_with_a_higher_token(self):
        client = self.connect()
        queue = self.filled(client, 1)
        client.subscribe(1, queue)
        first = client.deliveries(1, 1)[0]
        self.assertEqual(client.nack(1, [1, 1], True), [])
        second = client.deliveries(1, 1)[0]
        self.assertEqual((second["tag"], second["attempt"], second["payload"]), (2, 2, b"0"))
        self.assertEqual(second["position"], first["position"])
        self.assertGreater(second["token"], first["token"])

    def test_a_reject_drops_the_message(self):
        client = self.connect()
        queue = self.filled(client, 1)
        client.subscribe(1, queue)
        client.deliveries(1, 1)
        self.assertEqual(client.nack(1, [1, 1], False), [])
        shown = client.request(ferry.QUEUE_SHOW, queue)
        self.assertEqual((shown["ready"], shown["unacked"]), (0, 0))

    def test_acking_twice_says_that_the_lease_was_lost(self):
        client = self.connect()
        queue = self.filled(client, 2)
        client.subscribe(1, queue)
        client.deliveries(1, 2)
        self.assertEqual(client.ack(1, [1, 1]), [])
        self.assertEqual(spread(client.ack(1, [1, 2])), {1})

    def test_a_lease_that_ends_is_lost_and_the_message_comes_again(self):
        client = self.connect()
        queue = self.filled(client, 1)
        client.subscribe(1, queue, lease_ms=1000)
        first = client.deliveries(1, 1)[0]
        second = client.deliveries(1, 1, timeout=10)[0]
        self.assertEqual(second["attempt"], 2)
        self.assertGreater(second["token"], first["token"])
        self.assertEqual(spread(client.ack(1, [first["tag"], first["tag"]])), {first["tag"]})
        self.assertEqual(client.ack(1, [second["tag"], second["tag"]]), [])

    def test_an_extended_lease_lasts_longer(self):
        client = self.connect()
        queue = self.filled(client, 1)
        client.subscribe(1, queue, lease_ms=1000)
        client.deliveries(1, 1)
        self.assertEqual(client.extend(1, [1, 1], 600_000), [])
        self.assertTrue(client.no_delivery(1, within=2.5))
        self.assertEqual(client.ack(1, [1, 1]), [])

    # G6
    def test_a_lost_connection_returns_what_it_held_in_order(self):
        client = self.connect()
        queue = self.filled(client, 5)
        client.subscribe(1, queue, window=3)
        client.deliveries(1, 3)
        client.kill()
        again = self.connect()
        again.subscribe(1, queue)
        got = again.deliveries(1, 5)
        self.assertEqual([d["payload"] for d in got], [b"0", b"1", b"2", b"3", b"4"])
        self.assertEqual([d["attempt"] for d in got], [2, 2, 2, 1, 1])

    def test_no_ack_settles_on_sending(self):
        client = self.connect()
        queue = self.filled(client, 5)
        client.subscribe(1, queue, no_ack=True)
        client.deliveries(1, 5)
        wait_until(lambda: client.request(ferry.QUEUE_SHOW, queue)["unacked"] == 0, "everything is settled")
        self.assertEqual(client.request(ferry.QUEUE_SHOW, queue)["ready"], 0)

    def test_pull_gives_what_is_ready_and_says_what_is_left(self):
        client = self.connect()
        queue = self.filled(client, 5)
        result = client.request(ferry.PULL, 9, queue, 3, 1 << 20, {})
        self.assertEqual((result["messages"], result["ready"]), (3, 2))
        self.assertEqual(len(client.deliveries(9, 3)), 3)
        self.assertEqual(client.ack(9, [1, 3]), [])
        empty = self.queue(client)
        self.assertEqual(client.request(ferry.PULL, 10, empty, 3, 1 << 20, {})["messages"], 0)

    def test_unsubscribing_returns_what_was_unacked(self):
        client = self.connect()
        queue = self.filled(client, 2)
        client.subscribe(1, queue)
        client.deliveries(1, 2)
        client.unsubscribe(1)
        self.assertEqual(client.request(ferry.QUEUE_SHOW, queue)["ready"], 2)

    def test_a_deleted_queue_cancels_its_subscriptions(self):
        client = self.connect()
        queue = self.queue(client)
        client.subscribe(1, queue)
        self.connect().request(ferry.QUEUE_DELETE, queue, {})
        self.assertEqual(client.wait_for(lambda f: f[0] == ferry.CANCELLED)[:2], [ferry.CANCELLED, 1])

    def test_errors_of_requests_leave_the_connection_open(self):
        client = self.connect()
        queue = self.queue(client)
        self.refuses(NO_SUCH_QUEUE, client.subscribe, 1, "not-there")
        client.subscribe(1, queue)
        self.refuses(ALREADY_EXISTS, client.subscribe, 1, queue)
        self.refuses(NO_SUCH_SUBSCRIPTION, client.unsubscribe, 55)
        self.refuses(NO_SUCH_SUBSCRIPTION, client.ack, 55, [1, 1])
        self.refuses(BAD_OPTION, client.subscribe, 2, queue, colour="blue")
        self.assertIn("version", client.request(ferry.STATS))

    def test_an_exclusive_consumer_keeps_others_out(self):
        client = self.connect()
        queue = self.queue(client)
        client.subscribe(1, queue, exclusive=True)
        self.refuses(EXCLUSIVE_ELSEWHERE, self.connect().subscribe, 1, queue)


class Administering(Case):
    def test_queues_are_declared_once_and_alike(self):
        client = self.connect()
        queue = self.queue(client)
        self.assertEqual(client.declare(queue)["queue"], queue)
        self.refuses(DECLARED_DIFFERENTLY, client.declare, queue, durable=False)
        self.assertEqual(client.declare(queue, passive=True)["queue"], queue)
        self.refuses(NO_SUCH_QUEUE, client.declare, "never-declared", passive=True)
        self.refuses(BAD_NAME, client.declare, "a b")
        self.refuses(BAD_OPTION, client.declare, "x", colour=1)
        self.assertTrue(client.declare("")["queue"], "the broker invents a name")

    def test_an_exclusive_queue_goes_with_its_connection(self):
        client = self.connect()
        queue = self.queue(client, exclusive=True, durable=False)
        other = self.connect()
        self.refuses(EXCLUSIVE_ELSEWHERE, other.subscribe, 1, queue)
        client.kill()

        def gone():
            try:
                other.request(ferry.QUEUE_SHOW, queue)
                return False
            except Refused as refused:
                return refused.code == NO_SUCH_QUEUE
        wait_until(gone, "the exclusive queue goes")

    def test_list_pages_in_order_of_name(self):
        client = self.connect()
        prefix = self.name("page") + "-"
        for letter in "cab":
            client.declare(prefix + letter)
        page = client.request(ferry.QUEUE_LIST, prefix, 2)
        self.assertEqual([q["name"] for q in page["queues"]], [prefix + "a", prefix + "b"])
        self.assertIs(page["more"], True)

    def test_peek_looks_without_taking(self):
        client = self.connect()
        queue = self.filled(client, 5)
        seen = client.request(ferry.QUEUE_PEEK, queue, 1, 3, 1 << 20)["messages"]
        self.assertEqual([m[3][3] for m in seen], [b"1", b"2", b"3"])
        self.assertEqual(client.request(ferry.QUEUE_SHOW, queue)["ready"], 5)

    def test_purge_and_delete_tell_how_many_went(self):
        client = self.connect()
        queue = self.filled(client, 5)
        self.refuses(NOT_EMPTY, client.request, ferry.QUEUE_DELETE, queue, {"if_empty": True})
        self.assertEqual(client.request(ferry.QUEUE_PURGE, queue)["messages"], 5)
        client.subscribe(1, queue)
        self.refuses(IN_USE, client.request, ferry.QUEUE_DELETE, queue, {"if_unused": True})
        self.assertEqual(client.request(ferry.QUEUE_DELETE, queue, {})["messages"], 0)

    def test_exchanges_route_by_their_type(self):
        client = self.connect()
        topic, fanout, headers = self.name("topic"), self.name("fanout"), self.name("headers")
        for name, kind in ((topic, "topic"), (fanout, "fanout"), (headers, "headers")):
            client.request(ferry.EXCHANGE_DECLARE, name, kind, {})
        paid, everything, eu = self.queue(client), self.queue(client), self.queue(client)
        client.request(ferry.BIND, topic, paid, "queue", "order.*.paid", {})
        client.request(ferry.BIND, topic, fanout, "exchange", "#", {})
        client.request(ferry.BIND, fanout, everything, "queue", "", {})
        client.request(ferry.BIND, headers, eu, "queue", "", {"x-match": "all", "region": "eu"})
        producer = client.producer(self.name("p"))["producer"]
        client.publish(producer, 1, [message("order.7.paid", b"1", exchange=topic),
                                     message("order.7.sent", b"2", exchange=topic),
                                     message("", b"3", exchange=headers, properties={3: {"region": "eu"}}),
                                     message("", b"4", exchange=headers, properties={3: {"region": "us"}})])
        client.outcomes(producer, 1, 4)
        ready = [client.request(ferry.QUEUE_SHOW, q)["ready"] for q in (paid, everything, eu)]
        self.assertEqual(ready, [1, 2, 1])
        shown = client.request(ferry.EXCHANGE_SHOW, topic)
        self.assertEqual({(b["destination"], b["kind"], b["key"]) for b in shown["bindings"]},
                         {(paid, "queue", "order.*.paid"), (fanout, "exchange", "#")})
        client.request(ferry.UNBIND, topic, paid, "queue", "order.*.paid", {})
        self.refuses(NO_SUCH_BINDING, client.request, ferry.UNBIND, topic, paid, "queue", "order.*.paid", {})
        self.refuses(IN_USE, client.request, ferry.EXCHANGE_DELETE, topic, {"if_unused": True})
        client.request(ferry.EXCHANGE_DELETE, topic, {})
        self.refuses(NO_SUCH_EXCHANGE, client.request, ferry.EXCHANGE_SHOW, topic)

    def test_stats_have_every_figure_of_the_page(self):
        stats = self.connect().request(ferry.STATS)
        for key in ("version log_id uptime_ms connections queues exchanges published confirmed delivered acked "
                    "refused ready unacked log_end log_durable log_file_bytes log_live_bytes syncs "
                    "publish_blocked").split():
            self.assertIn(key, stats)


class Restarts(unittest.TestCase):
    """Each test has a broker of its own, because it ends it."""

    def setUp(self):
        self.broker = Broker(os.environ["FERRYD"]).start()
        self.addCleanup(self.broker.end)

    def connect(self):
        client = Client("127.0.0.1", self.broker.port)
        self.addCleanup(client.close)
        return client

    # G1
    def test_what_was_confirmed_is_there_after_kill_9(self):
        client = self.connect()
        client.declare("q")
        producer = client.producer("p")["producer"]
        client.publish(producer, 1, [message("q", str(i).encode()) for i in range(1000)])
        client.outcomes(producer, 1, 1000)
        client.subscribe(1, "q", window=10)
        client.deliveries(1, 10)
        self.assertEqual(client.ack(1, [1, 5]), [])
        self.broker.restart()
        again = self.connect()
        known = again.producer("p")
        self.assertEqual((known["mark"], known["open"]), (1000, []))
        again.publish(known["producer"], 1000, [message("q", b"999"), message("q", b"1000")])
        self.assertEqual(again.outcomes(known["producer"], 1000, 1001), {1000: "duplicate", 1001: "confirmed"})
        again.subscribe(1, "q", window=2000)
        got = again.deliveries(1, 996)
        self.assertEqual([d["payload"] for d in got], [str(i).encode() for i in range(5, 1001)])
        self.assertTrue(all(d["attempt"] > 1 for d in got[:5]), "what was unacked is marked redelivered")
        self.assertEqual(got[-1]["attempt"], 1)

    def test_sigterm_ends_cleanly_and_returns_what_was_unacked(self):
        client = self.connect()
        client.declare("q")
        producer = client.producer("p")["producer"]
        client.publish(producer, 1, [message("q", b"x")])
        client.outcomes(producer, 1, 1)
        client.subscribe(1, "q")
        client.deliveries(1, 1)
        self.assertEqual(self.broker.stop(), 0)
        self.broker.start()
        again = self.connect()
        again.subscribe(1, "q")
        self.assertEqual(again.deliveries(1, 1)[0]["attempt"], 2)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))
    unittest.main(verbosity=2)
