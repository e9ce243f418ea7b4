#!/usr/bin/env python3
"""Steps that are HTTP calls, with the real programs: what servers see, and orchestrators that are killed in between."""
import collections
import http.server
import json
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from programs import FERRY, Broker, code_of, ferry, orchestrator, rows, show, until

DEFINITION = """
name = "pay"
version = 1
deadline = "10m"
result = {{ receipt = "/steps/charge/receipt" }}
[[step]]
name = "charge"
command = {{ http = "http://127.0.0.1:{port}/charge", method = "PUT" }}
compensation = {{ http = "http://127.0.0.1:{port}/charge", method = "DELETE" }}
timeout = "3s"
retry = {{ first = "20ms", cap = "1s", attempts = 100 }}
undo = {{ first = "20ms", cap = "1s" }}
input = {{ order = "/saga/id", how = "/input/how" }}
[[step]]
name = "ship"
command = {{ http = "http://127.0.0.1:{port}/ship" }}
pivot = true
timeout = "3s"
retry = {{ first = "20ms", cap = "1s", attempts = 100 }}
input = {{ receipt = "/steps/charge/receipt", how = "/input/how" }}
"""


class Shop(http.server.ThreadingHTTPServer):
    """Remembers keys, as a server should; counts effects and calls."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.answers, self.calls = threading.Lock(), {}, []
        self.effects, self.undone = collections.Counter(), collections.Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def keys(self):
        with self.lock:
            return collections.Counter(call["key"] for call in self.calls)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body=None, **headers):
        payload = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # whoever called was killed

    def handle_call(self):
        shop, key = self.server, self.headers["Idempotency-Key"]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with shop.lock:
            times = sum(1 for call in shop.calls if call["key"] == key)
            shop.calls.append({"key": key, "method": self.command, "path": self.path, "body": body,
                               "headers": dict(self.headers), "at": time.monotonic()})
            how = body.get("how", "")
            if how == "busy first" and times == 0 and self.command == "PUT":
                return self.say(429, {"error": "slow down"}, Retry_After="1")
            if how == "no money" and self.command == "PUT":
                return self.say(422, {"detail": "no money"})
            if how == "no courier" and self.path == "/ship":
                return self.say(410, {"detail": "no courier"})
            if key not in shop.answers:
                (shop.undone if self.command == "DELETE" else shop.effects)[key] += 1
                shop.answers[key] = {"receipt": len(shop.answers)}
        # The effect is there; whether anybody hears of it is another question.
        shop.gate.wait()
        if how == "broken first" and times == 0 and self.command == "PUT":
            self.close_connection = True
            return None
        return self.say(200, shop.answers[key])

    do_POST = do_PUT = do_DELETE = handle_call


class SagaHttp(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="ferry-saga-http-")
        self.addCleanup(self.directory.cleanup)
        self.folder = pathlib.Path(self.directory.name)
        self.shop = Shop()
        self.addCleanup(self.shop.server_close)
        self.addCleanup(self.shop.shutdown)
        self.definitions = self.folder / "definitions"
        self.definitions.mkdir()
        (self.definitions / "pay.toml").write_text(DEFINITION.format(port=self.shop.port))
        self.broker = Broker(self.folder)
        self.addCleanup(self.broker.stop)
        self.db = self.folder / "saga.db"

    def serve(self, name="one", *more):
        serving = orchestrator(self.folder, self.broker.url, self.definitions, "--lease", "1s", *more, name=name)
        self.assertIn("answers come by", serving.start_and_read(), serving.said())
        self.addCleanup(serving.stop)
        return serving

    def begin(self, saga, how=""):
        ferry("saga", "start", self.db, "pay", "--id", saga, "--input", json.dumps({"how": how}))

    def comes_to(self, saga, state):
        return until(lambda: (lambda shown: shown if shown["state"] == state else None)(show(self.db, saga)),
                     f"{saga} is {state}: {show(self.db, saga)}")

    # G90
    def test_a_saga_of_http_calls_runs_fails_and_is_undone(self):
        self.serve()
        self.begin("good")
        shown = self.comes_to("good", "completed")
        self.assertEqual(shown["result"], {"receipt": 0})
        charge, ship = self.shop.calls
        self.assertEqual((charge["method"], charge["path"], charge["key"]), ("PUT", "/charge", "good/charge/act"))
        self.assertEqual(charge["body"], {"order": "good", "how": ""})
        self.assertEqual(charge["headers"]["traceparent"].split("-")[1], shown["trace"])
        self.assertEqual(ship["body"], {"receipt": 0, "how": ""})
        self.begin("poor", "no money")
        self.assertEqual(self.comes_to("poor", "compensated")["reason"], "step charge: HTTP 422: no money")
        self.begin("far", "no courier")
        self.assertEqual(self.comes_to("far", "compensated")["reason"], "step ship: HTTP 410: no courier")
        self.assertEqual(self.shop.undone, {"far/charge/undo": 1})

    # G90, G91
    def test_what_a_server_asks_to_wait_for_is_waited_for_and_a_lost_answer_is_asked_for_again(self):
        self.serve()
        self.begin("slow", "busy first")
        self.comes_to("slow", "completed")
        first, second = [call["at"] for call in self.shop.calls if call["key"] == "slow/charge/act"]
        self.assertGreaterEqual(second - first, 0.99)
        self.begin("lost", "broken first")
        shown = self.comes_to("lost", "completed")
        self.assertTrue(shown["steps"][0]["uncertain"])
        self.assertEqual(self.shop.keys()["lost/charge/act"], 2)
        self.assertEqual(self.shop.effects["lost/charge/act"], 1)

    # G91
    def test_an_orchestrator_killed_between_a_call_and_its_record_calls_again_with_the_same_key(self):
        serving = self.serve()
        self.shop.gate.clear()
        self.begin("s1")
        until(lambda: self.shop.effects["s1/charge/act"] == 1, "the call has had its effect")
        serving.kill()
        self.assertEqual(show(self.db, "s1")["steps"][0]["state"], "running")
        self.shop.gate.set()
        self.serve("two")
        self.comes_to("s1", "completed")
        self.assertGreaterEqual(self.shop.keys()["s1/charge/act"], 2)
        self.assertEqual(self.shop.effects, {"s1/charge/act": 1, "s1/ship/act": 1})

    # G91
    def test_orchestrators_killed_again_and_again_make_each_effect_once(self):
        dice = random.Random(6)
        serving = self.serve()
        for round_ in range(8):
            for number in range(5):
                self.begin(f"s{round_}-{number}", dice.choice(["", "no money", "no courier", "broken first"]))
            time.sleep(dice.random() * 0.2)  # somewhere in the middle
            serving.kill()
            serving = self.serve(f"again{round_}")
        until(lambda: not rows(self.db, "SELECT 1 FROM ferry_saga WHERE ended_ms IS NULL LIMIT 1"), "all have ended")
        states = dict(rows(self.db, "SELECT state, count(*) FROM ferry_saga GROUP BY state"))
        self.assertEqual(sum(states.values()), 40)
        self.assertEqual(set(states), {4, 5})
        for saga, state in rows(self.db, "SELECT id, state FROM ferry_saga"):
            charged = self.shop.effects[f"{saga}/charge/act"] - self.shop.undone[f"{saga}/charge/undo"]
            self.assertEqual((charged, self.shop.effects[f"{saga}/ship/act"]), (1, 1) if state == 4 else (0, 0), saga)
        self.assertEqual(max(self.shop.effects.values()), 1)
        self.assertEqual(rows(self.db, "SELECT count(*) FROM ferry_saga_call"), [(0,)])

    # G92
    def test_only_this_machine_is_called_unless_told(self):
        (self.definitions / "pay.toml").write_text(
            DEFINITION.format(port=80).replace("127.0.0.1", "shop.example"))
        told = subprocess.run([FERRY, "--url", self.broker.url, "saga", "serve", "--db", self.db, "--definitions",
                               self.definitions], capture_output=True, text=True, timeout=60)
        self.assertEqual(told.returncode, 1)
        self.assertIn("steps.charge: calls to shop.example:80 are not allowed: ferry saga serve --http-allow shop.example",
                      told.stderr)
        self.serve("told", "--http-allow", "shop.example", "--http-allow", "other.example:8080")

    def test_the_example_of_the_page_works(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        program = self.folder / "payment.py"
        program.write_text(code_of("docs/saga.md", "Steps by HTTP", "python"))
        (self.definitions / "pay.toml").write_text(code_of("docs/saga.md", "Steps by HTTP", "toml").replace("8080", port))
        payment = subprocess.Popen([sys.executable, program, port], cwd=self.folder, stderr=subprocess.DEVNULL)
        self.addCleanup(payment.wait)
        self.addCleanup(payment.kill)
        self.serve()
        ferry("saga", "start", self.db, "payment", "--id", "order-1", "--input", '{"cents": 990}')
        self.assertEqual(self.comes_to("order-1", "completed")["steps"][0]["result"], {"charge": 1})
        ferry("saga", "start", self.db, "payment", "--id", "order-2", "--input", '{"cents": -1}')
        self.assertIn("HTTP 422", self.comes_to("order-2", "compensated")["reason"])
        self.assertEqual(rows(self.folder / "payment.db", "SELECT order_id, cents FROM charge"), [("order-1", 990)])


if __name__ == "__main__":
    unittest.main()
