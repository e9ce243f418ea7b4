"""Queues that do more than keep messages, seen from outside: crash storms, consumers that come and go, killed brokers."""
import collections
import os
import random
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import ferry_client as ferry  # noqa: E402
from broker import Broker, wait_until  # noqa: E402
from ferry_client import Client, Refused, message  # noqa: E402

FERRYD = os.environ["FERRYD"]
ID, HEADERS, EXPIRES_AT, DELIVER_AT = 1, 3, 6, 7
POLICY_SET, POLICY_DELETE, POLICY_LIST, WHY = 80, 81, 82, 83
CONSUMER_LIST, NO_SUCH_QUEUE = 110, 200
SCHEDULE_SET, SCHEDULE_DELETE, SCHEDULE_LIST, SCHEDULE_SHOW, SCHEDULE_PAUSE, SCHEDULE_NEXT = range(84, 90)
BAD_OPTION, NO_SUCH_POLICY, NO_SUCH_SCHEDULE, FROM_CONFIGURATION = 207, 240, 241, 242


def now_ms():
    return int(time.time() * 1000)


class Case(unittest.TestCase):
    def broker(self, config=""):
        broker = Broker(FERRYD)
        self.addCleanup(broker.end)
        broker.config = os.path.join(broker.data, "ferryd.toml")
        with open(broker.config, "w", encoding="utf-8") as file:
            file.write(config)
        return broker.start("--config", broker.config)

    def again(self, broker):
        """Killed without warning, and started again."""
        broker.kill()
        return broker.start("--config", broker.config)

    def connect(self, broker, **options):
        client = Client("127.0.0.1", broker.port, **options)
        self.addCleanup(client.close)
        return client

    def publish(self, client, messages):
        handle = client.producer(f"p-{random.getrandbits(60):x}")["producer"]
        client.publish(handle, 1, messages)
        outcomes = client.outcomes(handle, 1, len(messages))
        self.assertEqual(set(outcomes.values()), {"confirmed"})

    def facts(self, client, queue, **target):
        return {fact["fact"]: fact["details"] for fact in client.request(WHY, queue, target)["facts"]}

    def refused(self, code, client, *fields):
        with self.assertRaises(Refused) as caught:
            client.request(*fields)
        self.assertEqual(caught.exception.code, code)
        return caught.exception.text


class Consumers(Case):
    def test_c7_a_poison_message_survives_crash_storms_as_one_dead_letter_and_is_no_duplicate_when_sent_back(self):
        broker = self.broker()
        client = self.connect(broker)
        client.declare("jobs", max_deliveries=4, dead_letter_key="dead")
        client.declare("dead")
        self.publish(client, [message("jobs", b"poison")] + [message("jobs", b"%d" % i) for i in range(30)])
        attempts, done = [], collections.Counter()
        for storm in range(12):
            consumer = self.connect(broker)
            consumer.subscribe(1, "jobs", window=40)
            poisoned = False
            while not poisoned and sum(done.values()) < 30 or not poisoned and storm < 4:
                try:
                    frame = consumer.wait_for(lambda f: f[0] == ferry.DELIVER, 1.0)
                except (TimeoutError, OSError, AssertionError):
                    break
                for i, each in enumerate(frame[7]):
                    if each[3] == b"poison":
                        attempts.append(frame[4])
                        poisoned = True
                    else:
                        tag = frame[2] + i
                        if consumer.request(ferry.ACK, 1, [tag, tag], answers=(ferry.SETTLED,)) == []:
                            done[each[3]] += 1
            consumer.kill()
            if storm % 3 == 2:
                self.again(broker)
        self.assertEqual(attempts, sorted(attempts), "attempts only grow")
        self.assertLessEqual(len(attempts), 4)
        self.assertEqual(set(done.values()), {1})
        self.assertEqual(len(done), 30)
        client = self.connect(broker)
        # What had its last delivery on a lost connection leaves when it would be delivered once more, so somebody must stay.
        late = self.connect(broker)
        late.subscribe(1, "jobs")
        wait_until(lambda: client.request(ferry.QUEUE_SHOW, "dead")["ready"] == 1, "the dead letter")
        self.assertEqual(client.request(ferry.QUEUE_SHOW, "jobs")["ready"], 0)
        self.assertEqual(client.request(ferry.QUEUE_SHOW, "jobs")["unacked"], 0, "nobody got it a fifth time")
        late.kill()
        self.again(broker)
        client = self.connect(broker)
        dead = client.request(ferry.QUEUE_PEEK, "dead", 0, 10, 1 << 20)["messages"]
        self.assertEqual([each[3][3] for each in dead], [b"poison"])
        headers = dead[0][3][2][HEADERS]
        self.assertEqual(headers["ferry-death-reason"], "max_deliveries")
        self.assertEqual(headers["ferry-death-queue"], "jobs")
        self.assertEqual(client.request(ferry.QUEUE_MOVE, "dead", "", {})["messages"], 1)
        client.subscribe(1, "jobs")
        frame = client.wait_for(lambda f: f[0] == ferry.DELIVER, 5.0)
        self.assertEqual((frame[4], [each[3] for each in frame[7]]), (1, [b"poison"]))

    def test_c10_consumers_that_come_and_go_with_messages_in_flight_settle_each_message_once(self):
        broker = self.broker()
        client = self.connect(broker)
        client.declare("work")
        count, dice = 200, random.Random(7)
        self.publish(client, [message("work", b"%d" % i) for i in range(count)])
        done = collections.Counter()
        for _ in range(200):
            consumer = self.connect(broker)
            consumer.subscribe(1, "work", window=dice.choice((1, 7, 30)))
            for _ in range(dice.randrange(1, 6)):
                try:
                    frame = consumer.wait_for(lambda f: f[0] == ferry.DELIVER, 0.5)
                except (TimeoutError, OSError, AssertionError):
                    break
                for i, each in enumerate(frame[7]):
                    tag = frame[2] + i
                    if dice.randrange(4) == 0:
                        consumer.request(ferry.NACK, 1, [tag, tag], True, answers=(ferry.SETTLED,))
                    elif dice.randrange(5) != 0:
                        if consumer.request(ferry.ACK, 1, [tag, tag], answers=(ferry.SETTLED,)) == []:
                            done[each[3]] += 1
            if dice.randrange(2) == 0:
                consumer.kill()
            else:
                consumer.unsubscribe(1)
                consumer.close()
            if len(done) == count:
                break
        self.assertEqual(len(done), count)
        self.assertEqual(set(done.values()), {1})

    def test_f12_a_consumer_that_is_stopped_longer_than_its_lease_changes_nothing_when_it_wakes(self):
        broker = self.broker()
        stopped, other = self.connect(broker), self.connect(broker)
        other.declare("q", lease_ms=1000)
        self.publish(other, [message("q", b"m"), message("q", b"n")])
        stopped.subscribe(1, "q", window=1)
        held = stopped.wait_for(lambda f: f[0] == ferry.DELIVER, 5.0)
        self.assertEqual([each[3] for each in held[7]], [b"m"])
        # From now on nobody reads its socket.
        other.subscribe(1, "q", window=10)
        first = other.wait_for(lambda f: f[0] == ferry.DELIVER, 5.0)
        frame = other.wait_for(lambda f: f[0] == ferry.DELIVER and f[7][0][3] == b"m", 5.0)
        self.assertEqual([each[3] for each in first[7]], [b"n"])
        self.assertEqual(frame[4], 2)
        self.assertGreater(frame[5], held[5], "the fencing token grows")
        self.assertEqual(stopped.request(ferry.ACK, 1, [held[2], held[2]], answers=(ferry.SETTLED,)),
                         [held[2], held[2]])
        self.assertEqual(other.request(ferry.ACK, 1, [frame[2], frame[2]], answers=(ferry.SETTLED,)), [])


class Killed(Case):
    def test_a_broker_killed_in_the_middle_of_delays_retries_and_expiry_resumes_them_exactly(self):
        broker = self.broker()
        client = self.connect(broker)
        client.declare("q", retry="fixed", retry_delay_ms=1500)
        begin = now_ms()
        self.publish(client, [
            message("q", b"delayed", properties={DELIVER_AT: begin + 2000, ID: "d"}),
            message("q", b"next year", properties={DELIVER_AT: begin + 365 * 86_400_000, ID: "y"}),
            message("q", b"fails")])
        client.subscribe(1, "q", window=1)
        frame = client.wait_for(lambda f: f[0] == ferry.DELIVER, 5.0)
        client.request(ferry.NACK, 1, [frame[2], frame[2]], True, answers=(ferry.SETTLED,))
        client.unsubscribe(1)
        ends = now_ms() + 700
        self.publish(client, [message("q", b"expires", properties={EXPIRES_AT: ends}),
                              message("q", b"lives", properties={EXPIRES_AT: now_ms() + 600_000})])
        self.again(broker)
        client = self.connect(broker)
        self.assertGreaterEqual(client.request(ferry.QUEUE_SHOW, "q")["delayed"], 1)
        wait_until(lambda: now_ms() > ends + 20, "the end of a life")
        client.subscribe(1, "q")
        seen = {}
        while len(seen) < 3:
            frame = client.wait_for(lambda f: f[0] == ferry.DELIVER, 10.0)
            for each in frame[7]:
                self.assertNotIn(each[3], seen)
                seen[each[3]] = (now_ms(), frame[4])
        self.assertEqual(set(seen), {b"lives", b"fails", b"delayed"})
        self.assertGreaterEqual(seen[b"delayed"][0], begin + 2000)
        self.assertGreaterEqual(seen[b"fails"][1], 2)
        self.assertEqual(client.request(ferry.QUEUE_DROP, "q", "y")["messages"], 1)
        self.assertEqual(client.request(ferry.QUEUE_DROP, "q", "d")["messages"], 0)

    def test_policies_and_schedules_survive_a_kill_as_they_were_answered(self):
        broker = self.broker('[[policy]]\nname = "file"\npattern = "*"\nmax_deliveries = 7\n')
        client = self.connect(broker)
        client.declare("jobs.mail")
        client.request(POLICY_SET, "run", "jobs.*", {"priority": 5, "message_ttl_ms": 60_000})
        client.request(SCHEDULE_SET, "tick", {"cron": "@yearly", "zone": "Europe/Berlin"}, message("jobs.mail", b"t"))
        client.request(SCHEDULE_SET, "off", {"cron": "@daily", "paused": True}, message("jobs.mail", b"t"))
        before = client.request(SCHEDULE_LIST, "", 10)
        self.again(broker)
        client = self.connect(broker)
        self.assertEqual(client.request(SCHEDULE_LIST, "", 10), before)
        self.assertEqual(client.request(SCHEDULE_SHOW, "tick")["message"], message("jobs.mail", b"t"))
        shown = client.request(ferry.QUEUE_SHOW, "jobs.mail")
        self.assertEqual((shown["policy"], shown["policy_name"], shown["declared"]),
                         ({"message_ttl_ms": 60_000}, "run", {}))
        client.request(POLICY_DELETE, "run")
        self.assertEqual(client.request(ferry.QUEUE_SHOW, "jobs.mail")["policy"], {"max_deliveries": 7})
        self.refused(FROM_CONFIGURATION, client, POLICY_DELETE, "file")
        with open(broker.config, "w", encoding="utf-8"):
            pass
        self.again(broker)
        client = self.connect(broker)
        self.assertEqual(client.request(POLICY_LIST, "", 10), {"policies": [], "more": False})


class Requests(Case):
    def test_policies_are_refused_with_the_range_that_is_allowed_and_checked_without_a_change(self):
        client = self.connect(self.broker())
        client.declare("q")
        self.assertIn("0 to 1000", self.refused(BAD_OPTION, client, POLICY_SET, "p", "*", {"priority": 1001}))
        self.assertIn("unknown option", self.refused(BAD_OPTION, client, POLICY_SET, "p", "*", {"durable": True}))
        self.assertIn("at least one", self.refused(BAD_OPTION, client, POLICY_SET, "p", "*", {}))
        self.assertIn("100", self.refused(BAD_OPTION, client, POLICY_SET, "p", "*", {"retry_jitter_percent": 101}))
        self.refused(NO_SUCH_POLICY, client, POLICY_DELETE, "p")
        answer = client.request(POLICY_SET, "p", "*", {"max_deliveries": 3, "check": True})
        self.assertEqual(answer, {"queues": 1})
        self.assertEqual(client.request(POLICY_LIST, "", 10)["policies"], [])
        for i in range(5):
            client.request(POLICY_SET, f"p{i}", f"x{i}", {"max_deliveries": 3})
        page = client.request(POLICY_LIST, "p1", 2)
        self.assertEqual([row["name"] for row in page["policies"]], ["p2", "p3"])
        self.assertTrue(page["more"])

    def test_schedules_are_refused_with_what_is_allowed_and_their_times_can_be_asked_for(self):
        client = self.connect(self.broker())
        text = message("q", b"t")
        self.assertIn("0 to 59", self.refused(BAD_OPTION, client, SCHEDULE_SET, "s", {"cron": "61 * * * *"}, text))
        self.assertIn("no time zone", self.refused(BAD_OPTION, client, SCHEDULE_SET, "s",
                                                   {"cron": "@daily", "zone": "Mars/Olympus"}, text))
        self.assertIn("once or skip", self.refused(BAD_OPTION, client, SCHEDULE_SET, "s",
                                                   {"cron": "@daily", "missed": "twice"}, text))
        self.assertIn("deliver at", self.refused(BAD_OPTION, client, SCHEDULE_SET, "s", {"cron": "@daily"},
                                                 message("q", b"t", properties={DELIVER_AT: 5})))
        self.refused(NO_SUCH_SCHEDULE, client, SCHEDULE_SHOW, "s")
        self.refused(NO_SUCH_SCHEDULE, client, SCHEDULE_PAUSE, "s", True)
        self.refused(NO_SUCH_SCHEDULE, client, SCHEDULE_DELETE, "s")
        begin = 1_774_656_000_000  # 2026-03-28 00:00 UTC, the day before the clocks go forward
        times = client.request(SCHEDULE_NEXT, "30 2 * * *", "Europe/Berlin", begin, 3)["times"]
        self.assertEqual([(t - begin) // 60_000 for t in times], [90, 1440 + 60, 2 * 1440 + 30])
        self.refused(BAD_OPTION, client, SCHEDULE_NEXT, "@daily", "UTC", 0, 1001)
        client.request(SCHEDULE_SET, "s", {"cron": "@daily", "check": True}, text)
        self.assertEqual(client.request(SCHEDULE_LIST, "", 10), {"schedules": [], "more": False})
        client.request(SCHEDULE_SET, "s", {"cron": "@daily"}, text)
        client.request(SCHEDULE_PAUSE, "s", True)
        self.assertEqual(client.request(SCHEDULE_SHOW, "s")["next_ms"], 0)
        client.request(SCHEDULE_PAUSE, "s", False)
        self.assertEqual(client.request(SCHEDULE_SHOW, "s")["next_ms"] % 86_400_000, 0)
        client.request(SCHEDULE_DELETE, "s")

    def test_why_names_the_consumer_that_holds_a_message_and_what_keeps_the_others(self):
        broker = self.broker()
        client = self.connect(broker)
        client.declare("q")
        self.publish(client, [message("q", b"a", properties={ID: "first"}), message("q", b"b")])
        self.assertIn("no_consumers", self.facts(client, "q"))
        consumer = self.connect(broker, hello=False)
        consumer.send(ferry.HELLO, 1, 1, {"name": "billing"})
        consumer.answer(1)
        consumer.subscribe(1, "q", window=1)
        frame = consumer.wait_for(lambda f: f[0] == ferry.DELIVER, 5.0)
        facts = self.facts(client, "q")
        self.assertIn("no_credit", facts)
        self.assertEqual(facts["window_full"]["client"], "billing")
        self.assertEqual(facts["window_full"]["unacked"], 1)
        facts = self.facts(client, "q", position=frame[3])
        self.assertEqual(facts["is_with_consumer"]["client"], "billing")
        unacked = client.request(ferry.QUEUE_PEEK, "q", 0, 10, 1 << 20, "unacked")["messages"]
        self.assertEqual([(each[0], each[3][2][ID]) for each in unacked], [(frame[3], "first")])
        self.refused(BAD_OPTION, client, ferry.QUEUE_PEEK, "q", 0, 10, 1 << 20, "attic")
        consumer.request(ferry.ACK, 1, [frame[2], frame[2]], answers=(ferry.SETTLED,))
        self.assertIn("is_gone", self.facts(client, "q", position=frame[3]))

    def test_what_a_hanging_consumer_held_goes_to_the_others_within_its_lease_and_it_gets_nothing_new(self):
        broker = self.broker()
        client = self.connect(broker)
        client.declare("jobs", lease_ms=1000)
        hangs, works = self.connect(broker, hello=False), self.connect(broker)
        hangs.send(ferry.HELLO, 1, 1, {"name": "hangs"})
        hangs.answer(1)
        hangs.subscribe(1, "jobs", window=5)
        self.publish(client, [message("jobs", b"%d" % i) for i in range(5)])
        held = [each[3] for each in hangs.wait_for(lambda f: f[0] == ferry.DELIVER, 5.0)[7]]
        self.assertEqual(len(held), 5)
        works.subscribe(1, "jobs", window=100)
        got = []
        while len(got) < 5:
            frame = works.wait_for(lambda f: f[0] == ferry.DELIVER, 10.0)
            got += [each[3] for each in frame[7]]
            works.request(ferry.ACK, 1, [frame[2], frame[2] + len(frame[7]) - 1], answers=(ferry.SETTLED,))
        self.assertEqual(sorted(got), sorted(held))
        stuck = [each for each in client.request(CONSUMER_LIST, "jobs", "", 0, 10)["consumers"] if each["stuck"]]
        self.assertEqual([(each["client"], each["unacked"], each["leases_ended"]) for each in stuck], [("hangs", 0, 5)])
        self.assertEqual(self.facts(client, "jobs")["stuck"]["client"], "hangs")
        self.publish(client, [message("jobs", b"%d" % i) for i in range(5, 25)])
        while len(got) < 25:
            frame = works.wait_for(lambda f: f[0] == ferry.DELIVER, 10.0)
            got += [each[3] for each in frame[7]]
        # A sign of life, though of messages that it lost.
        self.assertEqual(hangs.request(ferry.ACK, 1, [1, 5], answers=(ferry.SETTLED,)), [1, 5])
        self.assertEqual([each["stuck"] for each in client.request(CONSUMER_LIST, "", "", 0, 10)["consumers"]], [False, False])
        self.publish(client, [message("jobs", b"welcome back")])
        frame = hangs.wait_for(lambda f: f[0] == ferry.DELIVER, 5.0)
        self.assertEqual([each[3] for each in frame[7]], [b"welcome back"])
        self.refused(NO_SUCH_QUEUE, client, CONSUMER_LIST, "nowhere", "", 0, 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
