"""Calls and services from the outside: the frames of docs/protocol.md, and the command line."""
import json
import os
import signal
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))
from broker import Broker, wait_until  # noqa: E402
from ferry_client import REFUSED, Client, Refused, message  # noqa: E402

FERRY = os.environ["FERRY"]
REPLY, SERVICE, SERVICE_LIST, SERVICE_TOLD = range(96, 100)
REPLY_TO, CORRELATION = 9, 10


class Case(unittest.TestCase):
    def setUp(self):
        self.broker = Broker(os.environ["FERRYD"]).start()
        self.addCleanup(self.broker.end)
        self.running = []
        self.addCleanup(self.end_all)

    def end_all(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def client(self):
        client = Client("127.0.0.1", self.broker.port)
        self.addCleanup(client.close)
        return client

    def ferry(self, *arguments, status=0, text=None):
        done = subprocess.run([FERRY, "--url", self.broker.url, *arguments], input=text, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, status, f"{arguments}: {done.stdout}{done.stderr}")
        return done

    def start(self, *arguments):
        process = subprocess.Popen([FERRY, "--url", self.broker.url, *arguments], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.running.append(process)
        return process


class Replies(Case):
    def setUp(self):
        super().setUp()
        self.caller, self.server = self.client(), self.client()
        self.server.declare("q", durable=False)
        self.handle = self.caller.producer("p")["producer"]
        self.server.subscribe(1, "q")

    def request(self, sequence, correlation="c1"):
        address = self.caller.info["reply_to"]
        self.caller.publish(self.handle, sequence,
                            [message("q", b"hello", properties={REPLY_TO: address, CORRELATION: correlation})])
        return self.server.deliveries(1, 1)[0]

    def test_a_reply_goes_to_who_asked_and_acks(self):
        """G107"""
        got = self.request(1)
        reply = message("", b"HELLO", properties={CORRELATION: got["properties"][CORRELATION]})
        answered = self.server.request(REPLY, got["properties"][REPLY_TO], 1, [got["tag"], got["tag"]], reply)
        self.assertEqual(answered, {"delivered": True})
        came = self.caller.wait_for(lambda frame: frame[0] == REPLY)
        self.assertEqual(came[1], 0)
        self.assertEqual(came[2][3], b"HELLO")
        self.assertEqual(came[2][2][CORRELATION], "c1")
        wait_until(lambda: self.server.show("q")["unacked"] == 0, "the request is acked")

    def test_a_reply_to_a_connection_that_is_gone_is_dropped_and_acks(self):
        got = self.request(1)
        self.caller.kill()
        reply = message("", b"HELLO", properties={CORRELATION: "c1"})
        wait_until(lambda: not self.server.request(REPLY, got["properties"][REPLY_TO], 0, [], reply)["delivered"],
                   "the broker knows that the caller is gone")
        answered = self.server.request(REPLY, got["properties"][REPLY_TO], 1, [got["tag"], got["tag"]], reply)
        self.assertEqual(answered, {"delivered": False})
        wait_until(lambda: self.server.show("q")["unacked"] == 0, "the request is acked")

    def test_an_address_that_is_none_is_refused_and_acks_nothing(self):
        got = self.request(1)
        for address in ("amq.reply.", "amq.reply.x", "q", "", "amq.reply.1 "):
            with self.assertRaises(Refused) as refused:
                self.server.request(REPLY, address, 1, [got["tag"], got["tag"]], message("", b""))
            self.assertEqual(refused.exception.code, 207)
        self.assertEqual(self.server.show("q")["unacked"], 1)

    def test_malformed_replies_close_the_connection_of_who_sent_them_alone(self):
        for fields in ((), ("a",), ("a", 1, [1]), ("a", 1, [1, 1], [1, 2])):
            client = self.client()
            client.send(REPLY, 5, *fields)
            self.assertEqual(client.read_frame()[2], 100, fields)
        self.assertEqual(self.caller.show("q")["consumers"], 1)

    def test_nobody_to_serve_is_told_at_once_if_asked(self):
        self.server.unsubscribe(1)
        self.caller.send(10, 1, self.handle, 4, 0, [message("q", b"x")])
        refused = self.caller.wait_for(lambda frame: frame[0] == REFUSED)
        self.assertEqual(refused[4], 263)


class Services(Case):
    def told(self, client, watch):
        """The next changes: {(service, instance): metadata or None}, and the flags."""
        frame = client.wait_for(lambda f: f[0] == SERVICE_TOLD and f[1] == watch)
        return frame[2], {(service, instance): metadata for service, instance, metadata in frame[3]}

    def watch(self, client, service):
        client.request(SERVICE_LIST, service, "", "", 1, {"watch": True})
        return client.next_request - 1

    def test_a_watcher_gets_what_is_there_and_then_every_change(self):
        """G109"""
        mine, watcher = self.client(), self.client()
        mine.request(SERVICE, "prices", "a", {"address": "x"}, 5000)
        watch = self.watch(watcher, "prices")
        self.assertEqual(self.told(watcher, watch), (3, {("prices", "a"): {"address": "x"}}))
        mine.request(SERVICE, "prices", "b", {}, 5000)
        mine.request(SERVICE, "others", "c", {}, 5000)
        mine.request(SERVICE, "prices", "a", None, 5000)
        mine.request(SERVICE, "prices", "a", {"address": "y"}, 5000)
        mine.request(SERVICE, "prices", "b", None, 0)
        self.assertEqual(self.told(watcher, watch), (2, {("prices", "b"): {}}))
        self.assertEqual(self.told(watcher, watch), (2, {("prices", "a"): {"address": "y"}}))
        self.assertEqual(self.told(watcher, watch), (2, {("prices", "b"): None}))
        mine.goodbye()
        self.assertEqual(self.told(watcher, watch), (2, {("prices", "a"): None}))

    def test_who_is_not_kept_alive_goes_after_its_time(self):
        mine, watcher = self.client(), self.client()
        mine.request(SERVICE, "prices", "a", {}, 1000)
        watch = self.watch(watcher, "")
        self.told(watcher, watch)
        began = time.monotonic()
        self.assertEqual(self.told(watcher, watch), (2, {("prices", "a"): None}))
        self.assertGreater(time.monotonic() - began, 0.5)
        with self.assertRaises(Refused) as refused:
            mine.request(SERVICE, "prices", "a", None, 1000)
        self.assertEqual(refused.exception.code, 264)

    def test_a_watcher_that_does_not_read_gets_a_snapshot_when_it_does(self):
        mine, watcher = self.client(), self.client()
        watch = self.watch(watcher, "prices")
        self.told(watcher, watch)
        large = {"x": "y" * 4000}
        for number in range(4000):
            mine.send(SERVICE, 0, "prices", "a", {**large, "n": str(number)}, 60000)
            if number % 100 == 0:
                mine.request(SERVICE, "prices", "b", {"n": str(number)}, 60000)
        mine.request(SERVICE, "prices", "c", {}, 60000)
        known, frames, begun = {}, 0, False
        while known.get(("prices", "a"), {}).get("n") != "3999" or ("prices", "c") not in known:
            flags, changes = self.told(watcher, watch)
            frames += 1
            if flags & 1:
                known, begun = {}, True
            known.update(changes)
        self.assertTrue(begun, "it was told anew")
        self.assertLess(frames, 4000, "and not of every change")

    def test_an_ended_watch_hears_nothing(self):
        mine, watcher = self.client(), self.client()
        watch = self.watch(watcher, "prices")
        self.told(watcher, watch)
        watcher.request(SERVICE_LIST, "", "", "", 1, {"unwatch": watch})
        mine.request(SERVICE, "prices", "a", {}, 5000)
        self.assertEqual(len(watcher.request(SERVICE_LIST, "prices", "", "", 10, {})["instances"]), 1)
        self.assertEqual(watcher.aside, [])

    def test_lists_come_in_pages(self):
        mine = self.client()
        for number in range(25):
            mine.request(SERVICE, f"s{number % 2}", f"{number:02}", {}, 5000)
        seen, after = [], ("", "")
        while True:
            page = mine.request(SERVICE_LIST, "", *after, 10, {})
            seen += [(row["service"], row["instance"]) for row in page["instances"]]
            if not page["more"]:
                break
            after = seen[-1]
        self.assertEqual(seen, sorted((f"s{n % 2}", f"{n:02}") for n in range(25)))
        only = mine.request(SERVICE_LIST, "s1", "", "", 100, {})["instances"]
        self.assertEqual(len(only), 12)


class CommandLine(Case):
    def test_a_call_is_served_by_a_command(self):
        self.ferry("queue", "declare", "shout", "--transient")
        server = self.start("serve", "shout", "--parallel", "2", "--", "tr", "a-z", "A-Z")
        wait_until(lambda: self.client().show("shout")["consumers"] == 1, "it serves")
        self.assertEqual(self.ferry("call", "shout", "hello").stdout, "HELLO\n")
        self.assertEqual(self.ferry("call", "shout", text="from stdin").stdout, "FROM STDIN\n")
        reply = json.loads(self.ferry("call", "shout", "hello", "--json").stdout)
        self.assertEqual(reply["payload"], "HELLO")
        large = "x" * 300_000
        self.assertEqual(self.ferry("call", "shout", text=large).stdout, large.upper() + "\n")
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(30), 0)

    def test_a_command_that_fails_tells_the_caller(self):
        self.ferry("queue", "declare", "q")
        self.start("serve", "q", "--", "sh", "-c", "echo half; exit 3")
        wait_until(lambda: self.client().show("q")["consumers"] == 1, "it serves")
        failed = self.ferry("call", "q", "x", status=1)
        self.assertEqual(failed.stdout, "half\n\n")
        self.assertIn("status 3", failed.stderr)
        wait_until(lambda: self.client().show("q")["unacked"] == 0, "it is not tried again")

    def test_without_a_server_or_a_queue_a_call_fails(self):
        self.assertIn("NO_CONSUMER", self.ferry("call", "nowhere", "x", status=1).stderr)
        self.ferry("queue", "declare", "q")
        self.assertIn("NO_CONSUMER", self.ferry("call", "q", "x", status=1).stderr)
        self.assertIn("nobody replied", self.ferry("call", "q", "x", "--wait", "--timeout", "100ms", status=1).stderr)
        self.ferry("serve", "nowhere", "--", "cat", status=1)

    def test_services_are_registered_listed_and_watched(self):
        watch = self.start("service", "watch", "prices", "--count", "2", "--json")
        registered = self.start("service", "register", "prices", "--instance", "a", "--meta", "address=x")
        wait_until(lambda: "prices" in self.ferry("service", "list").stdout, "it is there")
        row = json.loads(self.ferry("service", "list", "prices", "--json").stdout)
        self.assertEqual((row["instance"], row["metadata"]), ("a", {"address": "x"}))
        registered.send_signal(signal.SIGTERM)
        self.assertEqual(registered.wait(30), 0)
        output, errors = watch.communicate(timeout=30)
        self.assertEqual([json.loads(line)["change"] for line in output.splitlines()], ["added", "removed"], errors)
        self.ferry("service", "register", "prices", "--meta", "nonsense", status=2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
