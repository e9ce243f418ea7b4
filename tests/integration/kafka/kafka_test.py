"""ferrymq on a real Apache Kafka (one node), which is killed, cut off and guarded on the way.

Cites G121, G122, G123, G125, G126, G127, G128.
"""
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "python"), str(HERE.parent / "bank"), str(HERE.parent / "cli")]
import bank_check  # noqa: E402
import docs_test  # noqa: E402
import kafka_server  # noqa: E402
from broker import Broker, pump  # noqa: E402

FERRY, BANK, PROGRAM = (os.environ[name] for name in ("FERRY", "BANK", "PROGRAM"))
kafka = None
proxy = None
directory = tempfile.mkdtemp(prefix="ferry-kafka-test-")


class Proxy:
    """Between clients and a node; cut() drops every connection and takes no new ones."""

    def __init__(self, port):
        self.target, self.open, self.pairs = port, True, []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            try:
                if not self.open:
                    raise OSError
                node = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self.pairs.append((client, node))
            for one, other in ((client, node), (node, client)):
                threading.Thread(target=pump, args=(one, other), daemon=True).start()

    def cut(self):
        self.open = False
        for pair in self.pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.pairs = []

    def heal(self):
        self.open = True


def start_kafka():
    """Listeners: open to all; the same behind a proxy; TLS with a password, for `shop` and for `guest`, who may nothing."""
    global kafka, proxy
    proxied, safe = kafka_server.free_ports(2)
    proxy = Proxy(proxied)
    pem = os.path.join(directory, "node.pem")
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                           "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem + ".key", "-out", pem + ".cert"],
                          capture_output=True)
    assert made.returncode == 0, made.stderr
    with open(pem, "w", encoding="utf-8") as file:
        for part in (".key", ".cert"):
            file.write(pathlib.Path(pem + part).read_text(encoding="utf-8"))
    kafka = kafka_server.Kafka()
    unittest.addModuleCleanup(kafka.end)  # also if it does not start
    node = kafka.nodes[0]
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required user_shop=\"sesame\" user_guest=\"guest\";"
    kafka.settings.update({
        "listeners": f"CLIENT://127.0.0.1:{node.port},PROXIED://127.0.0.1:{proxied},SAFE://127.0.0.1:{safe},"
                     f"INNER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{node.port},PROXIED://127.0.0.1:{proxy.port},SAFE://127.0.0.1:{safe}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,PROXIED:PLAINTEXT,SAFE:SASL_SSL,INNER:PLAINTEXT",
        "listener.name.safe.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.safe.plain.sasl.jaas.config": login,
        "listener.name.safe.ssl.keystore.type": "PEM", "listener.name.safe.ssl.keystore.location": pem,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:shop",
    })
    node.write()
    kafka.safe, kafka.certificate = safe, pem + ".cert"
    kafka.start()


def setUpModule():
    unittest.addModuleCleanup(shutil.rmtree, directory, ignore_errors=True)
    start_kafka()


def ferry(*arguments, url=None, data=None, timeout=90):
    return subprocess.run([FERRY, "--url", url or kafka.url, *arguments], input=data, capture_output=True, text=True,
                          timeout=timeout)


def until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not after {seconds} s: {what}"
        time.sleep(0.1)


class KafkaTest(unittest.TestCase):
    def declare(self, *topics, partitions=3):
        done = ferry("topic", "declare", *topics, "--partitions", str(partitions))
        self.assertEqual(done.returncode, 0, done.stderr)

    def publish(self, topic, lines, *arguments, url=None):
        done = ferry("publish", topic, *arguments, url=url, data="".join(f"{line}\n" for line in lines))
        self.assertEqual(done.returncode, 0, done.stderr)

    def consume(self, topic, *arguments, url=None):
        done = ferry("consume", topic, *arguments, url=url)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def kcat(self, *arguments, data=None):
        return subprocess.run(["kcat", "-b", kafka.hosts, *arguments], input=data, capture_output=True, text=True, timeout=60)

    def options(self, name, **settings):
        path = os.path.join(directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(f"{key.replace('_', '.')} = {value}\n" for key, value in settings.items()))
        os.chmod(path, 0o600)
        return path

    def safe_url(self, user, password):
        path = self.options("safe-" + user, security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username=user,
                            sasl_password=password, ssl_ca_location=kafka.certificate)
        return f"kafka://127.0.0.1:{kafka.safe}?options={path}"

    def test_messages_go_through_a_group_once(self):  # G121, G122
        self.declare("once")
        self.publish("once", range(200), "--key", "k")
        self.assertEqual(self.consume("once", "--count", "120"), [str(n) for n in range(120)])
        # What the group has acked is gone, and the order of the key is kept.
        self.assertEqual(self.consume("once"), [str(n) for n in range(120, 200)])
        self.assertEqual(self.consume("once"), [])
        self.assertEqual(len(self.consume("once", "--group", "others")), 200)

    def test_kcat_reads_ours_and_we_read_kcats(self):  # G121
        self.declare("exchange")
        done = ferry("publish", "exchange", "hello", "--key", "c1", "--header", "region=eu", "--id", "m-1")
        self.assertEqual(done.returncode, 0, done.stderr)
        seen = self.kcat("-C", "-t", "exchange", "-e", "-q", "-f", "%k|%s|%h").stdout
        self.assertEqual(seen, "c1|hello|ferry.id=m-1,region=eu")
        sent = self.kcat("-P", "-t", "exchange", "-k", "c2", "-H", "source=kcat", data="moin\n")
        self.assertEqual(sent.returncode, 0, sent.stderr)
        messages = [json.loads(line) for line in self.consume("exchange", "--format", "json")]
        other = next(one for one in messages if one["payload"] == "moin")
        self.assertEqual(other["ordering_key"], "c2")
        self.assertEqual(other["headers"], {"source": "kcat"})

    def test_tls_and_a_password_come_from_the_options_file(self):  # G127
        self.declare("safe")
        url = self.safe_url("shop", "sesame")
        self.publish("safe", ["secret"], url=url)
        self.assertEqual(self.consume("safe", url=url), ["secret"])
        refused = ferry("publish", "safe", "x", url=self.safe_url("shop", "wrong"))
        self.assertEqual(refused.returncode, 3)
        self.assertIn("uthentication", refused.stderr)
        self.assertNotIn("wrong", refused.stderr)

    def test_authorization_refused_is_told(self):
        self.declare("guarded")
        url = self.safe_url("guest", "guest")
        for arguments in (["publish", "guarded", "x"], ["consume", "guarded", "--timeout", "5s"]):
            refused = ferry(*arguments, url=url)
            self.assertEqual(refused.returncode, 1, refused.stderr)
            self.assertIn("not allowed", refused.stderr)

    def test_a_topic_that_is_missing_is_named(self):
        for arguments in (["publish", "nowhere", "x"], ["consume", "nowhere"]):
            refused = ferry(*arguments)
            self.assertEqual(refused.returncode, 1, refused.stderr)
            self.assertIn("NO_ROUTE", refused.stderr)
            self.assertIn("nowhere", refused.stderr)

    def test_a_message_that_is_too_large_is_refused_by_either_side(self):
        self.declare("large")
        path = os.path.join(directory, "large")
        with open(path, "wb") as file:
            file.write(b"x" * 2_000_000)
        here = ferry("publish", "large", "--file", path)
        self.assertEqual(here.returncode, 1)
        self.assertIn("message.max.bytes", here.stderr)
        options = self.options("wide", message_max_bytes="5000000")
        there = ferry("publish", "large", "--file", path, url=f"{kafka.url}?options={options}")
        self.assertEqual(there.returncode, 1)
        self.assertIn("MESSAGE_TOO_LARGE", there.stderr)

    def test_a_network_cut_loses_and_doubles_nothing(self):  # G121
        self.declare("cut")
        url = f"kafka://127.0.0.1:{proxy.port}"
        publisher = subprocess.Popen([FERRY, "--url", url, "publish", "cut", "--json"], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(3000):
            publisher.stdin.write(f"{number}\n")
            if number % 100 == 0:
                publisher.stdin.flush()
            if number % 1000 == 500:
                proxy.cut()
                time.sleep(0.5)
                proxy.heal()
        out, errors = publisher.communicate(timeout=60)
        self.assertEqual(publisher.returncode, 0, errors)
        self.assertEqual(json.loads(out)["confirmed"], 3000)
        there = self.kcat("-C", "-t", "cut", "-e", "-q").stdout.split()
        self.assertEqual(sorted(map(int, there)), list(range(3000)))

    def test_a_rebalance_during_a_long_handler_loses_nothing(self):  # G123
        self.declare("slow", partitions=4)
        self.publish("slow", range(40))
        def start():
            return subprocess.Popen([PROGRAM, "slow", kafka.url, "slow", "1500"], stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL, text=True)
        one = start()
        first = one.stdout.readline().strip()
        self.assertTrue(first)
        two = start()
        seen = collections.Counter([first])
        lock = threading.Lock()
        def read(process):
            for line in process.stdout:
                with lock:
                    seen[line.strip()] += 1
        readers = [threading.Thread(target=read, args=(process,)) for process in (one, two)]
        for reader in readers:
            reader.start()
        until(lambda: len(seen) == 40, "every message was handled")
        for process in (one, two):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
        for reader in readers:
            reader.join()
        self.assertEqual(set(seen), {str(n) for n in range(40)})
        # Both were at work, and what ran while its partition went is the most that may come twice.
        self.assertLessEqual(sum(seen.values()), 40 + 16)
        self.assertEqual(self.consume("slow"), [])

    def test_a_transformer_is_exactly_once_and_a_fenced_one_is_told(self):  # G125
        self.declare("words", "capitals")
        self.publish("words", [f"word-{n}" for n in range(300)])
        def start(count):
            return subprocess.Popen([PROGRAM, "transform", kafka.url, "words", "capitals", "t-1", str(count)],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        killed = start(300)
        self.assertEqual(killed.stdout.readline(), "ready\n")
        killed.stdout.readline()
        killed.kill()
        killed.wait()
        killed.communicate()
        old = start(10**6)
        self.assertEqual(old.stdout.readline(), "ready\n")
        def capitals():
            return self.kcat("-C", "-t", "capitals", "-e", "-q", "-X", "isolation.level=read_committed").stdout.split()
        until(lambda: len(set(capitals())) == 300, "every word was transformed")
        new = start(10**6)
        self.assertEqual(new.stdout.readline(), "ready\n")
        self.publish("words", [f"more-{n}" for n in range(60)])
        until(lambda: len(set(capitals())) == 360, "the new one goes on")
        # The old one has lost its partitions or its id; when it has to do with either, it is told.
        new.kill()
        new.wait()
        new.communicate()
        self.publish("words", [f"late-{n}" for n in range(60)])
        out, _ = old.communicate(timeout=60)
        self.assertEqual(old.returncode, 3, out)
        self.assertIn("FENCED", out)
        there = collections.Counter(capitals())
        self.assertEqual([word for word, times in there.items() if times > 1], [])
        self.assertEqual(len(there), 360)

    def test_more_partitions_are_noticed_and_told(self):  # G126, R16
        self.declare("growing", partitions=3)
        watching = subprocess.Popen([PROGRAM, "watch", kafka.url + "?options=" + self.options(
            "soon", topic_metadata_refresh_interval_ms="1000"), "growing"], stdout=subprocess.PIPE, text=True)
        self.assertIn("growing/3-partitions", watching.stdout.readline())
        subprocess.run([PROGRAM, "grow", kafka.url, "growing", "6"], check=True)
        self.assertIn("6 partitions now, it had 3", watching.stdout.readline())
        watching.send_signal(signal.SIGTERM)
        self.assertIn("growing/6-partitions", watching.communicate(timeout=30)[0])
        refused = ferry("consume", "growing", url=kafka.url + "?options=" + self.options("three", partitions_growing="3"))
        self.assertEqual(refused.returncode, 1)
        self.assertIn("breaks the order of keys", refused.stderr)

    def test_a_bridge_copies_both_ways(self):  # G128
        self.declare("moved", "moved-back")
        broker = Broker(os.environ["FERRYD"]).start()
        try:
            for queue in ("moved", "back"):
                self.assertEqual(ferry("queue", "declare", queue, url=broker.url).returncode, 0)
            data = "".join(f"{n}\n" for n in range(500))
            self.assertEqual(ferry("publish", "moved", url=broker.url, data=data).returncode, 0)
            there = ferry("bridge", "moved", "--from", broker.url, "--to", kafka.url, "--idle", "2s", "--json", url="x")
            self.assertEqual(there.returncode, 0, there.stderr)
            self.assertEqual(json.loads(there.stdout)["copied"], 500)
            self.assertEqual(ferry("consume", "moved", url=broker.url).stdout, "")
            back = ferry("bridge", "moved", "--from", kafka.url, "--to", broker.url, "--to-queue", "back", "--count", "500",
                         "--json", url="x")
            self.assertEqual(back.returncode, 0, back.stderr)
            seen = [json.loads(line) for line in ferry("consume", "back", "--format", "json", url=broker.url).stdout.splitlines()]
            self.assertEqual(sorted(int(one["payload"]) for one in seen), list(range(500)))
            # An id of its own for each, so that a copy made twice is known.
            self.assertEqual(len({one["id"] for one in seen}), 500)
        finally:
            broker.end()

    def test_bench_measures_kafka(self):
        done = ferry("bench", "--mode", "e2e", "--count", "20000", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["count"], 20000)

    def test_the_order_saga_runs_here_as_on_the_broker(self):  # G121
        example = HERE.parents[2] / "examples" / "order-saga" / "run"
        for url in ([], ["--url", kafka.url]):
            done = subprocess.run([sys.executable, "-B", str(example), "--build", os.environ["BUILD"], "--orders", "12",
                                   "--kills", "2", *url], capture_output=True, text=True, timeout=200)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_examples_of_the_page_print_what_it_shows(self):
        environment = dict(os.environ, FERRY_URL=kafka.url, PATH=os.path.dirname(FERRY) + ":" + os.environ["PATH"])
        steps = docs_test.examples(os.path.join(docs_test.DOCS, "kafka.md"))
        self.assertGreater(len(steps), 3)
        for number, command, expected in steps:
            done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (0, expected), f"kafka.md:{number}: {done.stderr}")

    # The last two end Kafka itself.

    def test_x_a_broker_that_is_down_or_restarted_is_waited_for(self):  # G121
        self.declare("restarted")
        kafka.kill()
        down = ferry("publish", "restarted", "x", "--timeout", "1s")
        self.assertEqual(down.returncode, 3, down.stderr)
        self.assertIn("no Kafka broker", down.stderr)
        kafka.start()
        publisher = subprocess.Popen([FERRY, "--url", kafka.url, "publish", "restarted", "--timeout", "60s", "--json"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        publisher.stdin.write("".join(f"{n}\n" for n in range(500)))
        publisher.stdin.flush()
        time.sleep(0.5)
        kafka.kill()
        publisher.stdin.write("".join(f"{n}\n" for n in range(500, 1000)))
        publisher.stdin.flush()
        kafka.start()
        out, errors = publisher.communicate(timeout=90)
        self.assertEqual(publisher.returncode, 0, errors)
        self.assertEqual(json.loads(out)["confirmed"], 1000)
        there = self.kcat("-C", "-t", "restarted", "-e", "-q").stdout.split()
        self.assertEqual(sorted(map(int, there)), list(range(1000)))

    def test_y_a_bank_survives_the_death_of_everybody(self):  # G121, G122
        bank = KafkaBank()
        try:
            bank.run(self)
        finally:
            bank.end()


class KafkaBank:
    """The bank of tests/integration/bank with Kafka between: transfers, credits, receipts."""

    CYCLES = int(os.environ.get("KAFKA_BANK_CYCLES", "25"))

    def __init__(self):
        self.random = random.Random(int(os.environ.get("BANK_SEED", "1")))
        names = ("p1", "c1", "r")
        self.directory = os.path.join(directory, "bank")
        os.makedirs(self.directory)
        self.db = {name: os.path.join(self.directory, name + ".db") for name in names}
        self.commands = {
            "p1": [BANK, "produce", self.db["p1"], "bank1"],
            "c1": [BANK, "apply", self.db["c1"], kafka.url, "bank1"],
            "r": [BANK, "receive", self.db["r"], kafka.url, "receipts"],
            "relay-p1": [FERRY, "--url", kafka.url, "relay", self.db["p1"]],
            "relay-c1": [FERRY, "--url", kafka.url, "relay", self.db["c1"]],
        }
        self.running = {}

    def start(self, name):
        with open(os.path.join(directory, name + ".stderr"), "ab") as log:
            self.running[name] = subprocess.Popen(self.commands[name], stdout=subprocess.DEVNULL, stderr=log)

    def kill(self, name):
        self.running[name].kill()
        self.running[name].wait()

    def count(self, name, sql):
        if not os.path.exists(self.db[name]):
            return None
        db = sqlite3.connect(f"file:{self.db[name]}?mode=ro", uri=True, timeout=10)
        try:
            return db.execute(sql).fetchone()[0]
        except sqlite3.OperationalError:
            return None
        finally:
            db.close()

    def revive(self):
        for name, process in self.running.items():
            if process.poll() is not None:
                self.start(name)

    def run(self, test):
        test.declare("bank1", "receipts", partitions=2)
        for name in ("p1", "c1", "r"):
            self.start(name)
        until(lambda: all(self.count(name, "SELECT count(*) FROM ferry_outbox_state") for name in ("p1", "c1")), "databases")
        for name in ("relay-p1", "relay-c1"):
            self.start(name)
        for cycle in range(self.CYCLES):
            victims = self.random.sample(sorted(self.running), self.random.choice((1, 1, 2)))
            if cycle == self.CYCLES // 2:
                kafka.kill()
                time.sleep(0.5)
                kafka.start()
            for victim in victims:
                self.kill(victim)
            time.sleep(self.random.random() * 0.1)
            for victim in victims:
                self.start(victim)
            self.revive()
            time.sleep(self.random.random() * 0.5)
        producer = self.running.pop("p1")
        producer.send_signal(signal.SIGTERM)
        producer.wait(timeout=60)
        committed = self.count("p1", "SELECT count(*) FROM orders")

        def arrived():
            self.revive()
            return (self.count("p1", "SELECT count(*) FROM ferry_outbox") == 0 and
                    self.count("c1", "SELECT count(*) FROM ferry_outbox") == 0 and
                    self.count("c1", "SELECT count(DISTINCT token) FROM ledger") == committed and
                    self.count("r", "SELECT count(DISTINCT token) FROM receipt") == committed)
        until(arrived, "every transfer has its effect and its receipt", 120)
        for name in sorted(self.running):
            self.running[name].send_signal(signal.SIGTERM)
            test.assertEqual(self.running[name].wait(timeout=60), 0, name)
        wrong, figures = bank_check.check(self.directory)
        print(", ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
        test.assertEqual(wrong[:20], [])
        test.assertGreater(figures["committed"], 2 * self.CYCLES)

    def end(self):
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
                process.wait()


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
