"""Prepare, local work, submit: with real processes that are killed at every point in between.

What must hold is read from the outside: the message is in the queue, once, exactly if the order is in the shop's database.
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
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))
from broker import Broker, wait_until  # noqa: E402

FERRY = os.environ["FERRY"]
POINTS = ("prepared", "open", "committed", "submitted")


class Case(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="ferry-checkback-")
        self.broker = Broker(os.environ["FERRYD"]).start()
        self.path = os.path.join(self.scratch, "shop.db")
        self.running = []
        self.ferry("prepared", "init", self.path)
        self.shop = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        self.shop.execute("CREATE TABLE orders(id TEXT PRIMARY KEY)")
        for queue in ("payments", "checks"):
            self.ferry("queue", "declare", queue)

    def tearDown(self):
        for process in list(self.running):
            self.end(process, signal.SIGKILL)
        self.shop.close()
        self.broker.end()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def ferry(self, *arguments, status=0):
        done = subprocess.run([FERRY, *arguments, "--url", self.broker.url], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, status, f"{arguments}: {done.stdout}{done.stderr}")
        return done

    def start(self, *command):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.running.append(process)
        return process

    def end(self, process, how=signal.SIGTERM):
        """What it printed at its end."""
        if process in self.running:
            self.running.remove(process)
        if process.poll() is None:
            process.send_signal(how)
        out, errors = process.communicate(timeout=60)
        return out, errors

    def producer(self, name, point, surely=True):
        """One that has come to `point` and waits there; not `surely`: or was answered "rolled back" before."""
        process = self.start(sys.executable, "-B", os.path.join(HERE, "producer.py"), str(self.broker.port), self.path, name, point)
        for line in process.stdout:
            if line.strip() == point:
                return process
        self.assertFalse(surely, f"{name} ended before {point}: {process.communicate()[1] if surely else ''}")
        return process

    def answerer(self, *extra):
        process = self.start(FERRY, "prepared", "answer", "--db", self.path, "--queue", "checks", "--url", self.broker.url, *extra)
        self.assertIn("answer", process.stdout.readline())
        return process

    def prepared(self, *extra):
        done = self.ferry("prepared", "list", "--json", *extra)
        return {row["id"]: row for row in map(json.loads, done.stdout.splitlines())}

    def decided(self, seconds=30):
        wait_until(lambda: not self.prepared(), "nothing is left in doubt", seconds)

    def orders(self):
        return {row[0] for row in self.shop.execute("SELECT id FROM orders")}

    def payments(self):
        lines = self.ferry("queue", "peek", "payments", "--count", "1000", "--json").stdout.splitlines()
        return collections.Counter(json.loads(line)["payload"] for line in lines)

    def outcome(self, name):
        row = self.shop.execute("SELECT outcome FROM ferry_decision WHERE id = ?", (name,)).fetchone()
        return row and row[0]

    def check(self):
        """Each order has its message once, and no message is without an order."""
        self.assertEqual(self.payments(), collections.Counter(self.orders()))

    def check_queue_empty(self):
        shown = json.loads(self.ferry("queue", "show", "checks", "--json").stdout)
        return shown["ready"] + shown["unacked"] == 0


class Checkback(Case):
    # M1, G88
    def test_m1_a_producer_that_dies_before_its_local_work_is_answered_no(self):
        self.end(self.producer("a", "prepared"), signal.SIGKILL)
        self.end(self.producer("b", "open"), signal.SIGKILL)
        self.answerer()
        self.decided()
        self.assertEqual((self.outcome("a"), self.outcome("b")), ("rolled back", "rolled back"))
        self.assertEqual(self.orders(), set())
        self.check()

    # M2, G88
    def test_m2_a_producer_that_dies_behind_its_local_work_is_answered_yes(self):
        self.end(self.producer("a", "committed"), signal.SIGKILL)
        self.assertEqual(sum(self.payments().values()), 0)
        self.answerer()
        self.decided()
        self.assertEqual(self.orders(), {"a"})
        self.check()

    # M2, G85, G88
    def test_m2_the_broker_may_die_between_prepare_and_submit(self):
        for name, point in (("a", "prepared"), ("b", "committed")):
            self.end(self.producer(name, point), signal.SIGKILL)
        waiting = self.producer("c", "committed")
        self.broker.restart()
        self.assertEqual(set(self.prepared()), {"a", "b", "c"})
        # Its connection is gone with the broker: it cannot submit, but the row can.
        self.end(waiting)
        self.answerer()
        self.decided()
        self.broker.restart()
        self.assertEqual(self.orders(), {"b", "c"})
        self.check()

    # M3, G88
    def test_m3_while_the_local_work_is_open_the_answer_waits_for_it(self):
        producer = self.producer("a", "open")
        self.answerer()
        wait_until(lambda: self.prepared()["a"]["asked"] >= 1, "it was asked for")
        time.sleep(0.5)  # the answer may try as often as it likes
        self.assertIn("a", self.prepared())
        producer.stdin.write("\n")
        producer.stdin.flush()
        self.decided()
        self.assertEqual(self.orders(), {"a"})
        self.check()

    # M3, G88
    def test_m3_a_commit_that_comes_after_the_answer_fails(self):
        producer = self.producer("a", "prepared")
        self.answerer()
        self.decided()
        self.assertEqual(self.outcome("a"), "rolled back")
        out, _ = producer.communicate("\n", timeout=30)
        self.assertIn("rolled back", out)
        self.assertEqual(self.orders(), set())
        self.check()
        refused = self.ferry("prepared", "submit", "a", status=1)
        self.assertIn("PREPARED_DECIDED", refused.stderr)

    # M4, G87
    def test_m4_while_the_answering_side_is_down_nothing_is_counted_and_then_everything_is_answered(self):
        for name in ("a", "b", "c"):
            self.end(self.producer(name, "committed"), signal.SIGKILL)
        wait_until(lambda: all(row["unasked"] == "nobody_there" for row in self.prepared().values() if not row["asked"]),
                   "the broker sees that nobody is there")
        self.assertLessEqual(sum(row["asked"] for row in self.prepared().values()), 1)
        self.ferry("queue", "delete", "checks")
        wait_until(lambda: any(row["unasked"] == "no_queue" for row in self.prepared().values()), "the queue is missed")
        asked = sum(row["asked"] for row in self.prepared().values())
        self.broker.restart()
        time.sleep(0.5)
        self.assertEqual(sum(row["asked"] for row in self.prepared().values()), asked)
        self.assertEqual(self.prepared("--parked"), {})
        self.answerer()
        self.decided()
        self.assertEqual(self.orders(), {"a", "b", "c"})
        self.check()

    def park(self, name):
        """Its checks are taken by somebody who does not answer."""
        taker = self.start(FERRY, "consume", "checks", "--follow", "--url", self.broker.url)
        wait_until(lambda: name in self.prepared("--parked"), f"{name} is parked", 30)
        self.end(taker)

    # M4, G87
    def test_m4_over_the_limit_it_is_parked_and_resume_asks_again(self):
        self.ferry("prepared", "add", "--queue", "payments", "--checks", "checks", "--id", "a", "--check-after", "100ms",
                   "--max-checks", "2", "--payload", "a")
        with self.shop:
            self.shop.execute("BEGIN IMMEDIATE")
            self.shop.execute("INSERT INTO orders(id) VALUES('a')")
            self.shop.execute("INSERT INTO ferry_decision(id) VALUES('a')")
            self.shop.execute("COMMIT")
        self.park("a")
        row = self.prepared()["a"]
        self.assertEqual((row["state"], row["checks"], row["next_check_ms"]), ("parked", 2, 0))
        self.answerer()
        self.broker.restart()
        self.assertEqual(set(self.prepared("--parked")), {"a"})
        self.ferry("prepared", "resume", "a")
        self.decided()
        self.check()

    # X1, G87
    def test_x1_what_is_in_doubt_waits_for_an_operator_however_long_it_takes(self):
        for name in ("a", "b"):
            self.ferry("prepared", "add", "--queue", "payments", "--checks", "checks", "--id", name, "--check-after", "100ms",
                       "--max-checks", "1", "--payload", name)
        self.park("a")
        self.park("b")
        for _ in range(3):
            self.broker.restart()
            self.assertEqual(set(self.prepared("--parked")), {"a", "b"})
            self.assertEqual(sum(self.payments().values()), 0)
        shown = json.loads(self.ferry("prepared", "show", "a", "--json").stdout)
        self.assertEqual((shown["message"]["payload"], shown["state"]), ("a", "parked"))
        self.ferry("prepared", "submit", "a")
        self.ferry("prepared", "submit", "a")
        self.ferry("prepared", "drop", "b")
        self.assertIn("PREPARED_DECIDED", self.ferry("prepared", "submit", "b", status=1).stderr)
        self.assertIn("NO_SUCH_PREPARED", self.ferry("prepared", "resume", "z", status=1).stderr)
        self.assertEqual(self.payments(), collections.Counter({"a": 1}))
        self.assertEqual(self.prepared(), {})

    # G85, G86, G88
    def test_whoever_is_killed_whenever_each_order_has_its_message_once(self):
        dice = random.Random(11)
        answerer = self.answerer()
        for number in range(24):
            point = dice.choice(POINTS)
            producer = self.producer(f"order-{number}", point, surely=False)
            if dice.randrange(3) == 0:
                self.end(answerer, signal.SIGKILL)
                answerer = self.answerer()
            if dice.randrange(4) == 0:
                self.broker.restart()
            if dice.randrange(3) == 0:
                try:
                    producer.communicate("\n", timeout=30)
                except BrokenPipeError:
                    pass
            self.end(producer, signal.SIGKILL)
        self.decided(60)
        self.check()
        self.broker.restart()
        self.check()
        self.assertGreater(len(self.orders()), 3)
        wait_until(self.check_queue_empty, "all checks are answered")

    # G85
    def test_the_log_tells_what_became_of_each(self):
        self.end(self.producer("a", "committed"), signal.SIGKILL)
        self.end(self.producer("b", "prepared"), signal.SIGKILL)
        wait_until(lambda: sum(row["asked"] for row in self.prepared().values()) == 1, "one was asked for")
        self.ferry("prepared", "resume", "a")
        self.ferry("prepared", "submit", "a")
        self.ferry("prepared", "drop", "b")
        self.assertEqual(self.broker.stop(), 0)
        verified = subprocess.run([FERRY, "log", "verify", self.broker.log_directory], capture_output=True, text=True)
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)
        done = subprocess.run([FERRY, "log", "dump", self.broker.log_directory, "--bodies", "--json"], capture_output=True, text=True)
        self.assertNotIn("unreadable", done.stdout)
        bodies = [line for line in done.stdout.splitlines() if '"prepared' in line]
        for kind in ("prepared", "prepared_check", "prepared_resume", "prepared_submit", "prepared_drop"):
            self.assertTrue(any(f'"{kind}"' in line for line in bodies), kind)
        self.broker.start()
        self.assertEqual(self.payments(), collections.Counter({"a": 1}))

    # G88
    def test_once_answers_all_that_was_due_and_ends(self):
        for name in ("a", "b", "c"):
            self.end(self.producer(name, "committed"), signal.SIGKILL)
        wait_until(lambda: sum(row["unasked"] == "nobody_there" for row in self.prepared().values()) >= 2, "checks wait")
        done = self.ferry("prepared", "answer", "--db", self.path, "--queue", "checks", "--once", "--json")
        self.assertEqual(json.loads(done.stdout)["submitted"], 3)
        self.assertEqual(self.prepared(), {})
        self.check()

    def test_a_wrong_database_is_refused_instead_of_answering_no(self):
        other = os.path.join(self.scratch, "other.db")
        missing = self.ferry("prepared", "answer", "--db", other, "--queue", "checks", "--once", status=1)
        self.assertFalse(os.path.exists(other), missing.stderr)
        sqlite3.connect(other).execute("CREATE TABLE x(y)")
        refused = self.ferry("prepared", "answer", "--db", other, "--queue", "checks", "--once", status=1)
        self.assertIn("ferry prepared init", refused.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
