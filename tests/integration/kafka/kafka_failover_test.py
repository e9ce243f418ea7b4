"""A Kafka of three nodes, of which the leader is killed while messages flow. Cites G121, G122."""
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import kafka_server  # noqa: E402

FERRY = os.environ["FERRY"]


def metadata(kafka):
    done = subprocess.run(["kcat", "-b", kafka.hosts, "-L", "-J", "-m", "3"], capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else {"brokers": [], "topics": []}


def known_to_all(kafka, topic):
    """A broker that has just been told of a topic may be asked before the others know of it."""
    for host in kafka.hosts.split(","):
        done = subprocess.run(["kcat", "-b", host, "-L", "-J", "-m", "3", "-t", topic], capture_output=True, text=True)
        if done.returncode != 0 or not any(one["partitions"] and one["partitions"][0]["leader"] > 0
                                           for one in json.loads(done.stdout)["topics"]):
            return False
    return True


def leader_of(kafka, topic):
    for one in metadata(kafka)["topics"]:
        if one["topic"] == topic and one["partitions"]:
            return one["partitions"][0]["leader"]
    return -1


class FailoverTest(unittest.TestCase):
    def test_the_death_of_a_leader_loses_and_doubles_nothing(self):  # G121
        kafka = kafka_server.Kafka(nodes=3)
        try:
            kafka.start()
            deadline = time.monotonic() + 60
            while len(metadata(kafka)["brokers"]) < 3:
                self.assertLess(time.monotonic(), deadline, "three brokers did not find together")
                time.sleep(0.3)
            made = subprocess.run([FERRY, "--url", kafka.url, "topic", "declare", "led", "--partitions", "1", "--replicas", "3"],
                                  capture_output=True, text=True)
            self.assertEqual(made.returncode, 0, made.stderr)
            while not known_to_all(kafka, "led"):
                self.assertLess(time.monotonic(), deadline, "not every broker hears of the topic")
                time.sleep(0.3)
            consumer = subprocess.Popen([FERRY, "--url", kafka.url, "consume", "led", "--follow", "--count", "2000"],
                                        stdout=subprocess.PIPE, text=True)
            seen = []
            reader = threading.Thread(target=lambda: seen.extend(int(line) for line in consumer.stdout))
            reader.start()
            publisher = subprocess.Popen([FERRY, "--url", kafka.url, "publish", "led", "--key", "k", "--timeout", "100s",
                                          "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         text=True)
            for number in range(2000):
                publisher.stdin.write(f"{number}\n")
                if number == 700:
                    publisher.stdin.flush()
                    time.sleep(1)
                    leader = leader_of(kafka, "led")
                    self.assertGreater(leader, 0)
                    kafka.nodes[leader - 1].kill()
                if number > 700 and number % 100 == 0:
                    publisher.stdin.flush()
                    time.sleep(0.05)
            out, errors = publisher.communicate(timeout=120)
            self.assertEqual(publisher.returncode, 0, errors)
            self.assertEqual(json.loads(out)["confirmed"], 2000)
            reader.join(timeout=90)
            self.assertEqual(consumer.wait(timeout=30), 0)
            # Each once at the least, in the order of the key; the group's offsets survived too.
            first = sorted(set(seen), key=seen.index)
            self.assertEqual(first, list(range(2000)))
        finally:
            kafka.end()


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
