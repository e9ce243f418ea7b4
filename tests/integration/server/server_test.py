"""What the server does around the protocol, seen from outside: starts, ends, limits, slow peers, cold reads."""
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import ferry_client as ferry  # noqa: E402
from broker import Broker, wait_until  # noqa: E402
from ferry_client import Client, Closed, Refused, frame, message  # noqa: E402

FERRYD = os.environ["FERRYD"]
FRAME_TOO_LARGE, TIMED_OUT, TOO_MANY_CONNECTIONS = 101, 104, 402
DISK_FULL, STORAGE_FAILED, SHUTTING_DOWN, DAMAGED = 400, 500, 501, 502


class Peer(Client):
    """Opens each producer once."""

    def handle_of(self, name):
        handles = self.__dict__.setdefault("handles", {})
        if name not in handles:
            handles[name] = self.producer(name)["producer"]
        return handles[name]


class Case(unittest.TestCase):
    """Each test has a broker of its own, with the configuration it asks for."""

    def broker(self, config=""):
        broker = Broker(FERRYD)
        self.addCleanup(broker.end)
        broker.config = os.path.join(broker.data, "ferryd.toml")
        with open(broker.config, "w", encoding="utf-8") as file:
            file.write(config)
        broker.start("--config", broker.config)
        return broker

    def connect(self, broker, **options):
        client = Peer("127.0.0.1", broker.port, **options)
        self.addCleanup(client.close)
        return client

    def publish(self, client, queue, payloads, first=1, producer=None, batch=200):
        """Publishes all and waits for the confirms. Returns the next sequence."""
        handle = client.handle_of(producer or queue)
        for i in range(0, len(payloads), batch):
            part = [message(queue, payload) for payload in payloads[i:i + batch]]
            client.publish(handle, first, part)
            outcomes = client.outcomes(handle, first, first + len(part) - 1)
            self.assertEqual(set(outcomes.values()), {"confirmed"})
            first += len(part)
        return first

    def drain(self, client, queue, count, window=1000):
        """Consumes and acks `count` messages; their payloads in order."""
        client.subscribe(1, queue, window=window, window_bytes=64 << 20)
        payloads = []
        while len(payloads) < count:
            values = client.wait_for(lambda f: f[0] in (ferry.DELIVER, ferry.CANCELLED), 20.0)
            self.assertEqual(values[0], ferry.DELIVER, values)
            payloads += [each[3] for each in values[7]]
            client.send(ferry.ACK, 0, 1, [values[2], values[2] + len(values[7]) - 1])
        return payloads


def run_ferryd(*arguments):
    return subprocess.run([FERRYD, "--http", "", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=30, check=False)


def tree(directory):
    """Names and contents, to see whether anything changed."""
    result = {}
    for parent, _, files in os.walk(directory):
        for name in files:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                result[path] = hashlib.sha256(file.read()).hexdigest()
    return result


class Starts(Case):
    @staticmethod
    def lasting(broker):
        """Without what the first broker itself prepares in the background."""
        return {n for n in os.listdir(broker.log_directory) if not re.match(r"spare|ballast", n)}

    def test_a_second_broker_on_the_directory_says_so_and_changes_nothing(self):
        broker = self.broker()
        client = self.connect(broker)
        client.declare("q")
        names = self.lasting(broker)
        second = run_ferryd("--data", broker.log_directory, "--listen", "127.0.0.1:0")
        self.assertEqual(second.returncode, 1)
        self.assertIn(b"another broker", second.stderr)
        self.assertIn(broker.log_directory.encode(), second.stderr)
        self.assertEqual(self.lasting(broker), names)
        self.assertEqual(client.request(ferry.QUEUE_SHOW, "q")["name"], "q")

    def test_a_port_in_use_says_so_and_makes_no_directory(self):
        broker = self.broker()
        with tempfile.TemporaryDirectory() as directory:
            data = os.path.join(directory, "data")
            second = run_ferryd("--data", data, "--listen", f"127.0.0.1:{broker.port}")
            self.assertEqual(second.returncode, 1)
            self.assertIn(str(broker.port).encode(), second.stderr)
            self.assertIn(b"in use", second.stderr)
            self.assertFalse(os.path.exists(data))

    def test_a_directory_that_cannot_be_made_says_so(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "file")
            with open(path, "wb") as file:
                file.write(b"in the way")
            result = run_ferryd("--data", os.path.join(path, "data"), "--listen", "127.0.0.1:0")
            self.assertEqual(result.returncode, 1)
            self.assertIn(path.encode(), result.stderr)

    # G13
    def test_a_damaged_log_is_refused_with_the_place_and_left_alone(self):
        broker = self.broker()
        client = self.connect(broker)
        client.declare("q")
        for round_ in range(3):  # each confirm is a later batch's witness
            self.publish(client, "q", [b"x" * 1000] * 10, first=1 + 10 * round_, producer="p")
        broker.kill()
        segments = sorted(n for n in os.listdir(broker.log_directory) if re.match(r"[0-9a-f]{16}-.*\.seg$", n))
        path = os.path.join(broker.log_directory, segments[0])
        with open(path, "r+b") as file:
            file.seek(4096 + 64 + 8)  # the first record's body
            byte = file.read(1)
            file.seek(4096 + 64 + 8)
            file.write(bytes([byte[0] ^ 0x55]))
        before = tree(broker.log_directory)
        result = run_ferryd("--data", broker.log_directory, "--listen", "127.0.0.1:0")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr.decode(), r"position \d+|" + segments[0])
        after = tree(broker.log_directory)
        self.assertEqual({k: v for k, v in before.items() if not k.endswith("LOCK")},
                         {k: v for k, v in after.items() if not k.endswith("LOCK")})


class Ends(Case):
    # G21
    def test_sigterm_confirms_what_was_taken_tells_clients_and_exits_0(self):
        broker = self.broker()
        client = self.connect(broker)
        idle = self.connect(broker)
        client.declare("q")
        producer = client.producer("p")["producer"]
        client.publish(producer, 1, [message("q", b"m%d" % i) for i in range(500)])
        self.assertEqual(set(client.outcomes(producer, 1, 500).values()), {"confirmed"})
        broker.process.send_signal(signal.SIGTERM)
        told = client.expect_closed()[-1]
        self.assertEqual(told[:3], [ferry.ERROR, 0, SHUTTING_DOWN])
        self.assertEqual(idle.expect_closed()[-1][2], SHUTTING_DOWN)
        client.close()
        idle.close()
        self.assertEqual(broker.process.wait(timeout=20), 0)
        broker._closed()
        broker.start()
        again = self.connect(broker)
        self.assertEqual(again.request(ferry.QUEUE_SHOW, "q")["ready"], 500)

    def test_a_clean_stop_leaves_nothing_to_replay_and_no_delivery_counted(self):
        broker = self.broker()
        client = self.connect(broker)
        client.declare("q")
        self.publish(client, "q", [b"a", b"b", b"c"])
        self.assertEqual(broker.stop(), 0)
        broker.start()
        again = self.connect(broker)
        again.subscribe(1, "q")
        got = again.deliveries(1, 3)
        self.assertEqual([m["payload"] for m in got], [b"a", b"b", b"c"])
        self.assertEqual({m["attempt"] for m in got}, {1})

    def test_a_client_that_never_closes_does_not_hold_up_the_end(self):
        broker = self.broker('[server]\ndrain = "1s"\n')
        deaf = self.connect(broker)
        began = time.monotonic()
        self.assertEqual(broker.stop(), 0)
        self.assertLess(time.monotonic() - began, 15)
        deaf.close()

    # G1
    def test_kill_9_under_load_loses_nothing_that_was_confirmed(self):
        broker = self.broker('[log]\nsegment_bytes = "4MiB"\ncheckpoint_bytes = "4MiB"\n')
        client = self.connect(broker)
        client.declare("q")
        producer = client.producer("p")["producer"]
        confirmed = set()
        sent = 0
        stop = time.monotonic() + 2.0
        killer = threading.Timer(1.5, broker.process.kill)
        killer.start()
        try:
            while time.monotonic() < stop:
                batch = [message("q", b"%d" % (sent + i)) for i in range(100)]
                client.publish(producer, sent + 1, batch)
                outcomes = client.outcomes(producer, sent + 1, sent + 100)
                confirmed |= {s - 1 for s, what in outcomes.items() if what == "confirmed"}
                sent += 100
        except (Closed, OSError):
            pass
        killer.join()
        broker.kill()
        self.assertGreater(len(confirmed), 100)
        broker.start("--config", broker.config)
        again = self.connect(broker)
        ready = again.request(ferry.QUEUE_SHOW, "q")["ready"]
        got = [int(p) for p in self.drain(again, "q", ready)]
        self.assertEqual(len(got), len(set(got)), "a message came twice")
        self.assertEqual(confirmed - set(got), set(), "confirmed messages are gone")

    # G3
    def test_an_ack_nobody_asks_about_is_durable_within_moments(self):
        broker = self.broker()
        client = self.connect(broker)
        client.declare("q")
        self.publish(client, "q", [b"%d" % i for i in range(100)])
        self.drain(client, "q", 100)

        def written():
            stats = client.request(ferry.STATS)
            return stats["acked"] == 100 and stats["log_durable"] == stats["log_end"]

        wait_until(written, "the acks in the log")
        broker.kill()
        broker.start("--config", broker.config)
        self.assertEqual(self.connect(broker).request(ferry.QUEUE_SHOW, "q")["ready"], 0)


class Limits(Case):
    def test_a_connection_too_many_is_told_and_closed(self):
        broker = self.broker("[limits]\nconnections = 3\n")
        taken = [self.connect(broker) for _ in range(3)]
        surplus = self.connect(broker, hello=False)
        seen = surplus.expect_closed()
        self.assertEqual(seen[0][:3], [ferry.ERROR, 0, TOO_MANY_CONNECTIONS])
        taken[0].goodbye()
        taken[0].close()

        def room():
            try:
                self.connect(broker)
                return True
            except (Refused, Closed, OSError):
                return False
        wait_until(room, "room for another connection")
        self.assertIn("published", taken[1].request(ferry.STATS))

    # G18
    def test_a_frame_over_the_configured_limit_closes_only_its_connection(self):
        broker = self.broker('[limits]\nframe_bytes = "64KiB"\n')
        other = self.connect(broker)
        client = self.connect(broker)
        client.send_bytes((64 * 1024 + 1).to_bytes(4, "big"))
        self.assertEqual(client.read_frame()[2], FRAME_TOO_LARGE)
        self.assertEqual(client.expect_closed(), [])
        self.assertIn("published", other.request(ferry.STATS))

    def test_a_publisher_above_its_unconfirmed_limit_is_slowed_not_lost(self):
        broker = self.broker("[limits]\nconnection_unconfirmed = 1024\n")
        client = self.connect(broker)
        client.declare("q")
        producer = client.producer("p")["producer"]
        count = 40
        data = b"".join(frame([ferry.PUBLISH, 1 + 500 * i, producer, 0, 0, [message("q", b"x" * 50)] * 500])
                        for i in range(count))
        sender = threading.Thread(target=client.send_bytes, args=(data,))
        sender.start()
        outcomes = client.outcomes(producer, 1, 500 * count)
        sender.join()
        self.assertEqual(set(outcomes.values()), {"confirmed"})


class SlowPeers(Case):
    # G19
    def test_a_consumer_that_does_not_read_stops_only_itself(self):
        broker = self.broker('[limits]\noutput_bytes = "256KiB"\n')
        client = self.connect(broker)
        for queue in ("stuck", "live"):
            client.declare(queue)
        payloads = [b"%06d" % i + b"x" * 4000 for i in range(8000)]
        self.publish(client, "stuck", payloads)
        stuck = self.connect(broker)
        stuck.send(ferry.SUBSCRIBE, 99, 1, "stuck", 100_000, 256 << 20, {})  # and then it reads nothing
        live = self.connect(broker)
        live.subscribe(1, "live", window=10)
        producer = client.producer("live-p")["producer"]
        for i in range(50):
            client.publish(producer, i + 1, [message("live", b"%d" % i)])
            client.outcomes(producer, i + 1, i + 1)
            self.assertEqual(live.deliveries(1, 1)[0]["payload"], b"%d" % i)
            live.send(ferry.ACK, 0, 1, [i + 1, i + 1])
        # When it reads again it gets everything, in order, from where it stopped.
        got = []
        while len(got) < len(payloads):
            values = stuck.wait_for(lambda f: f[0] == ferry.DELIVER, 20.0)
            self.assertEqual(values[2], len(got) + 1, "tags follow one another")
            got += [each[3] for each in values[7]]
        self.assertEqual(got, payloads)

    def test_a_consumer_without_acks_that_does_not_read_is_not_buffered_for_ever(self):
        broker = self.broker('[limits]\noutput_bytes = "256KiB"\n[log]\ncache_bytes = "1MiB"\n')
        client = self.connect(broker)
        client.declare("q")
        payloads = [b"%06d" % i + b"x" * 4000 for i in range(8000)]
        self.publish(client, "q", payloads)
        deaf = self.connect(broker)
        deaf.send(ferry.SUBSCRIBE, 99, 1, "q", 100, 1 << 20, {"no_ack": True})
        wait_until(lambda: client.request(ferry.QUEUE_SHOW, "q")["delivered"] > 0, "the first delivery")
        ready = client.request(ferry.QUEUE_SHOW, "q")["ready"]
        self.assertGreater(ready, 0, "most of it is still in the queue")
        got = []
        while len(got) < len(payloads):
            values = deaf.wait_for(lambda f: f[0] == ferry.DELIVER, 20.0)
            got += [each[3] for each in values[7]]
        self.assertEqual(got, payloads)

    def test_a_stranger_that_never_says_hello_is_closed(self):
        broker = self.broker()
        stranger = self.connect(broker, hello=False, timeout=15.0)
        seen = stranger.expect_closed()
        self.assertEqual(seen[0][:3], [ferry.ERROR, 0, TIMED_OUT])

    def test_a_peer_that_heartbeats_is_never_silent(self):
        broker = self.broker()
        client = self.connect(broker, hello=False)
        info = client.request(ferry.HELLO, 1, {"heartbeat_ms": 1000})
        self.assertEqual(info["heartbeat_ms"], 1000)
        until = time.monotonic() + 3.2
        while time.monotonic() < until:
            client.send(ferry.HEARTBEAT, 0)
            try:
                client.read_frame(0.4)
                self.fail("only heartbeats were expected")
            except socket.timeout:
                pass
        self.assertIn("published", client.request(ferry.STATS))


class ColdReads(Case):
    """With a small memory everything but the newest messages comes back from disk."""
    CONFIG = '[log]\nsegment_bytes = "4MiB"\ncheckpoint_bytes = "4MiB"\ncache_bytes = "1MiB"\n'

    def fill(self, broker, count=12_000, size=2000):
        client = self.connect(broker)
        client.declare("q")
        payloads = [b"%08d" % i + b"y" * (size - 8) for i in range(count)]
        self.publish(client, "q", payloads)
        return client, payloads

    def test_a_backlog_is_drained_from_disk_in_order(self):
        broker = self.broker(self.CONFIG)
        client, payloads = self.fill(broker)
        self.assertEqual(self.drain(client, "q", len(payloads)), payloads)
        wait_until(lambda: client.request(ferry.QUEUE_SHOW, "q")["unacked"] == 0, "the last ack")

    def test_a_pull_answers_after_the_messages_it_found_on_disk(self):
        broker = self.broker(self.CONFIG)
        client, payloads = self.fill(broker, count=4000)
        client.send(ferry.PULL, 77, 5, "q", 1500, 64 << 20, {})
        got = []
        while True:
            values = client.read_frame()
            if values[0] == ferry.OK:
                self.assertEqual(values[1], 77)
                break
            got += [each[3] for each in values[7]]
        self.assertEqual(values[2]["messages"], 1500)
        self.assertEqual(got, payloads[:1500])

    def test_peeking_reads_from_disk_too(self):
        broker = self.broker(self.CONFIG)
        client, payloads = self.fill(broker, count=4000)
        answer = client.request(ferry.QUEUE_PEEK, "q", 0, 100, 1 << 20)
        self.assertEqual([m[3][3] for m in answer["messages"]], payloads[:100])
        some = client.request(ferry.QUEUE_PEEK, "q", 0, 100, 10_000)["messages"]
        self.assertTrue(1 <= len(some) <= 5, f"{len(some)} messages of 2000 bytes are not 10,000 bytes")

    def test_after_a_restart_the_backlog_is_there_in_order(self):
        broker = self.broker(self.CONFIG)
        _, payloads = self.fill(broker)
        broker.kill()
        broker.start("--config", broker.config)
        self.assertEqual(self.drain(self.connect(broker), "q", len(payloads)), payloads)

    def test_a_damaged_message_cancels_its_consumer_and_others_go_on(self):
        broker = self.broker(self.CONFIG)
        client, _ = self.fill(broker)
        segments = sorted(n for n in os.listdir(broker.log_directory) if re.match(r"[0-9a-f]{16}-.*\.seg$", n))
        broker.kill()
        with open(os.path.join(broker.log_directory, segments[0]), "r+b") as file:
            file.seek(4096 + 300_000)
            file.write(b"\xff" * 16)
        # Nothing below the checkpoint is read at start, so the damage shows when the message is read.
        broker.start("--config", broker.config)
        client = self.connect(broker)
        client.declare("other")
        consumer = self.connect(broker)
        consumer.subscribe(1, "q", window=1000)
        told = consumer.wait_for(lambda f: f[0] == ferry.CANCELLED, 20.0)
        self.assertEqual(told[2], DAMAGED)
        self.assertIn("position", told[3])
        self.publish(client, "other", [b"goes on"])
        self.assertEqual(self.drain(client, "other", 1), [b"goes on"])


class Space(Case):
    CONFIG = '[log]\nsegment_bytes = "1MiB"\nbatch_bytes = "1MiB"\ncheckpoint_bytes = "1MiB"\ncache_bytes = "1MiB"\n' \
             '[limits]\nframe_bytes = "256KiB"\n'

    def segments(self, broker):
        return [n for n in os.listdir(broker.log_directory) if re.match(r"[0-9a-f]{16}-.*\.(seg|cmp)$", n)]

    # G17
    def test_what_was_consumed_gives_its_disk_space_back(self):
        broker = self.broker(self.CONFIG)
        client = self.connect(broker)
        client.declare("q")
        next_sequence = 1
        for round_ in range(12):
            next_sequence = self.publish(client, "q", [b"z" * 2000] * 1000, first=next_sequence, producer="p",
                                         batch=100)
            consumer = self.connect(broker)
            self.drain(consumer, "q", 1000)
            wait_until(lambda: client.request(ferry.QUEUE_SHOW, "q")["unacked"] == 0, "acks")
            consumer.close()
            # Space is given back about once a second, and a round may take a tenth of that: wait for it now and then.
            if round_ % 4 == 3:
                wait_until(lambda: len(self.segments(broker)) <= 8, "old segments go", 60.0)

    # G17
    def test_one_old_message_does_not_hold_a_whole_log(self):
        broker = self.broker(self.CONFIG)
        client = self.connect(broker)
        client.declare("old")
        client.declare("busy")
        # Each segment of the busy queue's traffic keeps one message of the old queue.
        old_next, busy_next = 1, 1
        for i in range(24):
            old_next = self.publish(client, "old", [b"keep %d" % i], first=old_next, producer="po")
            busy_next = self.publish(client, "busy", [b"z" * 2000] * 500, first=busy_next, producer="pb", batch=100)
        consumer = self.connect(broker)
        self.drain(consumer, "busy", 24 * 500)
        keep_going = [busy_next]

        def compacted():
            keep_going[0] = self.publish(client, "busy", [b"z" * 2000] * 300, first=keep_going[0], producer="pb",
                                         batch=100)
            for _ in range(3):
                values = consumer.wait_for(lambda f: f[0] == ferry.DELIVER, 20.0)
                consumer.send(ferry.ACK, 0, 1, [values[2], values[2] + len(values[7]) - 1])
            try:
                size = sum(os.path.getsize(os.path.join(broker.log_directory, n)) for n in self.segments(broker))
            except FileNotFoundError:
                return False  # one went meanwhile
            return any(n.endswith(".cmp") for n in self.segments(broker)) and size < 14 << 20
        wait_until(compacted, "sparse segments are compacted", 60.0)
        broker.kill()
        broker.start("--config", broker.config)
        got = self.drain(self.connect(broker), "old", 24)
        self.assertEqual(got, [b"keep %d" % i for i in range(24)])


class Faults(Case):
    def start_with_bad_disk(self, directory, fault):
        """ferryd under strace, which tampers with its fdatasync calls. The process and its port."""
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:{fault}"]
        try:
            probe = subprocess.run([*trace, "true"], stderr=subprocess.PIPE, timeout=10, check=False)
        except FileNotFoundError:
            self.skipTest("strace is not installed")
        if probe.returncode != 0:
            self.skipTest("strace may not trace here: " + probe.stderr.decode())
        process = subprocess.Popen(
            [*trace, FERRYD, "--data", os.path.join(directory, "log"), "--listen", "127.0.0.1:0", "--http", ""],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        return process, int(re.search(r":(\d+)", process.stdout.readline().decode()).group(1))

    # F19
    def test_a_slow_disk_delays_confirms_and_nothing_else(self):
        delay = 2.0
        with tempfile.TemporaryDirectory() as directory:
            # From the 20th call on, so that the start is quick.
            process, port = self.start_with_bad_disk(directory, f"delay_exit={int(delay * 1e6)}:when=20+")
            client, other = Client("127.0.0.1", port), Client("127.0.0.1", port)
            self.addCleanup(client.close)
            self.addCleanup(other.close)
            client.declare("q")
            producer = client.producer("p")["producer"]
            sequence, slowest = 0, 0.0
            while slowest < delay:
                sequence += 1
                self.assertLess(sequence, 1000, "the disk never became slow")
                began = time.monotonic()
                client.publish(producer, sequence, [message("q", b"%d" % sequence)])
                if sequence > 25:
                    # While that confirm is waited for the loop answers others at once.
                    asked = time.monotonic()
                    other.request(ferry.QUEUE_SHOW, "q")
                    self.assertLess(time.monotonic() - asked, delay / 2)
                self.assertEqual(client.outcomes(producer, sequence, sequence), {sequence: "confirmed"})
                slowest = max(slowest, time.monotonic() - began)
            self.assertEqual(client.request(ferry.QUEUE_SHOW, "q")["ready"], sequence)
            self.assertEqual([f for f in client.aside if f[0] == ferry.ERROR], [])
            # Killing strace alone would leave ferryd running.
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as children:
                for child in children.read().split():
                    os.kill(int(child), signal.SIGKILL)
            process.wait(timeout=20)

    # G11, F3
    def test_a_failed_sync_confirms_nothing_more_and_exits_74(self):
        with tempfile.TemporaryDirectory() as directory:
            process, port = self.start_with_bad_disk(directory, "error=EIO:when=12+")
            client = Client("127.0.0.1", port)
            self.addCleanup(client.close)
            client.declare("q")
            producer = client.producer("p")["producer"]
            confirmed = 0
            with self.assertRaises((Closed, OSError)):
                for sequence in range(1, 1000):
                    client.publish(producer, sequence, [message("q", b"%d" % sequence)])
                    client.outcomes(producer, sequence, sequence)
                    confirmed = sequence
            self.assertIn([ferry.ERROR, 0, STORAGE_FAILED], [f[:3] for f in client.aside])
            self.assertEqual(process.wait(timeout=20), 74)
            again = Broker(FERRYD, data=directory)
            self.addCleanup(again.end)
            again.start()
            reader = self.connect(again)
            ready = reader.request(ferry.QUEUE_SHOW, "q")["ready"]
            self.assertGreaterEqual(ready, confirmed)
            self.assertEqual(self.drain(reader, "q", confirmed)[:confirmed],
                             [b"%d" % i for i in range(1, confirmed + 1)])
            again.kill()

    # G12
    def test_a_full_disk_refuses_publishes_serves_consumers_and_recovers_by_itself(self):
        directory = tempfile.mkdtemp(prefix="ferry-full-")
        self.addCleanup(os.rmdir, directory)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "ferry-test", directory],
                          stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("a small file system cannot be mounted here")
        self.addCleanup(subprocess.call, ["umount", "-l", directory])
        broker = Broker(FERRYD, data=directory)
        self.addCleanup(broker.end)
        with open(os.path.join(directory, "ferryd.toml"), "w", encoding="utf-8") as file:
            file.write(Space.CONFIG)
        broker.start("--config", os.path.join(directory, "ferryd.toml"))
        client = self.connect(broker)
        client.declare("q")
        handle = client.handle_of("p")
        sequence, stored, answers = 1, 0, {"confirmed"}
        while answers == {"confirmed"}:
            client.publish(handle, sequence, [message("q", b"z" * 2000)] * 50)
            outcomes = client.outcomes(handle, sequence, sequence + 49)
            answers = set(outcomes.values())
            stored += list(outcomes.values()).count("confirmed")
            sequence += 50
            self.assertLess(sequence, 20_000, "16 MiB hold no 20,000 messages of 2,000 bytes")
        self.assertEqual(answers - {"confirmed"}, {DISK_FULL})
        self.assertEqual(len(self.drain(self.connect(broker), "q", stored)), stored)
        next_sequence = [sequence]

        def taken():
            now = next_sequence[0]
            client.publish(handle, now, [message("q", b"again")], settled=now - 1)
            next_sequence[0] += 1
            return client.outcomes(handle, now, now)[now] == "confirmed"
        wait_until(taken, "publishing resumes by itself", 30.0)
        self.assertEqual(broker.stop(), 0)


class Backups(Case):
    # G22
    def test_a_backup_taken_under_way_opens_and_holds_what_was_confirmed(self):
        broker = self.broker()
        client = self.connect(broker)
        client.declare("q")
        self.publish(client, "q", [b"%d" % i for i in range(300)])
        target = os.path.join(broker.data, "backup")
        answer = client.request(ferry.BACKUP, target)
        self.assertGreater(answer["bytes"], 0)
        self.assertGreater(answer["files"], 0)
        self.assertGreater(answer["upto"], 0)
        with self.assertRaises(Refused):
            client.request(ferry.BACKUP, target)  # not empty any more
        copy = Broker(FERRYD, data=os.path.join(broker.data, "copy"))
        os.makedirs(copy.data)
        os.rename(target, copy.log_directory)
        self.addCleanup(copy.end)
        copy.start()
        restored = self.connect(copy)
        self.assertEqual(self.drain(restored, "q", 300), [b"%d" % i for i in range(300)])


if __name__ == "__main__":
    unittest.main(verbosity=2)
