"""Walks every command of `ferry` and looks at what it prints, where, and how it exits."""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
from broker import Broker, wait_until  # noqa: E402

FERRY = os.environ["FERRY"]
DONE, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3


def run(*arguments, url=None, stdin="", timeout=60):
    environment = {k: v for k, v in os.environ.items() if k != "FERRY_URL"}
    if url:
        environment["FERRY_URL"] = url
    return subprocess.run([FERRY, *arguments], input=stdin.encode() if isinstance(stdin, str) else stdin,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, timeout=timeout)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(os.environ["FERRYD"]).start()
        cls.scratch = tempfile.mkdtemp(prefix="ferry-cli-")

    @classmethod
    def tearDownClass(cls):
        cls.broker.end()
        shutil.rmtree(cls.scratch, ignore_errors=True)

    def ferry(self, *arguments, status=DONE, stdin=""):
        done = run(*arguments, url=self.broker.url, stdin=stdin)
        self.assertEqual(done.returncode, status,
                         f"ferry {' '.join(arguments)}\n{done.stdout.decode()}\n{done.stderr.decode()}")
        if status != DONE:
            self.assertTrue(done.stderr, "a failure has a sentence on stderr")
        return done.stdout.decode(errors="surrogateescape")

    def json(self, *arguments, **options):
        return [json.loads(line) for line in self.ferry(*arguments, "--json", **options).splitlines()]

    def queue(self, *messages):
        name = self.id().rsplit(".", 1)[1][:60]
        self.ferry("queue", "declare", name)
        if messages:
            self.ferry("publish", name, stdin="".join(m + "\n" for m in messages))
        return name


class Usage(unittest.TestCase):
    def test_help_is_everywhere_and_has_examples(self):
        commands = ["", "ping", "publish", "consume", "queue", "exchange", "top", "bench", "backup", "restore",
                    "log", "completion", "queue declare", "queue list", "queue show", "queue bind", "queue unbind",
                    "queue peek", "queue purge", "queue delete", "exchange declare", "exchange list",
                    "exchange show", "exchange bind", "exchange unbind", "exchange delete", "log verify", "log dump",
                    "backup verify", "tx", "forward", "inbox", "inbox init", "inbox status", "inbox list", "inbox show", "inbox purge",
                    "inbox accept", "inbox verify"]
        for command in commands:
            done = run(*command.split(), "--help")
            self.assertEqual(done.returncode, DONE, command)
            self.assertIn(b"Examples:", done.stdout, command)

    def test_mistakes_on_the_command_line_are_status_2(self):
        for arguments in ([], ["fly"], ["queue"], ["publish"], ["consume"], ["publish", "q", "x", "--colour"],
                          ["consume", "q", "--format", "xml"], ["consume", "q", "--count", "0"],
                          ["ping", "--wait", "soon"], ["bench", "--mode", "fly"], ["bench", "--size", "0"],
                          ["publish", "q", "x", "--header", "novalue"], ["backup"], ["completion", "tcsh"],
                          ["ping", "--url", "nonsense://x"], ["inbox"], ["inbox", "init"],
                          ["inbox", "purge", "x.db", "c"], ["inbox", "purge", "x.db", "c", "--older-than", "soon"]):
            done = run(*arguments)
            self.assertEqual(done.returncode, USAGE, arguments)
            self.assertEqual(done.stdout, b"", arguments)
            self.assertTrue(done.stderr, arguments)

    def test_nobody_there_is_status_3(self):
        for arguments in (["ping"], ["publish", "q", "x"], ["consume", "q"], ["queue", "list"], ["top", "--once"],
                          ["exchange", "list"], ["bench", "--count", "1"]):
            done = run("--url", "ferry://127.0.0.1:1", *arguments)
            self.assertEqual(done.returncode, UNREACHABLE, arguments)

    def test_kafka_is_refused_with_a_reason(self):
        for arguments in (["ping"], ["queue", "list"], ["top", "--once"], ["exchange", "list"]):
            done = run("--url", "kafka://localhost:9092", *arguments)
            self.assertEqual(done.returncode, REFUSED)
            self.assertIn(b"NOT_SUPPORTED", done.stderr)
        done = run("--url", "kafka://localhost:9092", "publish", "q", "x", "--priority", "3")
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn(b"priorities", done.stderr)

    def test_completion_scripts_are_valid(self):
        for shell in ("bash", "zsh", "fish"):
            done = run("completion", shell)
            self.assertEqual(done.returncode, DONE)
            self.assertIn(b"publish", done.stdout)
            if shell == "bash" or shutil.which(shell):
                check = subprocess.run([shell, "-n"], input=done.stdout, stderr=subprocess.PIPE)
                self.assertEqual(check.returncode, 0, check.stderr)

    def test_bash_completes_commands_and_options(self):
        script = run("completion", "bash").stdout.decode()

        def complete(*words):
            line = " ".join(f"'{w}'" for w in words)
            ask = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _ferry; echo ${{COMPREPLY[@]}}"
            return subprocess.run(["bash", "-c", ask], stdout=subprocess.PIPE).stdout.decode().split()
        self.assertIn("publish", complete("ferry", "pub"))
        self.assertEqual(complete("ferry", "queue", "decl"), ["declare"])
        self.assertIn("--exclusive", complete("ferry", "queue", "declare", "--e"))
        self.assertIn("--json", complete("ferry", "queue", "list", "--"))


class Talking(Case):
    def test_ping_tells_who_answers(self):
        self.assertIn("answers in", self.ferry("ping"))
        answer = self.json("ping")[0]
        self.assertGreater(answer["round_trip_ms"], 0)

    def test_ping_waits_for_a_broker_that_is_still_starting(self):
        other = Broker(os.environ["FERRYD"])
        self.addCleanup(other.end)
        other.start()
        other.kill()
        waiting = subprocess.Popen([FERRY, "--url", other.url, "ping", "--wait", "30s"], stdout=subprocess.PIPE)
        other.start()
        self.assertEqual(waiting.wait(timeout=30), DONE)
        waiting.stdout.close()

    def test_one_message_goes_through(self):
        queue = self.queue()
        self.assertEqual(self.ferry("publish", queue, "hello"), "")
        self.assertEqual(self.ferry("consume", queue), "hello\n")
        self.assertEqual(self.ferry("consume", queue), "")

    def test_lines_of_stdin_are_messages_in_order(self):
        queue = self.queue()
        lines = [f"line {i}" for i in range(20_000)]
        result = self.json("publish", queue, stdin="\n".join(lines) + "\n")[0]
        self.assertEqual((result["published"], result["confirmed"], result["refused"]), (20_000, 20_000, 0))
        self.assertEqual(self.ferry("consume", queue).splitlines(), lines)

    def test_a_file_is_one_message_byte_for_byte(self):
        queue = self.queue()
        path = os.path.join(self.scratch, "payload")
        payload = os.urandom(100_000)
        with open(path, "wb") as file:
            file.write(payload)
        self.ferry("publish", queue, "--file", path)
        done = run("consume", queue, url=self.broker.url)
        self.assertEqual(done.stdout, payload + b"\n")
        self.ferry("publish", queue, "--file", path + "-not-there", status=REFUSED)

    def test_properties_are_sent_and_shown(self):
        queue = self.queue()
        self.ferry("publish", queue, "hi", "--header", "n=7", "--header", "t=true", "--header", 's="8"', "--key", "k",
                   "--content-type", "text/plain", "--id", "m-1")
        got = self.json("consume", queue)[0]
        self.assertEqual(got["headers"], {"n": 7, "t": True, "s": "8"})
        self.assertEqual((got["ordering_key"], got["content_type"], got["id"], got["payload"], got["attempt"]),
                         ("k", "text/plain", "m-1", "hi", 1))

    def test_count_takes_no_more_and_says_when_fewer_came(self):
        queue = self.queue("a", "b", "c")
        self.assertEqual(self.ferry("consume", queue, "--count", "2"), "a\nb\n")
        self.assertEqual(self.ferry("consume", queue, "--count", "2", status=REFUSED), "c\n")
        self.ferry("consume", queue, "--count", "1", "--timeout", "200ms", status=REFUSED)

    def test_a_refused_message_becomes_a_dead_letter_and_goes_back(self):
        name = "refused"
        self.ferry("queue", "declare", name, "--dead-letter", name + ".dead", "--max-deliveries", "2")
        self.ferry("publish", name, "a")
        self.ferry("consume", name, "--count", "1", "--reject")
        wait_until(lambda: self.json("queue", "show", name)[0]["parked"] == 1, "no queue takes it")
        self.ferry("queue", "declare", name + ".dead")
        wait_until(lambda: self.json("queue", "show", name + ".dead")[0]["ready"] == 1, "it is there")
        letter = self.json("queue", "peek", name + ".dead")[0]
        self.assertEqual(letter["headers"]["ferry-death-reason"], "rejected")
        self.assertEqual(self.json("queue", "redrive", name + ".dead", "--position", str(letter["position"])),
                         [{"moved": 1}])
        for _ in range(2):
            self.assertEqual(self.ferry("consume", name, "--count", "1", "--timeout", "5s", "--no-ack"), "a\n")
        wait_until(lambda: self.json("queue", "show", name + ".dead")[0]["ready"] == 1, "it failed twice")
        self.ferry("queue", "drop", name + ".dead", "1", status=REFUSED)
        position = self.json("queue", "peek", name + ".dead")[0]["position"]
        self.ferry("queue", "drop", name + ".dead", str(position))
        self.assertEqual(self.json("queue", "show", name + ".dead")[0]["ready"], 0)

    def test_settings_out_of_range_are_refused_with_the_range(self):
        self.ferry("queue", "declare", "bad", "--retry", "fixed", status=REFUSED)
        self.ferry("queue", "declare", "bad", "--retry", "sometimes", status=USAGE)
        self.ferry("queue", "declare", "bad", "--max-deliveries", "1000001", status=REFUSED)
        self.ferry("queue", "declare", "good", "--retry", "fixed", "--retry-delay", "2s")
        self.assertEqual(self.json("queue", "show", "good")[0]["retry_delay_ms"], 2000)

    def test_limits_priorities_and_ids_are_declared_and_shown(self):
        self.ferry("queue", "declare", "limited", "--max-length", "10", "--max-bytes", "1MiB", "--overflow",
                   "reject_publish", "--priorities", "--dedupe-window", "10m", "--dedupe-max-ids", "500")
        shown = self.json("queue", "show", "limited")[0]
        self.assertEqual({key: shown[key] for key in ("max_length", "max_bytes", "overflow", "priorities",
                                                      "dedupe_window_ms", "dedupe_max_ids")},
                         {"max_length": 10, "max_bytes": 1 << 20, "overflow": "reject_publish", "priorities": True,
                          "dedupe_window_ms": 600000, "dedupe_max_ids": 500})
        self.ferry("publish", "limited", "x", "--id", "one", "--priority", "7")
        again = self.json("publish", "limited", "x", "--id", "one")[0]
        self.assertEqual((again["confirmed"], again["repeated"]), (1, 1))
        shown = self.json("queue", "show", "limited")[0]
        self.assertEqual((shown["ready"], shown["ids"], shown["repeated"]), (1, 1, 1))
        self.ferry("queue", "declare", "wrong", "--overflow", "reject_publish", status=REFUSED)
        self.ferry("queue", "declare", "wrong", "--max-length", "5", "--overflow", "sometimes", status=USAGE)

    def test_why_names_the_key_and_what_has_it_and_says_where_it_looked(self):
        name = "why-ordered"
        self.ferry("queue", "declare", name, "--ordered")
        for text, key in (("one", "a"), ("two", "a"), ("three", "b"), ("four", "b")):
            self.ferry("publish", name, text, "--id", text, "--key", key)
        self.assertEqual(self.ferry("consume", name, "--count", "1", "--nack-delay", "1h"), "one\n")
        facts = {fact["fact"]: fact["details"] for fact in self.json("why", name, "two")}
        self.assertEqual(facts["waits_for_key"]["key"], "a")
        self.assertGreater(facts["holder_is_waiting_for_retry"]["in_ms"], 3_500_000)
        self.assertIn("waits for its key 'a'", self.ferry("why", name, "two"))
        # By its position it is the same.
        position = str(facts["is_ready"]["position"])
        self.assertIn("waits for its key 'a'", self.ferry("why", name, position))
        # What was not looked at is no reason to say that it is not there.
        self.assertIn("is_ready", self.ferry("why", name, "four", "--json"))
        missed = self.json("why", name, "four", "--search", "1", status=REFUSED)
        self.assertEqual(missed, [{"fact": "id_not_found", "details": {"looked_at": 2, "all": False}}])
        done = run("why", name, "four", "--search", "1", url=self.broker.url)
        self.assertIn("1 of 3 ready", done.stderr.decode())
        gone = self.json("why", name, "five", status=REFUSED)
        self.assertEqual(gone, [{"fact": "id_not_found", "details": {"looked_at": 4, "all": True}}])
        self.ferry("why", name, "four", "--search", "0", status=USAGE)

    def test_a_transaction_takes_and_publishes_or_changes_nothing(self):
        jobs = self.queue("one", "two")
        self.ferry("queue", "declare", "tx-done")
        steps = [{"take": jobs, "count": 2}, {"publish": {"routing_key": "tx-done", "payload": "both",
                                                          "headers": {"n": 2}}}]
        lines = "".join(json.dumps(step) + "\n" for step in steps)
        self.assertEqual(self.ferry("tx", stdin=lines), "one\ntwo\n")
        self.assertEqual(self.json("queue", "show", jobs)[0]["ready"], 0)
        self.assertEqual(self.json("consume", "tx-done")[0]["headers"], {"n": 2})
        self.ferry("tx", stdin=lines, status=REFUSED)  # nothing left to take
        self.assertEqual(self.ferry("consume", "tx-done"), "")
        self.ferry("tx", stdin='{"publish": {"routing_key": "nobody", "payload": "x"}}\n', status=REFUSED)
        self.ferry("tx", "--optional-route", stdin='{"publish": {"routing_key": "nobody", "payload": "x"}}\n')
        for wrong in ("", "x\n", '{"publish": {"payloud": "x"}}\n', '{"take": 3}\n', '{"take": "q", "count": 0}\n'):
            self.ferry("tx", stdin=wrong, status=USAGE)

    def test_forward_moves_everything_in_transactions(self):
        source = self.queue(*[str(i) for i in range(250)])
        self.ferry("queue", "declare", "forwarded")
        self.assertEqual(self.json("forward", source, "forwarded", "--count", "50"), [{"forwarded": 50}])
        self.assertEqual(self.json("forward", source, "forwarded"), [{"forwarded": 200}])
        self.assertEqual(self.ferry("consume", "forwarded").split(), [str(i) for i in range(250)])
        self.ferry("forward", source, status=USAGE)

    def test_no_ack_leaves_messages_in_the_queue(self):
        queue = self.queue("a", "b")
        self.assertEqual(self.ferry("consume", queue, "--no-ack"), "a\nb\n")
        wait_until(lambda: self.json("queue", "show", queue)[0]["ready"] == 2, "both are back")
        self.assertEqual([m["attempt"] for m in self.json("consume", queue)], [2, 2])

    def test_follow_prints_what_comes_later_and_ends_cleanly(self):
        queue = self.queue("early")
        follower = subprocess.Popen([FERRY, "--url", self.broker.url, "consume", queue, "--follow"],
                                    stdout=subprocess.PIPE)
        self.addCleanup(follower.stdout.close)
        self.assertEqual(follower.stdout.readline(), b"early\n")
        self.ferry("publish", queue, "late")
        self.assertEqual(follower.stdout.readline(), b"late\n")
        follower.send_signal(signal.SIGINT)
        self.assertEqual(follower.wait(timeout=10), DONE)
        shown = self.json("queue", "show", queue)[0]
        self.assertEqual((shown["ready"], shown["unacked"], shown["acked"]), (0, 0, 2))

    def test_follow_with_a_count_waits_for_all(self):
        queue = self.queue("1")
        follower = subprocess.Popen([FERRY, "--url", self.broker.url, "consume", queue, "--follow", "--count", "3"],
                                    stdout=subprocess.PIPE)
        self.addCleanup(follower.stdout.close)
        self.ferry("publish", queue, stdin="2\n3\n4\n")
        self.assertEqual(follower.wait(timeout=10), DONE)
        self.assertEqual(follower.stdout.read(), b"1\n2\n3\n")
        wait_until(lambda: self.json("queue", "show", queue)[0]["ready"] == 1, "the fourth is ready")
        self.assertEqual(self.json("consume", queue)[0]["attempt"], 1, "the fourth was never handed out")

    def test_an_output_that_cannot_be_written_keeps_the_messages(self):
        queue = self.queue("precious")
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([FERRY, "--url", self.broker.url, "consume", queue], stdout=full,
                                  stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, REFUSED)
        wait_until(lambda: self.json("queue", "show", queue)[0]["ready"] == 1, "it is back")

    def test_what_does_not_exist_is_status_1(self):
        self.ferry("consume", "not-there", status=REFUSED)
        self.ferry("queue", "show", "not-there", status=REFUSED)
        self.ferry("queue", "purge", "not-there", status=REFUSED)
        self.ferry("queue", "delete", "not-there", status=REFUSED)
        self.ferry("exchange", "show", "not-there", status=REFUSED)
        # A queue that is named must be there; an exchange may have nobody bound, unless --mandatory says otherwise.
        self.ferry("publish", "not-there", "x", status=REFUSED)
        self.ferry("publish", "k", "x", "--exchange", "amq.fanout")
        self.ferry("publish", "k", "x", "--exchange", "amq.fanout", "--mandatory", status=REFUSED)
        self.ferry("publish", "k", "x", "--exchange", "not-there", status=REFUSED)
        self.ferry("queue", "bind", "not-there", "--exchange", "not-there", status=REFUSED)


class Administering(Case):
    def test_queues(self):
        self.assertEqual(self.ferry("queue", "declare", "orders", "--lease", "10m"), "orders\n")
        self.ferry("queue", "declare", "orders", "--lease", "10m")
        self.ferry("queue", "declare", "orders", "--transient", status=REFUSED)
        self.ferry("queue", "declare", "bad name", status=REFUSED)
        self.assertTrue(self.ferry("queue", "declare").strip(), "a name is invented")
        self.ferry("publish", "orders", stdin="a\nb\nc\n")
        shown = self.json("queue", "show", "orders")[0]
        self.assertEqual((shown["ready"], shown["lease_ms"], shown["durable"]), (3, 600_000, True))
        self.assertIn("orders", self.ferry("queue", "list"))
        self.assertIn("ready", self.ferry("queue", "show", "orders"))
        self.assertEqual(self.ferry("queue", "peek", "orders", "--skip", "1", "--count", "1"), "b\n")
        self.assertEqual(self.json("queue", "show", "orders")[0]["ready"], 3)
        self.ferry("queue", "delete", "orders", "--if-empty", status=REFUSED)
        self.assertEqual(self.json("queue", "purge", "orders")[0]["messages"], 3)
        self.ferry("queue", "delete", "orders")
        self.ferry("queue", "show", "orders", status=REFUSED)

    def test_exchanges_and_bindings(self):
        self.ferry("exchange", "declare", "events", "--type", "topic")
        self.ferry("exchange", "declare", "events", "--type", "fanout", status=REFUSED)
        self.ferry("exchange", "declare", "copies", "--type", "fanout")
        self.ferry("queue", "declare", "paid")
        self.ferry("queue", "declare", "everything")
        self.ferry("queue", "bind", "paid", "--exchange", "events", "--key", "order.*.paid")
        self.ferry("exchange", "bind", "copies", "--exchange", "events", "--key", "#")
        self.ferry("queue", "bind", "everything", "--exchange", "copies")
        self.ferry("publish", "order.1.paid", "x", "--exchange", "events")
        self.ferry("publish", "order.1.sent", "y", "--exchange", "events")
        self.assertEqual(self.ferry("consume", "paid"), "x\n")
        self.assertEqual(self.ferry("consume", "everything"), "x\ny\n")
        bindings = self.json("exchange", "show", "events")[0]["bindings"]
        self.assertEqual({(b["destination"], b["kind"], b["key"]) for b in bindings},
                         {("paid", "queue", "order.*.paid"), ("copies", "exchange", "#")})
        self.assertIn("order.*.paid", self.ferry("exchange", "show", "events"))
        self.assertIn("events", [e["name"] for e in self.json("exchange", "list")])
        self.assertIn("events", self.ferry("exchange", "list"))
        self.ferry("exchange", "delete", "events", "--if-unused", status=REFUSED)
        self.ferry("queue", "unbind", "paid", "--exchange", "events", "--key", "order.*.paid")
        self.ferry("queue", "unbind", "paid", "--exchange", "events", "--key", "order.*.paid", status=REFUSED)
        self.ferry("exchange", "unbind", "copies", "--exchange", "events", "--key", "#")
        self.ferry("exchange", "delete", "events", "--if-unused")

    def test_headers_exchanges_match_arguments(self):
        self.ferry("exchange", "declare", "regions", "--type", "headers")
        self.ferry("queue", "declare", "eu")
        self.ferry("queue", "bind", "eu", "--exchange", "regions", "--argument", "x-match=all", "--argument",
                   "region=eu")
        self.ferry("publish", "--exchange", "regions", "--header", "region=eu", "--routing-key", "any",
                   stdin="mine\n")
        self.ferry("publish", "any", "other", "--exchange", "regions", "--header", "region=us")
        self.assertEqual(self.ferry("consume", "eu"), "mine\n")

    def test_top_shows_a_sample(self):
        queue = self.queue("a")
        sample = self.json("top", "--once", "--interval", "100ms")[0]
        self.assertIn("published", sample["per_second"])
        self.assertIn(queue, [q["name"] for q in sample["busiest"]])
        self.assertIn("published/s", self.ferry("top", "--once", "--interval", "100ms"))

    def test_bench_measures_in_every_mode(self):
        for mode, count in (("produce", "5000"), ("consume", "5000"), ("e2e", "5000"), ("ping", "50")):
            result = self.json("bench", "--mode", mode, "--count", count, "--window", "500", "--batch", "100")[0]
            self.assertGreater(result["msgs_s"], 0, mode)
            self.assertEqual(result["confirm_us"] is not None, mode != "consume", mode)
            self.assertEqual(result["deliver_us"] is not None, mode in ("e2e", "ping"), mode)
            self.assertGreater(result["fsyncs"], 0, mode)
            self.assertGreaterEqual(result["server_cpu_s"], 0, "the broker runs on this machine")
            for latency in (result["confirm_us"], result["deliver_us"]):
                if latency:
                    self.assertLessEqual(latency["p50"], latency["p99"])
                    self.assertLessEqual(latency["p99"], latency["max"])
        self.json("bench", "--mode", "e2e", "--count", "5000", "--queues", "20")
        self.assertNotIn("ferry-bench", self.ferry("queue", "list"), "it cleans up behind itself")


class Storage(Case):
    def test_verify_and_dump_read_a_running_directory(self):
        queue = self.queue("first", "second")
        self.ferry("consume", queue, "--count", "1")
        found = json.loads(run("log", "verify", self.broker.log_directory, "--json").stdout)
        self.assertIs(found["ok"], True, found)
        self.assertGreater(found["records"], 2)
        records = [json.loads(line) for line in
                   run("log", "dump", self.broker.log_directory, "--bodies", "--json").stdout.splitlines()]
        payloads = [m["payload"] for r in records if r["type"] == "publish" for m in r["messages"]]
        self.assertEqual(payloads[-2:], ["first", "second"])
        self.assertTrue({"queue_declare", "publish", "ack"} <= {r["type"] for r in records})
        self.assertFalse([r for r in records if r.get("unreadable")], "every record is as the page says")
        limited = run("log", "dump", self.broker.log_directory, "--from", str(records[1]["position"]), "--limit", "1",
                      "--json").stdout.splitlines()
        self.assertEqual([json.loads(line)["position"] for line in limited], [records[1]["position"]])

    def test_verify_names_the_place_of_damage(self):
        broker = Broker(os.environ["FERRYD"]).start()
        self.addCleanup(broker.end)
        run("queue", "declare", "q", url=broker.url)
        for _ in range(5):
            run("publish", "q", "x" * 2000, url=broker.url)
        self.assertEqual(broker.stop(), 0)
        self.assertEqual(run("log", "verify", broker.log_directory).returncode, DONE)
        segment = sorted(glob.glob(os.path.join(broker.log_directory, "0*.seg")))[0]
        with open(segment, "r+b") as file:
            where = 4096 + file.read().index(b"x" * 500) - 4096
            file.seek(where)
            file.write(b"y")
        done = run("log", "verify", broker.log_directory)
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn(os.path.basename(segment).encode(), done.stderr)
        self.assertIn(b"damage", done.stderr)
        found = json.loads(run("log", "verify", broker.log_directory, "--json").stdout)
        damage = [f for f in found["findings"] if f["severity"] == "damage"][0]
        self.assertLessEqual(damage["offset"], where)
        self.assertGreater(damage["offset"] + 8192, where)

    def test_a_killed_brokers_directory_is_sound(self):
        broker = Broker(os.environ["FERRYD"]).start()
        self.addCleanup(broker.end)
        run("queue", "declare", "q", url=broker.url)
        run("publish", "q", url=broker.url, stdin="m\n" * 1000)
        broker.kill()
        self.assertEqual(run("log", "verify", broker.log_directory).returncode, DONE)

    def test_a_directory_without_a_log_is_refused(self):
        self.assertEqual(run("log", "verify", self.scratch).returncode, REFUSED)
        self.assertEqual(run("log", "verify", self.scratch + "/not-there").returncode, REFUSED)
        self.assertEqual(run("log", "dump", self.scratch).returncode, REFUSED)

    def test_a_backup_is_verified_restored_and_opens(self):
        queue = self.queue(*[f"m{i}" for i in range(100)])
        backup = os.path.join(self.scratch, "backup")
        taken = self.json("backup", backup)[0]
        self.assertGreater(taken["files"], 0)
        self.ferry("backup", backup, status=REFUSED)
        self.assertIn("as the MANIFEST says", run("backup", "verify", backup).stdout.decode())
        self.assertEqual(run("log", "verify", backup).returncode, DONE)
        self.ferry("publish", queue, "after the backup")

        restored = Broker(os.environ["FERRYD"])
        self.addCleanup(restored.end)
        os.makedirs(restored.log_directory)
        self.assertEqual(run("restore", backup, restored.log_directory).returncode, DONE)
        self.assertEqual(run("restore", backup, restored.log_directory).returncode, REFUSED, "not empty")
        restored.start()
        got = run("consume", queue, url=restored.url).stdout.decode().splitlines()
        self.assertEqual(got, [f"m{i}" for i in range(100)])

        segment = sorted(glob.glob(os.path.join(backup, "0*.seg")))[0]
        with open(segment, "r+b") as file:
            file.seek(5000)
            byte = file.read(1)
            file.seek(5000)
            file.write(bytes([byte[0] ^ 1]))
        damaged = run("backup", "verify", backup)
        self.assertEqual(damaged.returncode, REFUSED)
        self.assertIn(os.path.basename(segment).encode(), damaged.stderr)
        target = os.path.join(self.scratch, "restored-from-damage")
        self.assertEqual(run("restore", backup, target).returncode, REFUSED)
        self.assertEqual(os.listdir(target), [], "nothing is left behind")

    def test_a_directory_without_a_manifest_is_no_backup(self):
        self.assertEqual(run("backup", "verify", self.scratch).returncode, REFUSED)
        self.assertEqual(run("restore", self.scratch, os.path.join(self.scratch, "x")).returncode, REFUSED)


if __name__ == "__main__":
    unittest.main(verbosity=2)
