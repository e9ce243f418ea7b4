#!/usr/bin/env python3
"""/metrics of a live broker, and what config/ says about it: every query names a metric that exists."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from ferryd import Ferryd

PROGRAM = sys.argv.pop(1)
CONFIG = pathlib.Path(__file__).resolve().parents[3] / "config"
# Made by Prometheus for every target, not by the broker.
PROMETHEUS_OWN = {"up"}
WORDS = {"time", "sum", "max", "min", "avg", "count", "rate", "irate", "increase", "deriv", "changes", "histogram_quantile",
         "min_over_time", "max_over_time", "by", "without", "and", "or", "unless", "on", "ignoring", "label_values"}


def promtool(*arguments, text=None):
    return subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True)


def names_in(query):
    """Metric names of a PromQL expression: words that are no function, label, string or duration."""
    query = re.sub(r'"(?:\\.|[^"\\])*"', '""', query)
    query = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", query)
    query = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", query)
    return {word for word in re.findall(r"(?<![\w$.])[a-zA-Z_]\w*", query) if word not in WORDS}


def series_of(metrics):
    """Every name that can be queried: a histogram is three."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", metrics, re.M):
        names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return names


class MetricsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            with Ferryd(PROGRAM, pathlib.Path(folder) / "data") as broker:
                status, cls.metrics = broker.get("/metrics")
                assert status == 200
                assert broker.stop() == 0
        cls.series = series_of(cls.metrics)

    def check(self, query, where):
        for name in names_in(query):
            self.assertIn(name, self.series | PROMETHEUS_OWN, f"{where}: {query}")

    def test_every_query_of_the_dashboard_names_a_metric_that_exists(self):
        board = json.loads((CONFIG / "grafana/ferrymq.json").read_text())
        queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
        self.assertGreater(len(queries), 30)
        for query in queries:
            self.check(query, "dashboard")
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                self.check(re.match(r"label_values\((\w+),", variable["query"]).group(1), "variable")

    def test_every_alert_names_metrics_that_exist(self):
        rules = re.findall(r"^ +expr: (?:>-\n((?: {10,}.*\n)+)|(.*))", (CONFIG / "alerts.yml").read_text(), re.M)
        self.assertGreater(len(rules), 8)
        for folded, plain in rules:
            self.check(folded or plain, "alert")

    def test_every_alert_on_relays_consumers_and_sagas_names_metrics_that_they_have(self):
        source = "".join(path.read_text() for room in ("outbox/relay/src", "consumer/src", "saga/src")
                         for path in (CONFIG.parent / room).glob("*.cpp"))
        there = set(re.findall(r"\bferry_(?:relay|consumer|inbox|saga)_\w+", source))
        rules = re.findall(r"^ +expr: (.*)", "".join((CONFIG / name).read_text() for name in (
            "outbox-alerts.yml", "saga-alerts.yml")), re.M)
        self.assertGreater(len(rules), 6)
        for rule in rules:
            for name in re.findall(r"\bferry_\w+", rule):
                self.assertIn(name, there, rule)

    def shown_on(self, name):
        board = json.loads((CONFIG / "grafana" / name).read_text())
        used = set()
        for panel in board["panels"]:
            for target in panel["targets"]:
                used |= {re.sub(r"_bucket$", "", name) for name in names_in(target["expr"])}
        return used

    def test_the_dashboard_of_sagas_shows_every_metric_that_they_have_and_no_other(self):
        source = "".join(path.read_text() for path in (CONFIG.parent / "saga/src").glob("*.cpp"))
        there = set(re.findall(r'(?:count|gauge|total|Name)\((?:entry,)?\s*"(ferry_saga_\w+)"', source))
        self.assertGreater(len(there), 10)
        self.assertEqual(self.shown_on("ferry-saga.json"), there)

    def metrics_on_kafka(self):
        source = (CONFIG.parent / "transport/kafka/src/watch.cpp").read_text()
        return {"ferry_kafka_" + name for name in re.findall(r'\b(?:add|total)\("(\w+)"', source)}

    def test_the_dashboard_of_kafka_shows_every_metric_that_its_clients_have_and_no_other(self):
        there = self.metrics_on_kafka()
        self.assertGreater(len(there), 15)
        self.assertEqual(self.shown_on("ferry-kafka.json"), there)
        rules = (CONFIG / "kafka-alerts.yml").read_text()
        self.assertLessEqual(set(re.findall(r"\bferry_kafka_\w+", rules)), there)

    def test_the_page_on_kafka_lists_every_metric_that_its_clients_have(self):
        page = (CONFIG.parent / "docs/kafka.md").read_text()
        listed = set()
        for row in re.findall(r"^\| `ferry_kafka_.*", page, re.M):
            listed |= {"ferry_kafka_" + re.sub("^(ferry_kafka_|_)", "", name) for name in re.findall(r"`(\w+)`", row.split("|")[1])}
        self.assertEqual(listed, self.metrics_on_kafka())

    def test_the_dashboard_uses_every_metric_of_the_broker(self):
        used = set()
        board = json.loads((CONFIG / "grafana/ferrymq.json").read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                used |= names_in(target["expr"])
        used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
        families = {name for name in re.findall(r"^# TYPE (ferry_\S+)", self.metrics, re.M)}
        # Seen in alerts or logs, or constant: no picture of their own.
        no_picture = {"ferry_log_failed", "ferry_exchanges", "ferry_policies", "ferry_schedules", "ferry_messages_ready_bytes",
                      "ferry_connections_accepted_total", "ferry_connections_refused_total"}
        self.assertEqual(families - used, no_picture)

    def test_operations_page_lists_every_metric(self):
        page = (CONFIG.parent / "docs/operations.md").read_text()
        for name in re.findall(r"^# TYPE (ferry_\S+)", self.metrics, re.M):
            self.assertIn(f"`{name}`", page)

    def test_the_check_of_names_can_fail(self):
        with self.assertRaises(AssertionError):
            self.check('sum(rate(ferry_no_such_total{queue="a"}[5m])) by (queue)', "self test")

    @unittest.skipUnless(shutil.which("promtool"), "promtool (Debian: prometheus) is not installed")
    def test_promtool_likes_the_metrics_the_rules_and_the_scrape_file(self):
        checked = promtool("check", "metrics", text=self.metrics)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        for name in ("alerts.yml", "outbox-alerts.yml", "saga-alerts.yml", "kafka-alerts.yml"):
            rules = promtool("check", "rules", str(CONFIG / name))
            self.assertEqual(rules.returncode, 0, rules.stderr)
        scrape = promtool("check", "config", str(CONFIG / "prometheus.yml"))
        self.assertEqual(scrape.returncode, 0, scrape.stderr)


if __name__ == "__main__":
    unittest.main()
