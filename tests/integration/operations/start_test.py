#!/usr/bin/env python3
"""G20: a start that cannot be: one sentence, an exit status, nothing changed on disk. And starts that can be."""

import os
import pathlib
import socket
import sys
import tempfile
import unittest

from ferryd import Ferryd, contents, run_to_end

PROGRAM = sys.argv.pop(1)
LOOPBACK = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]


class StartTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.data = self.folder / "data"

    def refused(self, status, words, *arguments):
        """Starts ferryd, which must leave with `status` and one line that has all `words`."""
        before = contents(self.folder)
        got, out, err = run_to_end(PROGRAM, *arguments)
        self.assertEqual(got, status, err)
        self.assertEqual(out, "", "nothing is ready")
        sentences = [line for line in err.splitlines() if line.startswith("ferryd: ")]
        self.assertEqual(len(sentences), 1, err)
        for word in words:
            self.assertIn(word, sentences[0])
        self.assertEqual(contents(self.folder), before, "something changed on disk")

    def config(self, text):
        path = self.folder / "ferryd.toml"
        path.write_text(text)
        return str(path)

    def test_whoever_read_the_ready_line_is_told_ready_by_http_too(self):
        for _ in range(10):
            with Ferryd(PROGRAM, self.data) as broker:
                self.assertEqual(broker.get("/health/ready")[0], 200)
                self.assertEqual(broker.stop(), 0)

    def test_an_unknown_key_is_refused_with_file_line_and_key(self):
        path = self.config("[log]\nsegment_size = \"64MiB\"\n")
        self.refused(2, [f"{path}, line 2", "log.segment_size", "log.segment_bytes"],
                     "--config", path, "--data", str(self.data))

    def test_a_value_out_of_range_is_refused_with_the_range(self):
        path = self.config("[limits]\nconnections = 0\n")
        self.refused(2, ["limits.connections", "1 to 1000000"], "--config", path, "--data", str(self.data))

    def test_an_unknown_flag_and_a_missing_file_are_refused(self):
        self.refused(2, ["--no-such-flag"], "--no-such-flag", "--data", str(self.data))
        self.refused(2, ["/no/such/file.toml"], "--config", "/no/such/file.toml", "--data", str(self.data))

    def test_listening_to_other_machines_needs_a_word(self):
        self.refused(2, ["listen.address", "--allow-insecure"], "--data", str(self.data), "--listen", "0.0.0.0:0")
        self.refused(2, ["http.address", "--allow-insecure"], "--data", str(self.data), "--http", "0.0.0.0:0")

    def test_a_port_in_use_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.refused(1, [str(port), "in use"], "--data", str(self.data),
                         "--listen", f"127.0.0.1:{port}", "--http", "127.0.0.1:0")
            self.refused(1, [str(port), "in use"], "--data", str(self.data),
                         "--listen", "127.0.0.1:0", "--http", f"127.0.0.1:{port}")

    def test_a_second_broker_on_the_directory_is_refused_and_the_first_goes_on(self):
        with Ferryd(PROGRAM, self.data) as first:
            status, out, err = run_to_end(PROGRAM, "--data", str(self.data), *LOOPBACK)
            self.assertEqual((status, out), (1, ""))
            self.assertEqual(len(err.strip().splitlines()), 1, err)
            self.assertIn(str(self.data), err)
            self.assertEqual(first.get("/health/ready")[0], 200)
            self.assertEqual(first.stop(), 0)

    @unittest.skipIf(os.geteuid() == 0 and not os.path.exists("/proc/self"), "needs /proc")
    def test_a_directory_that_cannot_be_written_is_refused(self):
        # Not by permissions, which mean nothing to root: below a file there can be no directory, and /proc
        # refuses files to everybody.
        (self.folder / "file").write_text("")
        self.refused(1, [str(self.folder / "file")], "--data", str(self.folder / "file" / "data"), *LOOPBACK)
        self.refused(1, ["/proc/self"], "--data", "/proc/self", *LOOPBACK)

    def test_a_foreign_file_for_a_data_directory_is_refused(self):
        (self.folder / "file").write_text("not ours")
        self.refused(1, [str(self.folder / "file")], "--data", str(self.folder / "file"), *LOOPBACK)

    def test_version_help_and_print_config_touch_nothing(self):
        for flag in ("--version", "--help", "--print-config"):
            status, out, _ = run_to_end(PROGRAM, flag, "--data", str(self.data))
            self.assertEqual(status, 0)
            self.assertGreater(len(out), 5)
        self.assertFalse(self.data.exists())

    def test_the_ready_line_is_the_only_line_and_says_where(self):
        with Ferryd(PROGRAM, self.data) as broker:
            self.assertRegex(broker.ready, r"^ferryd ready: listening on 127\.0\.0\.1:\d+, metrics http://127\.0\.0\.1:"
                                           r"\d+/metrics, data .*, recovered 0 queues, 0 messages in \d+ ms\n$")
            self.assertEqual(broker.get("/health/live"), (200, "ok\n"))
            self.assertEqual(broker.get("/health/ready"), (200, "ok\n"))
            process = broker.process
            process.terminate()
            self.assertEqual(process.stdout.read(), "")
            self.assertEqual(process.wait(timeout=60), 0)

    def test_what_was_started_once_starts_again(self):
        for _ in range(2):
            with Ferryd(PROGRAM, self.data) as broker:
                self.assertEqual(broker.stop(), 0)


if __name__ == "__main__":
    unittest.main()
