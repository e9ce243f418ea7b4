"""Locks with real processes: L1 to L6, over the command line and the protocol."""
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))
from broker import Broker, wait_until  # noqa: E402
from ferry_client import Client, Refused  # noqa: E402

FERRY = os.environ["FERRY"]
PAGE = os.path.join(HERE, "..", "..", "..", "docs", "locks.md")
LOCK, UNLOCK, RENEW, TOLD, LIST, SHOW = range(90, 96)
HELD, NOT_HELD = 260, 261


def sql_of_the_page():
    """The page's schema and transaction, as it shows them."""
    with open(PAGE, encoding="utf-8") as page:
        blocks = re.findall(r"```sql\n(.*?)```", page.read(), re.S)
    assert len(blocks) == 2, "docs/locks.md shows a schema and a transaction"
    return blocks


# Waits until it is told to write, and writes under the token that it was given.
WRITER = """
import os, pathlib, sqlite3, sys, time
database, go, me, transaction = sys.argv[1:]
pathlib.Path(go + ".ready").touch()
while not os.path.exists(go):
    time.sleep(0.005)
connection = sqlite3.connect(database, isolation_level=None, timeout=30)
try:
    for statement in transaction.replace("-- … what the lock protects …", f"UPDATE stock SET writer = '{me}';").split(";\\n"):
        if statement.strip():
            connection.execute(statement, {"token": int(os.environ["FERRY_LOCK_TOKEN"])} if ":token" in statement else {})
except sqlite3.Error as error:
    print(error)
    sys.exit(7)
"""


class Case(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="ferry-locks-")
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.broker = Broker(os.environ["FERRYD"]).start()
        self.addCleanup(self.broker.end)
        self.running = []
        self.addCleanup(self.end_all)

    def end_all(self):
        # SIGTERM, so that each ends its command too.
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            process.communicate(timeout=30)

    def client(self):
        client = Client("127.0.0.1", self.broker.port)
        self.addCleanup(client.close)
        return client

    def path(self, name):
        return os.path.join(self.scratch, name)

    def ferry(self, *arguments, status=0):
        done = subprocess.run([FERRY, "--url", self.broker.url, *arguments], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, status, f"{arguments}: {done.stdout}{done.stderr}")
        return done

    def start(self, *arguments):
        process = subprocess.Popen([FERRY, "--url", self.broker.url, *arguments], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.running.append(process)
        return process

    def show(self, name):
        return json.loads(self.ferry("lock", "show", name, "--json").stdout)


class Fencing(Case):
    def setUp(self):
        super().setUp()
        schema, self.transaction = sql_of_the_page()
        self.database = sqlite3.connect(self.path("stock.db"), isolation_level=None)
        self.addCleanup(self.database.close)
        self.database.executescript(schema)
        self.database.executescript("CREATE TABLE stock(item TEXT, writer TEXT); INSERT INTO stock VALUES('chair', 'nobody');")

    def writer(self, me, *options):
        process = self.start("lock", "run", "stock", "--ttl", "1s", "--delay", "0", *options, "--", sys.executable, "-c",
                             WRITER, self.path("stock.db"), self.path(me), me, self.transaction)
        return process

    def written(self):
        return self.database.execute("SELECT writer FROM stock").fetchone()[0]

    def test_l1_a_holder_stopped_beyond_its_time_is_fenced_in_the_data(self):
        """L1, G101"""
        # The command alone survives: whoever should have ended it is stopped with it.
        first = self.writer("first", "--grace", "60s")
        wait_until(lambda: os.path.exists(self.path("first.ready")), "the first writer holds the lock")
        held = self.show("stock")["holders"][0]
        os.kill(first.pid, signal.SIGSTOP)
        children = subprocess.run(["pgrep", "-P", str(first.pid)], capture_output=True, text=True, check=True).stdout.split()
        for child in children:
            os.kill(int(child), signal.SIGSTOP)
        second = self.writer("second")
        wait_until(lambda: os.path.exists(self.path("second.ready")), "the second writer got it")
        self.assertGreater(self.show("stock")["holders"][0]["token"], held["token"])
        open(self.path("second"), "w").close()
        self.assertEqual(second.wait(30), 0, second.stderr.read())
        self.assertEqual(self.written(), "second")
        # The first one goes on as if nothing had happened, before anybody tells it.
        open(self.path("first"), "w").close()
        for child in children:
            os.kill(int(child), signal.SIGCONT)
        wait_until(lambda: not os.path.exists(f"/proc/{children[0]}") or "Z" in self.state(children[0]), "it has tried to write")
        os.kill(first.pid, signal.SIGCONT)
        output, errors = first.communicate(timeout=30)
        self.assertIn("fenced: somebody else has the lock now", output)
        self.assertNotEqual(first.returncode, 0, errors)
        self.assertEqual(self.written(), "second")

    @staticmethod
    def state(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return "Z"

    def test_l1_a_holder_that_wakes_is_told_and_ends_its_command(self):
        first = self.writer("first", "--grace", "5s")
        wait_until(lambda: os.path.exists(self.path("first.ready")), "the first writer holds the lock")
        os.kill(first.pid, signal.SIGSTOP)
        second = self.writer("second")
        wait_until(lambda: os.path.exists(self.path("second.ready")), "the second writer got it")
        os.kill(first.pid, signal.SIGCONT)
        _, errors = first.communicate(timeout=30)
        self.assertEqual(first.returncode, 1)
        self.assertIn("lost", errors)
        open(self.path("second"), "w").close()
        self.assertEqual(second.wait(30), 0)
        self.assertEqual(self.written(), "second")


class CommandLine(Case):
    def test_the_exit_status_is_the_command_s(self):
        self.ferry("lock", "run", "job", "--", "sh", "-c", "exit 5", status=5)
        self.ferry("lock", "run", "job", "--", "no-such-command-anywhere", status=1)
        self.assertEqual(self.ferry("lock", "list", "--json").stdout, "")
        self.ferry("lock", "run", "job", "--ttl", "soon", "--", "true", status=2)
        self.ferry("lock", "show", "job", status=1)

    def test_who_does_not_want_to_wait_is_refused(self):
        self.start("lock", "run", "job", "--", "sleep", "60")
        wait_until(lambda: "job" in self.ferry("lock", "list").stdout, "it is held")
        refused = self.ferry("lock", "run", "job", "--wait", "0", "--", "true", status=1)
        self.assertIn("held by 1", refused.stderr)
        self.ferry("lock", "run", "job", "--wait", "100ms", "--", "true", status=1)
        self.assertEqual(self.show("job")["waiting"], 0)
        self.assertEqual(self.ferry("lock", "release", "job", status=2).stdout, "")

    def test_an_interrupted_waiter_leaves_the_line(self):
        self.start("lock", "run", "job", "--", "sleep", "60")
        wait_until(lambda: "job" in self.ferry("lock", "list").stdout, "it is held")
        waiter = self.start("lock", "run", "job", "--", "true")
        wait_until(lambda: self.show("job")["waiting"] == 1, "it waits")
        waiter.send_signal(signal.SIGINT)
        self.assertEqual(waiter.wait(30), 1)
        self.assertEqual(self.show("job")["waiting"], 0)

    def test_a_command_is_ended_when_the_lock_is_taken_away(self):
        holder = self.start("lock", "run", "job", "--delay", "0", "--", "sh", "-c", "sleep 60; echo not reached")
        wait_until(lambda: "job" in self.ferry("lock", "list").stdout, "it is held")
        self.ferry("lock", "release", "job", "--force")
        output, errors = holder.communicate(timeout=30)
        self.assertEqual(holder.returncode, 1)
        self.assertIn("lost", errors)
        self.assertEqual(output, "")


class Protocol(Case):
    def lock(self, client, holder, **options):
        return client.request(LOCK, "job", holder, {"ttl_ms": 1000, "delay_ms": 0, **options})

    def test_l2_tokens_grow_and_the_line_stays_over_kills_and_restarts(self):
        """L2, G100, G101, G102"""
        last = 0
        for round_number in range(6):
            client = self.client()
            token = self.lock(client, "a", wait=True, ttl_ms=60000)["token"]
            self.assertGreater(token, last)
            last = token
            for place, holder in enumerate("bcd"):
                self.assertEqual(self.lock(client, holder, wait=True, ttl_ms=60000), {"token": 0, "ahead": place})
            if round_number % 2:
                self.assertEqual(self.broker.stop(), 0)
                self.broker.start()
            else:
                self.broker.restart()
            client = self.client()
            shown = client.request(SHOW, "job")
            self.assertEqual([(h["holder"], h["token"]) for h in shown["holders"]], [("a", token)])
            self.assertEqual([w["holder"] for w in shown["waiters"]], ["b", "c", "d"])
            for holder in "dcb":
                self.lock(client, holder, wait=True)
            self.assertEqual(self.lock(client, "a")["token"], token)
            client.request(UNLOCK, "job", "a", token, {})
            for holder in "bcd":
                told = client.wait_for(lambda f: f[0] == TOLD)
                self.assertTrue(told[4])
                self.assertGreater(told[3], last)
                last = told[3]
                client.request(UNLOCK, "job", holder, last, {})

    def test_l4_only_the_owner_releases_and_only_once(self):
        """L4"""
        mine, other = self.client(), self.client()
        token = self.lock(mine, "me")["token"]
        for client, holder, wrong in ((other, "me", token), (mine, "somebody", token), (mine, "me", token - 1)):
            with self.assertRaises(Refused) as refused:
                client.request(UNLOCK, "job", holder, wrong, {})
            self.assertEqual(refused.exception.code, NOT_HELD)
            self.assertEqual(mine.request(SHOW, "job")["holders"][0]["token"], token)
        mine.request(UNLOCK, "job", "me", token, {})
        with self.assertRaises(Refused) as refused:
            mine.request(UNLOCK, "job", "me", token, {})
        self.assertEqual(refused.exception.code, NOT_HELD)
        token = self.lock(mine, "me")["token"]
        told = mine.wait_for(lambda f: f[0] == TOLD, timeout=10)
        self.assertEqual(told[2:5], ["job", token, False])
        with self.assertRaises(Refused) as refused:
            mine.request(UNLOCK, "job", "me", token, {})
        self.assertEqual(refused.exception.code, NOT_HELD)

    def test_l5_a_thousand_waiters_cost_messages_in_proportion(self):
        """L5, G104"""
        costs = {}
        for waiters in (250, 500, 1000):
            clients = [self.client() for _ in range(10)]
            name = f"job{waiters}"
            ask = lambda client, holder: client.request(LOCK, name, holder, {"wait": True, "ttl_ms": 60000})  # noqa: E731
            token = ask(clients[0], "first")["token"]
            for i in range(waiters):
                ask(clients[i % 10], f"w{i}")
            clients[0].request(UNLOCK, name, "first", token, {})
            frames = 1
            for i in range(waiters):
                client = clients[i % 10]
                told = client.wait_for(lambda f: f[0] == TOLD)
                client.request(UNLOCK, name, f"w{i}", told[3], {})
                frames += 2
            for client in clients:
                # Nobody has heard anything else: what comes next is the answer to the next request.
                client.request(LIST, "", 1)
                self.assertEqual(client.aside, [])
                client.close()
            costs[waiters] = frames
        self.assertEqual(costs[1000] - 1, 4 * (costs[250] - 1))
        self.assertEqual(costs[1000] - 1, 2 * (costs[500] - 1))

    def test_l6_the_delay_is_honoured_after_an_unclean_loss(self):
        """L6, G105"""
        mine, other = self.client(), self.client()
        self.lock(mine, "me", delay_ms=1500)
        began = time.monotonic()
        mine.kill()
        self.lock(other, "next", wait=True, ttl_ms=60000)
        with self.assertRaises(Refused) as refused:
            self.lock(other, "hasty")
        self.assertEqual(refused.exception.code, HELD)
        told = other.wait_for(lambda f: f[0] == TOLD, timeout=20)
        self.assertTrue(told[4])
        self.assertGreaterEqual(time.monotonic() - began, 1.0 + 1.5 - 0.1)

    def test_a_renewed_lock_is_kept_and_one_that_is_not_is_lost(self):
        mine = self.client()
        token = self.lock(mine, "me")["token"]
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            mine.request(RENEW, "job", "me", token)
            time.sleep(0.2)
        with self.assertRaises(Refused) as refused:
            mine.request(RENEW, "job", "me", token + 1)
        self.assertEqual(refused.exception.code, NOT_HELD)

    def test_malformed_requests_close_the_connection_and_change_nothing(self):
        for fields in ((1, 2, 3), ("job",), ("job", "me"), ("job", "me", 7)):
            client = self.client()
            client.send(LOCK, 5, *fields)
            self.assertEqual(client.read_frame()[2], 100)
        self.assertEqual(self.client().request(LIST, "", 10)["locks"], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
