#!/usr/bin/env python3
"""F14, F15: the network between client and broker is cut at every byte, in either direction, or goes silent.
Every message is stored exactly once."""

import pathlib
import re
import select
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from ferryd import Ferryd

PROGRAM, CLIENT = sys.argv.pop(1), sys.argv.pop(1)


class CuttingProxy:
    """Passes so many bytes of one direction of its first connection, then cuts it. Later connections pass whole.
    With `chunk` all of them pass in pieces of so many bytes."""

    def __init__(self, target, direction, after, chunk=65536):
        self.chunk = chunk
        host, port = target.split(":")
        self.target, self.direction, self.left = (host, int(port)), direction, after
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.connections, self.cut = 0, False
        self.total = 0  # bytes of the first connection in that direction
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        pairs = {}
        while True:
            readable, _, _ = select.select([self.listener, *pairs], [], [])
            for one in readable:
                if one is self.listener:
                    try:
                        inner, _ = self.listener.accept()
                    except OSError:
                        return
                    outer = socket.create_connection(self.target)
                    for end in (inner, outer):
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    first = self.connections == 0
                    self.connections += 1
                    pairs[inner], pairs[outer] = (outer, "up", first), (inner, "down", first)
                elif one in pairs:
                    self.pass_on(one, pairs)
            if self.left < 0 and not pairs:
                return

    def pass_on(self, one, pairs):
        peer, direction, first = pairs[one]
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        ends = not data
        if first and direction == self.direction:
            self.total += len(data)
        if first and direction == self.direction and not self.cut and len(data) > self.left:
            data, ends, self.cut = data[:self.left], True, True
        elif first and direction == self.direction:
            self.left -= len(data)
        try:
            for at in range(0, len(data), self.chunk):
                peer.sendall(data[at:at + self.chunk])
        except OSError:
            ends = True
        if ends:
            for end in (one, peer):
                pairs.pop(end, None)
                end.close()

    def close(self):
        # Wakes select: a last connection, and then the listener is gone.
        self.left = -1
        try:
            socket.create_connection(self.listener.getsockname()).close()
        except OSError:
            pass
        self.thread.join(timeout=20)
        self.listener.close()


class PartitionTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.broker = Ferryd(PROGRAM, pathlib.Path(folder.name) / "data")
        self.addCleanup(self.broker.__exit__)

    def run_ferry(self, address, *arguments, text=None):
        return subprocess.run([CLIENT, "--url", f"ferry://{address}", *arguments],
                              input=text, capture_output=True, text=True, timeout=60)

    def ferry(self, address, *arguments):
        done = self.run_ferry(address, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def ready(self):
        return int(re.search(r'"ready": ?(\d+)', self.ferry(self.broker.address, "--json", "queue", "show", "q")).group(1))

    def publish(self, direction, after):
        """Twenty messages through a proxy that cuts. The proxy, for what it saw, and how many messages are safe."""
        proxy = CuttingProxy(self.broker.address, direction, after)
        try:
            done = self.run_ferry(proxy.address, "publish", "q", text="".join(f"message {i}\n" for i in range(20)))
        finally:
            proxy.close()
        # Before the first connection was made, "there is no broker" is the answer.
        if done.returncode == 3:
            self.assertIn("no broker", done.stderr)
            return proxy, 0
        self.assertEqual(done.returncode, 0, done.stderr)
        return proxy, 20

    def publish_through_cuts(self, direction):
        self.ferry(self.broker.address, "queue", "declare", "q")
        whole, safe = self.publish(direction, 1 << 20)
        survived = 0
        places = {*range(0, whole.total, max(1, whole.total // 30)), *range(max(0, whole.total - 30), whole.total, 2)}
        for after in sorted(places):
            proxy, more = self.publish(direction, after)
            safe += more
            survived += proxy.cut and more > 0
            self.assertEqual(self.ready(), safe, f"cut {direction} after {after} bytes")
        self.assertGreater(survived, 3)

    def test_a_publisher_that_is_cut_off_while_it_sends_stores_each_message_once(self):
        self.publish_through_cuts("up")

    def test_a_publisher_that_loses_the_answers_stores_each_message_once(self):
        self.publish_through_cuts("down")

    # F13
    def test_one_byte_at_a_time_is_the_same_as_all_at_once(self):
        self.ferry(self.broker.address, "queue", "declare", "q")
        proxy = CuttingProxy(self.broker.address, "up", 1 << 30, chunk=1)
        self.addCleanup(proxy.close)
        text = "".join(f"message {i} {'x' * (i * 37 % 500)}\n" for i in range(40))
        done = self.run_ferry(proxy.address, "publish", "q", text=text)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.ready(), 40)
        self.assertEqual(self.ferry(proxy.address, "consume", "q", "--count", "40"), text)
        self.assertEqual(self.ready(), 0)


if __name__ == "__main__":
    unittest.main()
