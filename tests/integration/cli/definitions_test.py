"""`ferry definitions`: out of one broker and into another, checked whole before anything changes. (G73)"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))
from broker import Broker  # noqa: E402


class Definitions(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.brokers = [Broker(os.environ["FERRYD"]).start() for _ in range(2)]
        for broker in self.brokers:
            self.addCleanup(broker.end)

    def ferry(self, broker, *arguments, status=0):
        done = subprocess.run([os.environ["FERRY"], "--url", self.brokers[broker].url, *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
        self.assertEqual(done.returncode, status, (arguments, done.stdout, done.stderr))
        return done.stdout.decode(), done.stderr.decode()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def export(self, broker):
        return json.loads(self.ferry(broker, "definitions", "export")[0])

    def load(self, broker, definitions, *options, status=0):
        with open(self.path("in.json"), "w", encoding="utf-8") as file:
            json.dump(definitions, file)
        return self.ferry(broker, "definitions", "import", self.path("in.json"), *options, status=status)

    def fill(self):
        self.ferry(0, "exchange", "declare", "events", "--type", "topic")
        self.ferry(0, "exchange", "declare", "by-region", "--type", "headers")
        self.ferry(0, "queue", "declare", "jobs", "--retry", "fixed", "--retry-delay", "5s", "--max-deliveries", "3",
                   "--dead-letter", "dead", "--lease", "10m")
        self.ferry(0, "queue", "declare", "dead", "--auto-delete")
        self.ferry(0, "queue", "bind", "jobs", "--exchange", "events", "--key", "job.*")
        self.ferry(0, "queue", "bind", "dead", "--exchange", "by-region", "--argument", "x-match=all",
                   "--argument", "region=eu", "--argument", "level=7")
        self.ferry(0, "exchange", "bind", "by-region", "--exchange", "events", "--key", "#")
        self.ferry(0, "policy", "set", "short", "--pattern", "tmp.*", "--priority", "7", "--ttl", "1h")
        with open(self.path("bytes"), "wb") as file:
            file.write(b"\xff\x00\xfe")
        self.ferry(0, "schedule", "add", "morning", "--cron", "0 6 * * *", "--tz", "Europe/Berlin", "--queue", "jobs",
                   "--file", self.path("bytes"), "--header", "kind=report", "--missed", "skip")
        self.ferry(0, "schedule", "add", "off", "--cron", "@daily", "--exchange", "events", "--key", "job.x",
                   "--payload", "x", "--paused")

    def test_what_was_exported_makes_the_same_broker_elsewhere_and_again_changes_nothing(self):
        self.fill()
        definitions = self.export(0)
        self.assertEqual([len(definitions[key]) for key in ("exchanges", "queues", "bindings", "policies", "schedules")],
                         [2, 2, 3, 1, 2])
        out = self.load(1, definitions, "--dry-run")[0]
        self.assertEqual(len(out.splitlines()), 10)
        self.assertEqual(self.export(1)["queues"], [], "a dry run changes nothing")
        self.assertEqual(json.loads(self.load(1, definitions, "--json")[0]), {"created": 10, "changed": 0, "same": 0})
        self.assertEqual(self.export(1), definitions)
        for broker in (0, 1):
            self.assertEqual(json.loads(self.load(broker, definitions, "--json")[0]),
                             {"created": 0, "changed": 0, "same": 10})

    def test_policies_and_schedules_are_replaced_and_the_dry_run_shows_it(self):
        self.fill()
        definitions = self.export(0)
        definitions["policies"][0]["priority"] = 8
        definitions["schedules"][0]["cron"] = "0 7 * * *"
        rows = [json.loads(line) for line in self.load(0, definitions, "--dry-run", "--json")[0].splitlines()]
        self.assertEqual([(row["do"], row["what"], row["name"]) for row in rows],
                         [("change", "policy", "short"), ("change", "schedule", "morning")])
        self.assertEqual(json.loads(self.load(0, definitions, "--json")[0]), {"created": 0, "changed": 2, "same": 8})
        self.assertEqual(self.export(0), definitions)

    def test_conflicts_are_named_and_nothing_changes(self):
        self.fill()
        definitions = self.export(0)
        before = self.export(0)
        definitions["queues"][1]["settings"]["max_deliveries"] = 9
        definitions["exchanges"][1]["type"] = "direct"
        definitions["queues"].append({"name": "new", "settings": {"retry_jitter_percent": 500}})
        definitions["exchanges"].append({"name": "odd", "type": "nowhere"})
        definitions["bindings"] += [{"source": "events", "destination": "missing"},
                                    {"source": "by-region", "destination": "events", "kind": "exchange"}]
        definitions["policies"].append({"name": "bad", "pattern": "[a]", "settings": {"max_deliveries": 1}})
        definitions["schedules"].append({"name": "bad", "cron": "61 * * * *", "message": {"routing_key": "jobs"}})
        rows = [json.loads(line) for line in self.load(0, definitions, "--json", status=1)[0].splitlines()]
        conflicts = {(row["what"], row["name"]): row["because"] for row in rows if row["do"] == "conflict"}
        self.assertEqual(len(conflicts), 8, conflicts)
        self.assertIn("0 to 100", conflicts[("queue", "new")])
        self.assertIn("other settings", conflicts[("queue", "jobs")])
        self.assertIn("type is direct", conflicts[("exchange", "odd")])
        self.assertIn("neither here nor", conflicts[("binding", "events -> queue missing")])
        self.assertIn("circle", conflicts[("binding", "by-region -> exchange events")])
        self.assertIn("0 to 59", conflicts[("schedule", "bad")])
        self.assertEqual(self.export(0), before)

    def test_files_that_are_no_definitions_are_refused_with_the_place(self):
        good = {"ferrymq_definitions": 1}
        for bad, told in (([], "lacks"), ({}, "lacks"), ({"ferrymq_definitions": 2}, "lacks"),
                          ({**good, "queue": []}, "unknown key queue"), ({**good, "queues": {}}, "a list"),
                          ({**good, "queues": [5]}, "queues[0]: an object"),
                          ({**good, "queues": [{}]}, "queues[0]: name is missing"),
                          ({**good, "queues": [{"name": "a b"}]}, "queues[0]: names have"),
                          ({**good, "queues": [{"name": "amq.x"}]}, "the broker's"),
                          ({**good, "queues": [{"name": "a"}, {"name": "a"}]}, "queues[1]: it is there twice"),
                          ({**good, "queues": [{"name": "a", "durable": 1}]}, "durable is true or false"),
                          ({**good, "queues": [{"name": "a", "settings": {"ttl": 1}}]}, "unknown key ttl"),
                          ({**good, "queues": [{"name": "a", "settings": {"max_deliveries": -1}}]}, "whole number"),
                          ({**good, "bindings": [{"source": "a"}]}, "destination is missing"),
                          ({**good, "schedules": [{"name": "a", "cron": "@daily"}]}, "message is missing"),
                          ({**good, "schedules": [{"name": "a", "cron": "@daily",
                                                   "message": {"payload_base64": "!"}}]}, "not base64")):
            self.assertIn(told, self.load(1, bad, status=1)[1], bad)
        with open(self.path("text"), "w", encoding="utf-8") as file:
            file.write("no json")
        self.assertIn("not JSON", self.ferry(1, "definitions", "import", self.path("text"), status=1)[1])
        self.ferry(1, "definitions", "import", self.path("none"), status=1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
