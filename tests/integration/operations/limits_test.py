#!/usr/bin/env python3
"""F16, F17: more connections than there are descriptors. Those that are served stay served, the log goes on, nobody hangs."""

import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import unittest

from ferryd import Ferryd

PROGRAM, CLIENT = sys.argv.pop(1), sys.argv.pop(1)
DESCRIPTORS = 110


class LimitsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = pathlib.Path(folder.name) / "data"

    def ferry(self, broker, *arguments, text=None):
        return subprocess.run([CLIENT, "--url", f"ferry://{broker.address}", *arguments],
                              input=text, capture_output=True, text=True, timeout=100)

    def start(self, *arguments):
        # The hard limit too: ferryd raises the soft one.
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertGreater(before[1], DESCRIPTORS)
        broker = Ferryd(PROGRAM, self.data, *arguments,
                        wrapper=["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"])
        self.addCleanup(broker.__exit__)
        return broker

    def strangers(self, broker, count):
        host, port = broker.address.split(":")
        sockets = []
        for _ in range(count):
            one = socket.create_connection((host, int(port)), timeout=10)
            self.addCleanup(one.close)
            sockets.append(one)
        return sockets

    def test_says_at_the_start_what_the_descriptors_allow(self):
        broker = self.start()
        self.assertRegex(broker.log(), r"at most \d+ connections: the limit of open files")
        self.assertEqual(broker.stop(), 0)

    def test_turns_away_what_is_too_much_and_serves_the_others_and_the_log(self):
        config = self.data.parent / "ferryd.toml"
        config.write_text('[log]\nsegment_bytes = "4MiB"\ncheckpoint_bytes = "1MiB"\n')
        broker = self.start("--config", str(config))
        declared = self.ferry(broker, "queue", "declare", "q")
        self.assertEqual(declared.returncode, 0, declared.stderr)
        first = subprocess.Popen([CLIENT, "--url", f"ferry://{broker.address}", "consume", "q", "--follow", "--count", "5001"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (first.kill(), first.communicate()))
        self.assertEqual(self.ferry(broker, "publish", "q", "here").returncode, 0)
        self.assertEqual(first.stdout.readline(), "here\n")

        sockets = self.strangers(broker, 3 * DESCRIPTORS)
        refused = 0
        for one in sockets[-DESCRIPTORS:]:
            one.settimeout(20)
            # Turned away in words, or at once by the system; never left waiting.
            try:
                answer = one.recv(4096)
            except ConnectionResetError:
                answer = b""
            refused += 1
            self.assertTrue(answer == b"" or b"connections" in answer, answer)
        self.assertEqual(refused, DESCRIPTORS)

        # One place is given back, and whoever gets it writes through several segments: the log has descriptors of its own.
        sockets[0].close()
        again = self.ferry(broker, "ping", "--wait", "20s")
        self.assertEqual(again.returncode, 0, again.stderr)
        written = self.ferry(broker, "publish", "q", text=("x" * 4000 + "\n") * 5000)
        self.assertEqual(written.returncode, 0, written.stderr)
        self.assertGreaterEqual(len(list(self.data.glob("*.seg"))), 4)

        # The one that was there before was served all the time.
        out, err = first.communicate(timeout=100)
        self.assertEqual(first.returncode, 0, err)
        self.assertEqual(out.count("\n"), 5000)
        self.assertEqual(broker.stop(), 0)


if __name__ == "__main__":
    unittest.main()
