#!/usr/bin/env python3
"""G110 to G117: TLS, signing in, permissions, and no secret anywhere."""

import glob
import json
import os
import http.client
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
from broker import Broker, wait_until  # noqa: E402
from certificates import Authority  # noqa: E402
from ferry_client import ERROR, HELLO, Client, Closed, Refused, message  # noqa: E402
from sign_in import AUTH_RESPONSE, User  # noqa: E402

FERRYD, FERRY = sys.argv.pop(1), sys.argv.pop(1)
ROOT = pathlib.Path(__file__).resolve().parents[3]
SECRET = "correct-horse-battery-staple-0xC0FFEE"
AUTHENTICATION_FAILED, PERMISSION_DENIED, USER_CHANGED = 470, 471, 472


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="ferry-security-")
        cls.ca = Authority(cls.shared, "ca")
        cls.stranger = Authority(cls.shared, "stranger")
        names = "DNS:localhost,IP:127.0.0.1"
        cls.good = cls.ca.sign("broker", names)
        cls.elsewhere = cls.ca.sign("elsewhere", "DNS:elsewhere.example")
        cls.over = cls.ca.sign("over", names, days="-1")
        cls.client = cls.ca.sign("alice", "DNS:alice")
        cls.late_client = cls.ca.sign("late", "DNS:late", days="-1")
        cls.strange_client = cls.stranger.sign("mallory", "DNS:mallory")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared)

    def setUp(self):
        self.broker = Broker(FERRYD)
        self.addCleanup(self.broker.end)
        self.users = os.path.join(self.broker.data, "users")

    def start(self, tls=None, users=False, more="", **tables):
        """`tls`: (certificate, key). `tables`: lines of the table of that name."""
        text = more
        if tls:
            self.own = [os.path.join(self.broker.data, name) for name in ("own.pem", "own.key")]
            for source, own in zip(tls, self.own):
                shutil.copy(source, own)
            text += f'[tls]\ncertificate = "{self.own[0]}"\nkey = "{self.own[1]}"\n{tables.get("tls_more", "")}\n'
        text += "[auth]\n" + (f'users = "{self.users}"\n' if users else "") + tables.get("auth_more", "")
        self.audit = os.path.join(self.broker.data, "audit")
        text += f'[audit]\nfile = "{self.audit}"\n'
        config = os.path.join(self.broker.data, "ferryd.toml")
        pathlib.Path(config).write_text(text)
        self.broker.start("--config", config)
        return self.broker

    def add_user(self, name, *rights, password=SECRET):
        self.user("add", name, *rights, input=password + "\n")

    def user(self, *arguments, status=0, **more):
        done = subprocess.run([FERRY, "user", *arguments, "--users", self.users], capture_output=True, text=True,
                              timeout=30, **more)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def ferry(self, *arguments, scheme="ferrys", host="localhost", ca=None, status=0, **environment):
        url = f"{scheme}://{host}:{self.broker.port}"
        more = ["--ca", ca or self.ca.certificate] if scheme == "ferrys" else []
        done = subprocess.run([FERRY, "--url", url, *more, *arguments], capture_output=True, text=True, timeout=60,
                              env={**os.environ, **environment})
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def secret_file(self, text=SECRET):
        path = os.path.join(self.broker.data, "secret")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text + "\n")
        return path

    def context(self, certificate=None):
        context = ssl.create_default_context(cafile=self.ca.certificate)
        if certificate:
            context.load_cert_chain(*certificate)
        return context

    def weak(self, **settings):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers(settings.get("ciphers", "ALL:@SECLEVEL=0"))
        context.minimum_version = settings.get("least", ssl.TLSVersion.TLSv1)
        context.maximum_version = settings.get("most", ssl.TLSVersion.TLSv1_2)
        return context

    def log(self):
        return pathlib.Path(self.broker.data, "stderr").read_text()

    def events(self, action):
        if not os.path.exists(self.audit):
            return []
        lines = pathlib.Path(self.audit).read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["action"] == action]

    def wait_for_event(self, action, **wanted):
        def there():
            return any(all(e.get(k) == v for k, v in wanted.items()) for e in self.events(action))
        wait_until(there, f"an audit event {action} with {wanted}")


class Tls(Case):
    # G110
    def test_a_client_publishes_and_consumes_over_tls(self):
        self.start(self.good)
        self.ferry("queue", "declare", "q")
        self.ferry("publish", "q", "hello")
        self.assertEqual(self.ferry("consume", "q", "--count", "1").stdout, "hello\n")
        self.ferry("ping", host="127.0.0.1")  # the certificate is for the address too

    def test_both_versions_from_1_2_on_are_spoken(self):
        self.start(self.good)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context()
            context.minimum_version = context.maximum_version = version
            client = User(self.broker.port, context=context)
            self.assertEqual(client.info["version"], 1)
            client.declare("q")
            client.close()

    def test_large_frames_go_both_ways_over_tls(self):
        self.start(self.good)
        client = User(self.broker.port, context=self.context())
        client.declare("q")
        producer = client.producer("p")["producer"]
        payloads = [bytes([i]) * 900_000 for i in range(8)]
        for i, payload in enumerate(payloads):
            client.publish(producer, i + 1, [message("q", payload)])
        client.outcomes(producer, 1, 8)
        client.subscribe(1, "q", window=100, window_bytes=64 << 20)
        got = [d["payload"] for d in client.deliveries(1, 8)]
        self.assertEqual(got, payloads)

    def test_a_broker_of_another_ca_is_refused(self):
        self.start(self.good)
        done = self.ferry("ping", ca=self.stranger.certificate, status=3)
        self.assertIn("certificate is refused", done.stderr)

    def test_a_broker_with_another_name_is_refused(self):
        self.start(self.elsewhere)
        self.assertRegex(self.ferry("ping", status=3).stderr, "mismatch")
        self.assertRegex(self.ferry("ping", host="127.0.0.1", status=3).stderr, "mismatch")

    def test_a_broker_with_an_expired_certificate_is_refused(self):
        with self.assertRaisesRegex(AssertionError, "has expired"):
            self.start(self.over)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(*self.over)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.broker.port = listener.getsockname()[1]

            def serve():
                one, _ = listener.accept()
                try:
                    server.wrap_socket(one, server_side=True).recv(1)
                except OSError:
                    pass
            thread = threading.Thread(target=serve)
            thread.start()
            self.assertIn("expired", self.ferry("ping", status=3).stderr)
            thread.join()

    def test_tls_1_1_is_refused(self):
        self.start(self.good)
        with self.assertRaises(ssl.SSLError):
            User(self.broker.port, context=self.weak(most=ssl.TLSVersion.TLSv1_1))
        wait_until(lambda: "handshake failed" in self.log(), "the refusal in the log")

    def test_ciphers_without_forward_secrecy_or_authentication_are_refused(self):
        self.start(self.good)
        for ciphers in ("AES128-SHA:AES256-SHA", "ECDHE-ECDSA-AES128-SHA", "aNULL"):
            with self.assertRaises(ssl.SSLError, msg=ciphers):
                User(self.broker.port, context=self.weak(ciphers=ciphers + ":@SECLEVEL=0"))

    def test_plain_bytes_to_a_tls_port_get_nothing(self):
        self.start(self.good)
        client = Client("127.0.0.1", self.broker.port, hello=False)
        client.send(HELLO, 1, 1, {"name": "plain"})
        self.assertNotIn(b"ferryd", client.socket.recv(4096))  # an alert
        self.ferry("ping", scheme="ferry", status=3)
        self.ferry("ping")

    # G111
    def test_clients_must_show_a_certificate_of_the_ca_if_that_is_required(self):
        self.start(self.good, tls_more=f'client_ca = "{self.ca.certificate}"\nclient_certificates = "required"')
        client = User(self.broker.port, context=self.context(self.client))
        client.declare("q")
        for certificate in (None, self.strange_client, self.late_client):
            with self.assertRaises((ssl.SSLError, Closed, ConnectionResetError), msg=certificate):
                User(self.broker.port, context=self.context(certificate)).declare("q2")
        self.ferry("--cert", self.client[0], "--key", self.client[1], "ping", status=1)  # EXTERNAL: no users here
        self.ferry("ping", status=3)

    # G112
    def test_a_new_certificate_is_used_without_a_restart_and_a_bad_one_is_not(self):
        self.start(self.good)
        first = User(self.broker.port, context=self.context())
        before = first.socket.getpeercert(True)

        def certificate():
            return User(self.broker.port, context=self.context()).socket.getpeercert(True)
        fresh = self.ca.sign("broker2", "DNS:localhost")
        pathlib.Path(self.own[0]).write_text("no certificate")
        self.broker.process.send_signal(1)
        wait_until(lambda: "stays in use" in self.log(), "the complaint")
        self.assertEqual(certificate(), before)
        for source, own in zip(fresh, self.own):
            shutil.copy(source, own)
        wait_until(lambda: certificate() != before, "the new certificate")  # nobody told it
        first.declare("still")  # connections from before go on

    def test_a_handshake_that_does_not_come_to_its_end_is_closed(self):
        self.start(self.good)
        begun = time.monotonic()
        silent = socket.create_connection(("127.0.0.1", self.broker.port))
        silent.sendall(b"\x16\x03\x01")
        silent.settimeout(20)
        self.assertEqual(silent.recv(100), b"")
        self.assertLess(time.monotonic() - begun, 16)


class Https(Case):
    def fetch(self, context):
        with urllib.request.urlopen(f"https://127.0.0.1:{self.https_port}/health/live", context=context, timeout=10) as answer:
            return answer.status

    def start_https(self, more):
        ready = self.broker._ready_line  # the port is in the ready line
        def line(patience):
            text = ready(patience)
            self.https_port = int(re.search(r"metrics https://127\.0\.0\.1:(\d+)/", text).group(1))
            return text
        self.broker._ready_line = line
        self.broker.http = "127.0.0.1:0"
        self.start(self.good, tls_more=f'client_ca = "{self.ca.certificate}"\n[http]\ntls = true\n{more}')

    # G110, G111
    def test_metrics_and_health_are_served_over_tls_to_whom_they_should_be(self):
        self.start_https("client_certificates = true")
        self.assertEqual(self.fetch(self.context(self.client)), 200)
        for context in (self.context(), self.context(self.strange_client), self.context(self.late_client)):
            with self.assertRaises(OSError):
                self.fetch(context)
        old = self.weak(most=ssl.TLSVersion.TLSv1_1)
        with self.assertRaises(OSError):
            self.fetch(old)

    # G112
    def test_https_takes_a_new_certificate_too(self):
        self.start_https("")
        def certificate():
            return ssl.get_server_certificate(("127.0.0.1", self.https_port))
        before = certificate()
        begun = http.client.HTTPSConnection("127.0.0.1", self.https_port, context=self.context(), timeout=10)
        begun.connect()
        for source, own in zip(self.ca.sign("broker3", "DNS:localhost,IP:127.0.0.1"), self.own):
            shutil.copy(source, own)
        wait_until(lambda: certificate() != before, "the new certificate")
        self.assertEqual(self.fetch(self.context()), 200)
        begun.request("GET", "/health/live")  # nobody who was there is cut off
        self.assertEqual(begun.getresponse().status, 200)


class SigningIn(Case):
    def stranger_at(self):
        """A connection that has not said hello."""
        return User(self.broker.port, mechanism=None)

    # G113
    def test_a_user_with_the_right_password_comes_in_and_no_other(self):
        self.add_user("alice", "--admin")
        self.start(users=True)
        secret = self.secret_file()
        self.ferry("--user", "alice", "--password-file", secret, "ping", scheme="ferry")
        self.ferry("ping", scheme="ferry", FERRY_USER="alice", FERRY_PASSWORD_FILE=secret)
        wrong = self.ferry("--user", "alice", "--password-file", self.secret_file("wrong"), "ping", scheme="ferry",
                           status=1)
        nobody = self.ferry("--user", "nobody", "--password-file", self.secret_file("wrong"), "ping", scheme="ferry",
                            status=1)
        self.assertEqual(wrong.stderr, nobody.stderr)
        self.assertIn("AUTHENTICATION_FAILED", wrong.stderr)
        self.assertIn("AUTHENTICATION_FAILED", self.ferry("ping", scheme="ferry", status=1).stderr)
        self.wait_for_event("sign_in", result="ok", user="alice")
        self.wait_for_event("sign_in", result="failed", user="nobody")

    def test_scram_is_bound_to_the_tls_connection(self):
        self.add_user("alice", "--admin")
        self.start(self.good, users=True)
        self.ferry("--user", "alice", "--password-file", self.secret_file(), "ping")
        # "y": I could bind, but you cannot. Somebody in between says so.
        liar = Client("127.0.0.1", self.broker.port, hello=False)
        liar.socket = self.context().wrap_socket(liar.socket, server_hostname="localhost")
        with self.assertRaises(Refused) as caught:
            liar.hello(mechanism="SCRAM-SHA-256", initial="y,,n=alice,r=abcdef")
        self.assertEqual(caught.exception.code, AUTHENTICATION_FAILED)

    def test_a_replayed_answer_is_refused(self):
        self.add_user("alice", "--admin")
        self.start(users=True)
        first = self.stranger_at()
        challenge = first.begin("alice", SECRET)
        answer = first.attempt.answer(challenge)
        self.assertEqual(first.end(answer)["version"], 1)
        second = self.stranger_at()
        second.send(HELLO, 1, 1, {"name": "x", "mechanism": "SCRAM-SHA-256", "initial": first.attempt.first})
        second.wait_for(lambda f: f[0] == 100)
        with self.assertRaises(Refused) as caught:
            second.end(answer)
        self.assertEqual(caught.exception.code, AUTHENTICATION_FAILED)

    def test_plain_is_taken_over_tls_only(self):
        self.add_user("alice", "--admin")
        self.start(self.good, users=True)
        client = User(self.broker.port, "alice", SECRET, "PLAIN", context=self.context())
        client.declare("q")
        with self.assertRaises(Refused) as caught:
            User(self.broker.port, "alice", "wrong", "PLAIN", context=self.context())
        self.assertEqual(caught.exception.code, AUTHENTICATION_FAILED)
        self.broker.stop()
        self.start(users=True)
        with self.assertRaisesRegex(Refused, "only for connections with TLS"):
            User(self.broker.port, "alice", SECRET, "PLAIN")

    def test_nothing_but_the_answer_is_taken_before_signing_in_is_over(self):
        self.add_user("alice", "--admin")
        self.start(users=True)
        for frame in ((HELLO, 2, 1, {}), (60, 2)):
            client = self.stranger_at()
            client.begin("alice", SECRET)
            client.send(*frame)
            self.assertEqual(client.expect_closed()[-1][2], 102)
        client = self.stranger_at()
        client.begin("alice", SECRET)
        client.send(AUTH_RESPONSE, 2, "x" * 5000)
        self.assertEqual(client.expect_closed()[-1][2], 101)

    def test_failures_are_held_back_longer_and_longer(self):
        self.add_user("alice", "--admin")
        self.start(users=True)
        waits = []
        for _ in range(3):
            begun = time.monotonic()
            with self.assertRaises(Refused):
                User(self.broker.port, "alice", "wrong")
            waits.append(time.monotonic() - begun)
        self.assertGreater(waits[0], 0.2)
        self.assertGreater(waits[2], 0.9)

    # G114
    def test_a_user_that_is_removed_or_changed_signs_in_anew(self):
        self.add_user("alice", "--admin")
        self.add_user("bob", "--admin")
        self.start(users=True)
        alice = User(self.broker.port, "alice", SECRET)
        bob = User(self.broker.port, "bob", SECRET)
        self.user("remove", "alice")
        told = alice.expect_closed(timeout=10)
        self.assertEqual(told[-1][:3], [ERROR, 0, USER_CHANGED])
        bob.declare("q")  # nobody else notices
        with self.assertRaises(Refused):
            User(self.broker.port, "alice", SECRET)
        self.user("passwd", "bob", input="another one\n")
        self.assertEqual(bob.expect_closed(timeout=10)[-1][2], USER_CHANGED)
        User(self.broker.port, "bob", "another one").declare("q")

    def test_a_users_file_that_is_broken_or_open_to_others_changes_nothing(self):
        self.add_user("alice", "--admin")
        self.start(users=True)
        os.chmod(self.users, 0o644)
        wait_until(lambda: "chmod 600" in self.log(), "the complaint")
        User(self.broker.port, "alice", SECRET).declare("q")
        with open(os.open(self.users, os.O_WRONLY | os.O_TRUNC), "w", encoding="ascii") as file:
            file.write("user mallory\n  admin\n")
        os.chmod(self.users, 0o600)
        wait_until(lambda: "no users file" in self.log(), "the other complaint")
        User(self.broker.port, "alice", SECRET).declare("q")

    def test_a_certificate_is_a_user_where_that_is_configured(self):
        self.user("add", "alice", "--no-password", "--configure", "a.*")
        self.start(self.good, users=True, tls_more=f'client_ca = "{self.ca.certificate}"',
                   auth_more="certificates = true\n")
        client = User(self.broker.port, mechanism="EXTERNAL", context=self.context(self.client))
        client.declare("a.q")
        self.ferry("--cert", self.client[0], "--key", self.client[1], "queue", "declare", "a.q2")
        with self.assertRaises(Refused) as caught:
            User(self.broker.port, mechanism="EXTERNAL", context=self.context())
        self.assertEqual(caught.exception.code, AUTHENTICATION_FAILED)
        with self.assertRaises(Refused):  # and no password fits
            User(self.broker.port, "alice", "", context=self.context())

    def test_a_user_has_no_more_connections_than_it_may(self):
        self.add_user("alice", "--connections", "2")
        self.start(users=True)
        first, _second = [User(self.broker.port, "alice", SECRET) for _ in range(2)]
        with self.assertRaisesRegex(Refused, "has its 2 connections"):
            User(self.broker.port, "alice", SECRET)
        first.goodbye()
        first.close()
        wait_until(lambda: self.comes_in("alice"), "a place")

    def comes_in(self, name):
        try:
            User(self.broker.port, name, SECRET).close()
        except Refused:
            return False
        return True


class Overload(Case):
    # G119
    def test_a_user_publishes_no_faster_than_it_may(self):
        self.add_user("alice", "--configure", "*", "--write", "*", "--read", "*", "--publish-rate", "1000")
        self.start(users=True)
        alice = User(self.broker.port, "alice", SECRET)
        alice.declare("q")
        producer = alice.producer("tmp-p", temporary=True)["producer"]
        begun = time.monotonic()
        for first in range(1, 3001, 100):
            alice.publish(producer, first, [message("q", b"x")] * 100)
        self.assertEqual(set(alice.outcomes(producer, 1, 3000).values()), {"confirmed"})
        # Nothing was refused, and what was read at once is paid for before more is read.
        alice.publish(producer, 3001, [message("q", b"x")])
        self.assertEqual(alice.outcomes(producer, 3001, 3001), {3001: "confirmed"})
        self.assertGreater(time.monotonic() - begun, 1.5)  # the first second's worth comes at once

    # G118
    def test_publishers_wait_while_memory_is_short_and_consumers_do_not(self):
        self.start(more='[limits]\nmemory = "1MiB"\n')  # a broker has more than that
        wait_until(lambda: "memory is short" in self.log(), "the watermark")
        client = Client("127.0.0.1", self.broker.port, hello=False)
        client.hello(capabilities=["blocked"])
        client.declare("q")
        producer = client.producer("p")["producer"]
        client.publish(producer, 1, [message("q", b"first")])
        self.assertEqual(client.wait_for(lambda f: f[0] == 102)[1:3], [0, "memory"])
        deaf = Client("127.0.0.1", self.broker.port)
        other = deaf.producer("p2")["producer"]
        deaf.publish(other, 1, [message("q", b"second")])
        self.assertEqual(deaf.outcomes(other, 1, 1), {1: "confirmed"})
        deaf.publish(other, 2, [message("q", b"third")])
        with self.assertRaises(socket.timeout):
            deaf.wait_for(lambda f: f[0] in (11, 12), 1.0)
        client.subscribe(1, "q")
        self.assertEqual([d["payload"] for d in client.deliveries(1, 2)], [b"first", b"second"])
        self.assertEqual(client.ack(1, [1, 2]), [])


def verbs():
    """Every verb by name, from the header."""
    text = (ROOT / "wire/include/ferry/wire/verbs.hpp").read_text()
    body = text[text.index("enum class Verb"):]
    body = body[:body.index("};")]
    return {name: int(number) for name, number in re.findall(r"(\w+) = (\d+)", body)}


MESSAGE = ["", "other", None, b"x"]
# What a client sends: fields, and the right without which it is refused. None: nothing is needed.
# One row for each verb; a verb without one fails the test.
TABLE = {
    "heartbeat": None, "goodbye": None, "hold": None, "ack": None, "nack": None, "extend": None, "credit": None,
    "unsubscribe": None, "schedule_next": None, "hello": None, "auth_response": None,
    "publish": ("write", None), "transaction": ("write", None), "transactions": ("write", None),
    "producer": ("configure", ("other", {})),
    "subscribe": ("read", (1, "other", 1, 1000, {})),
    "pull": ("read", (1, "other", 1, 1000, {})),
    "queue_declare": ("configure", ("other", {})),
    "queue_delete": ("configure", ("other", {})),
    "queue_purge": ("read", ("other",)),
    "queue_list": ("admin", ("", 10)),
    "queue_show": ("any", ("other",)),
    "queue_peek": ("read", ("other", 0, 1, 100)),
    "queue_move": ("read", ("other", "other", {})),
    "queue_drop": ("read", ("other", 1)),
    "exchange_declare": ("configure", ("other", "topic", {})),
    "exchange_delete": ("configure", ("other", {})),
    "exchange_list": ("admin", ("", 10)),
    "exchange_show": ("any", ("other",)),
    "bind": ("read", ("other", "other", "queue", "k", {})),
    "unbind": ("read", ("other", "other", "queue", "k", {})),
    "stats": ("admin", ()),
    "backup": ("admin", ("",)),
    "prepare": ("write", ("id", {"check_queue": "other"}, MESSAGE)),
    "prepared_decide": ("write", ("theirs", "drop")),
    "prepared_list": ("admin", ("", 10, {})),
    "prepared_show": ("write", ("theirs",)),
    "policy_set": ("admin", ("p", "*", {})),
    "policy_delete": ("admin", ("p",)),
    "policy_list": ("admin", ("", 10)),
    "why": ("read", ("other", {})),
    "schedule_set": ("configure", ("other", {"cron": "* * * * *"}, MESSAGE)),
    "schedule_delete": ("configure", ("other",)),
    "schedule_list": ("admin", ("", 10)),
    "schedule_show": ("configure", ("other",)),
    "schedule_pause": ("configure", ("other", True)),
    "lock": ("write", ("other", "h", {})),
    "lock_renew": ("write", ("other", "h", 1)),
    "unlock": ("write", ("other", "h", 1, {})),
    "lock_list": ("admin", ("", 10)),
    "lock_show": ("any", ("other",)),
    "reply": None,
    "service": ("write", ("other", "i", {}, 5000)),
    "service_list": ("read", ("other", "", "", 10, {})),
    "consumer_list": ("read", ("other", "", 0, 10)),
}
BROKERS_OWN = {"ok", "error", "confirm", "refused", "deliver", "settled", "cancelled", "deliver_some", "activated",
               "auth_challenge", "blocked", "unblocked", "lock_told", "service_told"}


class Permissions(Case):
    def setUp(self):
        super().setUp()
        self.add_user("root", "--admin")
        self.add_user("alice", "--configure", "mine", "--configure", "tmp-*", "--write", "mine", "--read", "mine")
        self.add_user("bob", "--write", "other")
        self.start(users=True)
        self.root = User(self.broker.port, "root", SECRET)
        self.root.declare("other")
        self.root.request(76, "theirs", {"check_queue": "other"}, MESSAGE)

    # G115
    def test_every_verb_is_refused_to_whoever_lacks_its_right(self):
        every = verbs()
        self.assertEqual(set(every), set(TABLE) | BROKERS_OWN, "a verb has no row, or a row no verb")
        alice = User(self.broker.port, "alice", SECRET)
        for name, row in TABLE.items():
            if row is None or row[1] is None:
                continue
            with self.assertRaises(Refused, msg=name) as caught:
                alice.request(every[name], *row[1])
            self.assertEqual(caught.exception.code, PERMISSION_DENIED, (name, caught.exception))
            if row[0] != "any":
                self.assertIn(f"lacks the right {row[0]}", caught.exception.text, name)
        alice.declare("mine")  # the connection stayed
        self.wait_for_event("permission", result="denied", user="alice")

    def test_every_verb_is_let_through_to_whoever_has_its_right(self):
        every = verbs()
        for name, row in TABLE.items():
            if row is None or row[1] is None:
                continue
            try:
                self.root.request(every[name], *row[1])
            except Refused as refused:
                self.assertNotEqual(refused.code, PERMISSION_DENIED, (name, refused))

    def test_each_message_of_a_publish_and_of_a_transaction_is_held_against_the_rights(self):
        alice = User(self.broker.port, "alice", SECRET)
        alice.declare("mine")
        producer = alice.producer("tmp-1", temporary=True)["producer"]
        alice.publish(producer, 1, [message("mine", b"a"), message("other", b"b"), message("mine", b"c")])
        self.assertEqual(alice.outcomes(producer, 1, 3), {1: "confirmed", 2: PERMISSION_DENIED,
                                                          3: "confirmed"})
        alice.publish(producer, 4, [message("k", b"d", exchange="amq.topic")])
        self.assertEqual(alice.outcomes(producer, 4, 4), {4: PERMISSION_DENIED})
        with self.assertRaises(Refused) as caught:
            alice.request(75, producer, 5, 0, 0, [], [message("mine", b"e"), message("other", b"f")])
        self.assertEqual(caught.exception.code, PERMISSION_DENIED)
        self.assertIn("'other'", caught.exception.text)
        alice.send(74, 6, producer, 0, 0, [[1, []], [1, []]], [message("mine", b"g"), message("other", b"h")])
        self.assertEqual(alice.outcomes(producer, 6, 7), {6: "confirmed", 7: PERMISSION_DENIED})
        self.assertEqual(self.root.show("other")["ready"], 0)
        self.assertEqual(alice.show("mine")["ready"], 3)

    def test_names_inside_of_requests_are_held_against_the_rights_too(self):
        alice = User(self.broker.port, "alice", SECRET)
        alice.declare("mine")
        for verb, fields, right in (
                (40, ("mine", {"dead_letter_key": "other"}), "write"),
                (46, ("mine", "other", {}), "write"), (46, ("mine", "", {}), "admin"),
                (54, ("mine", "other", "queue", "k", {}), "write"),
                (76, ("i", {"check_queue": "other"}, ["", "mine", None, b"x"]), "write"),
                (98, ("", "", "", 10, {}), "read"), (110, ("", "", 0, 10), "read"),
                (84, ("mine", {"cron": "* * * * *"}, MESSAGE), "write")):
            with self.assertRaises(Refused, msg=(verb, fields)) as caught:
                alice.request(verb, *fields)
            self.assertEqual(caught.exception.code, PERMISSION_DENIED, (verb, fields))
            self.assertIn(f"right {right}", caught.exception.text)

    def test_who_may_use_a_lock_may_not_take_it_from_others(self):
        bob = User(self.broker.port, "bob", SECRET)
        token = self.root.request(90, "other", "r", {"delay_ms": 0})["token"]
        with self.assertRaises(Refused) as caught:
            bob.request(91, "other", "", token, {"force": True})
        self.assertEqual(caught.exception.code, PERMISSION_DENIED)
        self.assertIn("right configure", caught.exception.text)
        self.assertEqual(self.root.request(91, "other", "", token, {"force": True})["messages"], 1)
        self.wait_for_event("lock_force", user="root", object="other", result="allowed")
        self.assertNotEqual(bob.request(90, "other", "b", {})["token"], 0)

    def test_what_was_prepared_is_published_with_the_rights_of_who_submits_it(self):
        alice = User(self.broker.port, "alice", SECRET)
        for what in ("submit", "drop", "resume"):
            with self.assertRaises(Refused) as caught:
                alice.request(77, "theirs", what)
            self.assertEqual(caught.exception.code, PERMISSION_DENIED)
        self.assertEqual(self.root.request(77, "theirs", "submit"), {"duplicate": False})

    def test_what_was_done_is_written_down(self):
        alice = User(self.broker.port, "alice", SECRET)
        alice.declare("mine")
        alice.request(41, "mine", {})
        self.wait_for_event("queue_declare", user="alice", object="mine", result="allowed")
        self.wait_for_event("queue_delete", user="alice", object="mine", result="allowed")
        event = self.events("queue_delete")[0]
        self.assertRegex(event["from"], r"^127\.0\.0\.1:\d+$")
        self.assertRegex(event["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


class Exposure(Case):
    # G116
    def refused(self, *arguments, text=""):
        config = os.path.join(self.broker.data, "ferryd.toml")
        pathlib.Path(config).write_text(text)
        done = subprocess.run([FERRYD, "--config", config, "--data", os.path.join(self.broker.data, "log"), *arguments],
                              capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr

    def test_a_broker_that_strangers_can_reach_starts_only_with_tls_and_users(self):
        self.add_user("alice", "--admin")
        tls = f'[tls]\ncertificate = "{self.good[0]}"\nkey = "{self.good[1]}"\n'
        users = f'[auth]\nusers = "{self.users}"\n'
        for text in ("", tls, users):
            self.assertIn("set tls.certificate", self.refused("--listen", "0.0.0.0:0", "--http", "", text=text))
        self.assertIn("http.client_certificates", self.refused("--listen", "0.0.0.0:0", "--http", "0.0.0.0:0", text=tls + users))
        self.assertFalse(os.path.exists(os.path.join(self.broker.data, "log")))

    def test_halves_of_a_configuration_are_refused(self):
        self.assertIn("go together", self.refused(text=f'[tls]\ncertificate = "{self.good[0]}"\n'))
        self.assertIn("needs tls.client_ca", self.refused(
            text=f'[tls]\ncertificate = "{self.good[0]}"\nkey = "{self.good[1]}"\nclient_certificates = "required"\n'))
        self.assertIn("auth.certificates", self.refused(text="[auth]\ncertificates = true\n"))


class Secrets(Case):
    # G117
    def test_a_password_is_in_no_log_metric_error_argument_or_file(self):
        self.add_user("alice", "--write", "q")
        self.start(self.good, users=True, more='[log]\nlevel = "trace"\n')
        secret = self.secret_file()
        said = []
        for arguments in (["ping"], ["publish", "other", "x"], ["stats"], ["queue", "list"]):
            done = subprocess.Popen([FERRY, "--url", f"ferrys://localhost:{self.broker.port}", "--ca",
                                     self.ca.certificate, "--user", "alice", "--password-file", secret, *arguments],
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            said.append(" ".join(self.arguments_of(done.pid)))
            said.append(done.communicate(timeout=60)[0])
        with self.assertRaises(Refused) as caught:
            User(self.broker.port, SECRET, SECRET + "x", "PLAIN", context=self.context())
        said.append(str(caught.exception))
        said.append(self.ferry("--user", "alice", "--password-file", self.secret_file(SECRET + "x"), "ping",
                               status=1).stderr)
        refused = subprocess.run([FERRY, "--url", f"ferry://alice:{SECRET}@localhost", "relay", "nowhere.db"],
                                 capture_output=True, text=True, timeout=30)
        self.assertNotEqual(refused.returncode, 0)
        said.append(refused.stderr)
        said.append(" ".join(self.arguments_of(self.broker.process.pid)))
        self.wait_for_event("sign_in", result="failed", user="alice")
        self.broker.stop()
        for path in glob.glob(os.path.join(self.broker.data, "**"), recursive=True):
            # The name of a user that somebody mistyped is no secret; that it was the password is bad luck.
            if os.path.isfile(path) and os.path.basename(path) not in ("secret", "audit", "stderr"):
                self.assertNotIn(SECRET.encode(), pathlib.Path(path).read_bytes(), path)
        for text in (pathlib.Path(self.audit).read_text(), self.log()):
            self.assertNotIn(SECRET + "x", text)
        for text in said:
            self.assertNotIn(SECRET, text)

    @staticmethod
    def arguments_of(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except FileNotFoundError:
            return []


if __name__ == "__main__":
    unittest.main(warnings="ignore")
