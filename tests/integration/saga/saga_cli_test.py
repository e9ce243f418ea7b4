#!/usr/bin/env python3
"""`ferry saga` as an operator meets it: every subcommand, its exit status and its JSON, with a real broker."""
import json
import os
import pathlib
import re
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
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
from broker import pump  # noqa: E402

FERRY, FERRYD = os.environ["FERRY"], os.environ["FERRYD"]
ROOT = pathlib.Path(__file__).resolve().parents[3]
PATIENT = """
name = "patient"
version = 1
deadline = "1h"
[[step]]
name = "ask"
command = "ask"
compensation = "unask"
timeout = "30s"
[[step]]
name = "yes"
signal = true
[[step]]
name = "go"
command = "go"
pivot = true
timeout = "200ms"
retry = { first = "10ms", cap = "10ms", attempts = 1 }
"""


class Flaky(threading.Thread):
    """Stands before a broker and breaks the first connections right after their hello was answered."""

    def __init__(self, port, breaks):
        super().__init__(daemon=True)
        self.behind, self.breaks, self.broken = port, breaks, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client):
        broker = socket.create_connection(("127.0.0.1", self.behind))
        breaks = self.broken < self.breaks
        self.broken += breaks
        if breaks:
            broker.sendall(client.recv(65536))
            client.sendall(broker.recv(65536))
            client.recv(65536)  # the first request: nobody answers it
            client.close()
            broker.close()
            return
        for one, other in ((client, broker), (broker, client)):
            threading.Thread(target=pump, args=(one, other), daemon=True).start()


class SagaCli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="ferry-saga-cli-")
        cls.path = pathlib.Path(cls.folder.name)
        (cls.path / "patient.toml").write_text(PATIENT)
        cls.broker = subprocess.Popen([FERRYD, "--data", cls.path / "data", "--listen", "127.0.0.1:0", "--http", ""],
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        port = re.search(r"listening on [^ ,]*:(\d+)", cls.broker.stdout.readline()).group(1)
        cls.url = f"ferry://127.0.0.1:{port}"
        cls.db = str(cls.path / "saga.db")
        with open(cls.path / "serve.log", "w") as log:
            cls.serving = subprocess.Popen([FERRY, "--url", cls.url, "saga", "serve", "--db", cls.db, "--definitions", cls.path,
                                            "--http", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=log, text=True)
        cls.queue = re.search(r"answers come by (\S+)", cls.serving.stdout.readline()).group(1)
        # On a slow machine it may have said something else before.
        cls.http = re.search(r"metrics on port (\d+)", (cls.path / "serve.log").read_text()).group(1)

    @classmethod
    def tearDownClass(cls):
        cls.serving.send_signal(signal.SIGTERM)
        status = cls.serving.wait(timeout=30)
        cls.serving.stdout.close()
        cls.broker.send_signal(signal.SIGTERM)
        cls.broker.wait(timeout=30)
        cls.broker.stdout.close()
        cls.folder.cleanup()
        assert status == 0, status

    def ferry(self, *words, status=0):
        done = subprocess.run([FERRY, "--url", self.url, *map(str, words)], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, status, done.stderr + done.stdout)
        return done

    def saga(self, *words, status=0):
        return self.ferry("saga", *words, status=status)

    def show(self, saga):
        return json.loads(self.saga("show", self.db, saga, "--json").stdout)

    def until(self, saga, state):
        deadline = time.monotonic() + 30
        while self.show(saga)["state"] != state:
            self.assertLess(time.monotonic(), deadline, self.show(saga))
            time.sleep(0.05)
        return self.show(saga)

    def command(self, saga, queue):
        """The command of this saga; those of other tests are dropped on the way."""
        deadline = time.monotonic() + 30
        while True:
            for line in self.ferry("consume", queue, "--timeout", "300ms", "--format", "json").stdout.splitlines():
                if json.loads(line)["correlation_id"] == saga:
                    return json.loads(line)
            self.assertLess(time.monotonic(), deadline)

    def answer(self, saga, step, op="act", answer="done", payload="{}"):
        self.ferry("publish", self.queue, payload, "--correlation-id", saga, "--header", f"ferry-saga-step={step}",
                   "--header", f"ferry-saga-op={op}", "--header", f"ferry-saga-answer={answer}")

    def test_check_and_graph_explain_a_definition(self):
        example = ROOT / "config/sagas/order.toml"
        self.assertIn("order version 1: 3 steps", self.saga("check", example).stdout)
        self.assertEqual(json.loads(self.saga("check", example, "--json").stdout)["steps"], 3)
        self.assertIn("[ship]", self.saga("graph", example).stdout)
        self.assertIn("digraph", self.saga("graph", example, "--format", "dot").stdout)
        bad = self.path / "bad.wrong"
        bad.write_text('name = "x"\n\n[[step]]\nname = "a"\ncommand = 5\n')
        told = self.saga("check", bad, status=1).stderr
        self.assertIn("line 5: steps.a.command: must be a queue's name", told)
        self.saga("check", self.path / "none", status=1)
        self.saga("graph", status=2)

    def test_definitions_of_a_directory_are_checked_together(self):
        folder = self.path / "together"
        folder.mkdir()
        head = 'version = 1\ndeadline = "1h"\n[[step]]\n'
        (folder / "inner.toml").write_text('name = "inner"\n' + head + 'name = "p"\ncommand = "q"\npivot = true\n')
        (folder / "outer.toml").write_text('name = "outer"\n' + head + 'name = "first"\nsaga = "inner"\n')
        self.saga("check", folder / "outer.toml")
        told = self.saga("check", folder, status=1).stderr
        self.assertIn("outer.steps.first.saga: the saga inner has a pivot, step p", told)
        complaint = json.loads(self.saga("check", folder, "--json", status=1).stdout)
        self.assertEqual(complaint["field"], "outer.steps.first.saga")
        self.saga("serve", "--db", self.path / "together.db", "--definitions", folder, status=1)
        (folder / "outer.toml").write_text('name = "outer"\n' + head + 'name = "first"\nsaga = "inner"\npivot = true\n')
        self.assertEqual(len(self.saga("check", folder).stdout.splitlines()), 2)

    def test_a_graph_is_drawn_as_svg(self):
        example = ROOT / "config/sagas/order.toml"
        if shutil.which("dot") is None:
            self.assertIn("install the package graphviz", self.saga("graph", example, "--format", "svg", status=1).stderr)
            self.skipTest("Graphviz is not installed: only the message that says so was looked at")
        drawn = self.saga("graph", example, "--format", "svg").stdout
        self.assertIn("<svg", drawn)
        for name in ("reserve", "charge", "ship", "undo: stock.release"):
            self.assertIn(name, drawn)

    def test_a_broker_that_goes_away_right_after_it_was_reached_is_tried_again(self):
        flaky = Flaky(int(self.url.rsplit(":", 1)[1]), 3)
        with open(self.path / "flaky.log", "w") as log:
            serving = subprocess.Popen([FERRY, "--url", f"ferry://127.0.0.1:{flaky.port}", "saga", "serve", "--db",
                                        self.path / "flaky.db", "--definitions", self.path / "patient.toml"],
                                       stdout=subprocess.PIPE, stderr=log, text=True)
        self.assertIn("answers come by", serving.stdout.readline(), (self.path / "flaky.log").read_text())
        self.assertEqual(flaky.broken, 3)
        serving.send_signal(signal.SIGTERM)
        self.assertEqual(serving.wait(timeout=30), 0)
        serving.stdout.close()
        flaky.listener.close()

    def test_doubts_lists_what_a_participant_holds(self):
        path = self.path / "participant.db"
        self.saga("doubts", self.db, status=1)
        db = sqlite3.connect(path)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE ferry_saga_barrier(saga, step, acted, undone, token, result, reason, changed_ms, held)")
        db.execute("INSERT INTO ferry_saga_barrier VALUES('s1', 'seat', 1, 0, 3, '{\"seat\": 7}', '', 1000, 1)")
        db.execute("INSERT INTO ferry_saga_barrier VALUES('s2', 'seat', 1, 0, 3, '', '', 1000, 2)")
        db.commit()
        rows = [json.loads(line) for line in self.saga("doubts", path, "--json").stdout.splitlines()]
        self.assertEqual([(row["saga"], row["step"], row["result"]) for row in rows], [("s1", "seat", {"seat": 7})])
        self.assertIn("seat", self.saga("doubts", path).stdout)
        db.close()

    def test_demo_tells_five_stories(self):
        self.assertIn("saga compensated", self.saga("demo").stdout)
        stories = [json.loads(line) for line in self.saga("demo", "--json").stdout.splitlines()]
        self.assertEqual([story["ok"] for story in stories], [True] * 5)

    def test_a_saga_is_started_shown_answered_signalled_and_ended(self):
        for _ in range(2):
            self.saga("start", self.db, "patient", "--id", "s1", "--input", '{"x": 1}')
        self.saga("start", self.db, "patient", "--id", "s1", "--input", '{"x": 2}', status=1)
        self.saga("start", self.db, "nobody", "--id", "s2", status=1)
        self.saga("start", self.db, "patient", "--id", "s2", "--input", "{", status=1)
        self.assertEqual(self.show("s1")["waits_for"], "an answer from ask")
        got = self.command("s1", "ask")
        self.assertEqual(got["reply_to"], self.queue)
        self.assertEqual(got["headers"]["ferry-saga-step"], "ask")
        self.answer("s1", "ask", payload='{"asked": true}')
        deadline = time.monotonic() + 30
        while self.show("s1")["waits_for"] != "the signal yes":
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.saga("signal", self.db, "s1", "yes", "--payload", '{"by": "ada"}', "--who", "ada")
        self.saga("signal", self.db, "s1", "yes", status=1)
        shown = self.until("s1", "parked")
        self.assertIn("step go: no answer", shown["reason"])
        self.assertIn("s1", self.saga("list", self.db, "--state", "parked").stdout)
        self.assertIn("s1", self.saga("list", self.db, "--in-doubt").stdout)
        self.saga("cancel", self.db, "s1", status=1)
        self.saga("retry", self.db, "s1", "--note", "again")
        self.until("s1", "parked")
        self.saga("skip", self.db, "s1", "--result", '{"by hand": true}')
        shown = self.until("s1", "completed")
        self.assertEqual([line["what"] for line in shown["audit"]], ["signal", "parked", "retry", "parked", "skip"])
        self.assertEqual(shown["steps"][0]["result"], {"asked": True})
        text = self.saga("show", self.db, "s1").stdout
        self.assertIn("completed", text)
        self.saga("show", self.db, "none", status=1)

    def test_a_saga_is_cancelled_and_its_step_undone(self):
        self.saga("start", self.db, "patient", "--id", "c1")
        self.saga("cancel", self.db, "c1", "--note", "customer called")
        self.assertEqual(self.show("c1")["state"], "aborting")
        self.answer("c1", "ask")
        self.until("c1", "compensating")
        self.answer("c1", "ask", op="undo")
        self.assertEqual(self.until("c1", "compensated")["reason"], "customer called")

    def test_a_parked_saga_is_forced(self):
        self.saga("start", self.db, "patient", "--id", "f1")
        self.saga("force", self.db, "f1", "--as", "completed", status=1)
        self.answer("f1", "ask")
        self.saga("signal", self.db, "f1", "yes")
        self.until("f1", "parked")
        self.saga("force", self.db, "f1", "--as", "running", status=2)
        self.saga("force", self.db, "f1", "--as", "compensated", "--note", "settled by post")
        self.assertTrue(self.until("f1", "compensated")["forced"])

    def test_definitions_and_lists_as_json(self):
        rows = [json.loads(line) for line in self.saga("definitions", self.db, "--json").stdout.splitlines()]
        self.assertEqual([row["name"] for row in rows], ["patient"])
        self.saga("start", self.db, "patient", "--id", "l1")
        rows = [json.loads(line) for line in self.saga("list", self.db, "--open", "--json").stdout.splitlines()]
        self.assertIn("l1", [row["id"] for row in rows])
        self.saga("list", self.path / "none.db", status=1)
        self.assertIn("can run sagas", self.saga("init", self.path / "new.db").stderr)

    def test_metrics_and_health_are_served(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for name in ("ferry_saga_member 1", "ferry_saga_open", "ferry_relay_leading", "ferry_consumer_healthy"):
            self.assertIn(name, text)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/health/ready", timeout=10) as answer:
            self.assertEqual(answer.status, 200)

    def test_serve_refuses_what_it_cannot_run(self):
        bad = self.path / "changed"
        bad.mkdir()
        (bad / "patient.toml").write_text(PATIENT.replace('"200ms"', '"300ms"'))
        told = self.saga("serve", "--db", self.db, "--definitions", bad, status=1).stderr
        self.assertIn("give it a new version", told)
        self.saga("serve", "--db", self.db, "--definitions", self.path / "nothing", status=1)


if __name__ == "__main__":
    unittest.main()
