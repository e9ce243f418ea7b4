#!/usr/bin/env python3
"""Power cuts of the real ferryd: what it did to its files, as strace saw it, is cut off after every call in every legal way;
each disk that this may leave is opened with the real recovery, and some by the real program.

This sees what tests on a simulated disk can not: mistakes of the code that makes the system calls.
"""

import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration" / "python"))

import msgpack  # noqa: E402

import ferry_client as ferry  # noqa: E402
from broker import Broker  # noqa: E402
from ferry_client import Client, message, spread  # noqa: E402

FERRYD = os.environ["FERRYD"]
STATES = os.environ["TRACE_STATES"]
CONFIG = """[log]
segment_bytes = "1MiB"
batch_bytes = "256KiB"
checkpoint_bytes = "1MiB"
[limits]
frame_bytes = "64KiB"
"""
CALLS = ("openat,creat,close,pwrite64,write,writev,sendmsg,read,fdatasync,fsync,rename,renameat,renameat2,unlink,unlinkat,"
         "ftruncate,mkdir,mkdirat")
STATES_OF_THE_REAL_PROGRAM = 8
MESSAGES = 150


def texts_in(arguments):
    """The strings of a call, which -xx shows as hexadecimal digits only."""
    return [bytes.fromhex(text.replace("\\x", "")) for text in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', arguments)]


class Stream:
    """One direction of one connection, cut into frames."""

    def __init__(self):
        self.bytes = b""

    def frames(self, data):
        self.bytes += data
        while len(self.bytes) >= 4:
            length = struct.unpack(">I", self.bytes[:4])[0]
            if len(self.bytes) < 4 + length:
                return
            body, self.bytes = self.bytes[4:4 + length], self.bytes[4 + length:]
            yield msgpack.unpackb(body, raw=False, strict_map_key=False)


class Converter:
    """Lines of strace become operations on files and what clients were told, in the order of time."""

    def __init__(self, directory, out):
        self.parent = os.path.dirname(directory)
        self.directory = directory
        self.out = out
        self.files = {}    # descriptor: (inode, path as opened)
        self.inodes = {}   # path: inode
        self.inode_paths = {}
        self.next_inode = 1
        self.pending = {}  # thread: text of a call that has not returned
        self.syncing = {}  # thread: inode of the sync that it is in
        self.streams = {}
        self.tags = {}     # delivery tag: message
        self.acks = {}     # request: messages
        self.calls = 0

    def line(self, line):
        thread, rest = line.split(None, 1)
        rest = rest.rstrip("\n")
        if rest.endswith("<unfinished ...>"):
            self.pending[thread] = rest[:-len("<unfinished ...>")].rstrip()
            begun = re.match(r"f(?:data)?sync\((\d+)", rest)
            if begun and int(begun.group(1)) in self.files:
                self.syncing[thread] = self.files[int(begun.group(1))][0]
            return
        resumed = re.match(r"<\.\.\. \w+ resumed>\s*", rest)
        if resumed:
            rest = self.pending.pop(thread) + rest[resumed.end():]
            self.syncing.pop(thread, None)
        call = re.match(r"(\w+)\((.*)\)\s+= (-?\d+)", rest)
        if call:
            self.call(call.group(1), call.group(2), int(call.group(3)))

    def inside(self, path):
        return path == self.directory or path.startswith(self.directory + "/")

    def short(self, path):
        return "." if path == self.parent else os.path.relpath(path, self.parent)

    def emit(self, *words):
        self.calls += words[0] != "told"
        print(*words, file=self.out)

    def call(self, name, arguments, result):
        if result < 0:
            if name in ("fdatasync", "fsync"):
                raise AssertionError("a sync failed while it was traced: " + arguments[:200])
            return
        handler = getattr(self, "on_" + name, None)
        if handler:
            handler(arguments, result)

    @staticmethod
    def descriptor(arguments):
        return int(re.match(r"\d+", arguments).group(0))

    # ---- files ----

    def on_openat(self, arguments, result):
        path = texts_in(arguments)[-1].decode()
        if os.path.basename(path) == "LOCK" or not (self.inside(path) or path == self.parent):
            return
        if "O_DIRECTORY" in arguments:
            self.files[result] = (None, path)
            return
        if not self.inside(path) or path == self.directory:
            return
        if path not in self.inodes:
            assert "O_CREAT" in arguments, path
            self.inodes[path] = self.next_inode
            self.next_inode += 1
            self.emit("create", self.short(path), self.inodes[path])
        elif "O_TRUNC" in arguments:
            self.emit("truncate", self.short(path), self.inodes[path], 0)
        self.files[result] = (self.inodes[path], path)

    def on_close(self, arguments, _):
        number = self.descriptor(arguments)
        self.files.pop(number, None)
        for key in [key for key in self.streams if key[0] == number]:
            del self.streams[key]

    def on_pwrite64(self, arguments, result):
        inode, path = self.files.get(self.descriptor(arguments), (None, ""))
        if inode is None:
            return
        assert inode not in self.syncing.values(), "a write beside a sync of its file: which of them was first is not known"
        offset = int(arguments.rsplit(",", 1)[1])
        data = texts_in(arguments)[-1]
        assert len(data) >= result, "strace has cut a write: raise -s"
        self.emit("write", self.short(path), inode, offset, data[:result].hex())

    def on_ftruncate(self, arguments, _):
        inode, path = self.files.get(self.descriptor(arguments), (None, ""))
        if inode is not None:
            self.emit("truncate", self.short(path), inode, int(arguments.rsplit(",", 1)[1]))

    def on_fdatasync(self, arguments, _):
        inode, path = self.files.get(self.descriptor(arguments), (None, ""))
        if inode is not None:
            self.emit("sync", self.short(path), inode)
        elif path:
            self.emit("syncdir", self.short(path))

    on_fsync = on_fdatasync

    def on_rename(self, arguments, _):
        source, target = (text.decode() for text in texts_in(arguments)[-2:])
        if not self.inside(source):
            return
        inode = self.inodes.pop(source)
        self.inodes[target] = inode
        self.emit("rename", self.short(source), self.short(target), inode)

    on_renameat = on_renameat2 = on_rename

    def on_unlink(self, arguments, _):
        path = texts_in(arguments)[-1].decode()
        if self.inside(path) and path in self.inodes:
            del self.inodes[path]
            self.emit("remove", self.short(path))

    on_unlinkat = on_unlink

    def on_mkdir(self, arguments, _):
        path = texts_in(arguments)[-1].decode()
        if self.inside(path):
            self.emit("mkdir", self.short(path))

    on_mkdirat = on_mkdir

    # ---- what clients were told ----

    def talk(self, arguments, result, way):
        number = self.descriptor(arguments)
        # -y says what the descriptor is, in the digits of -xx too.
        kind = re.match(r"\d+<((?:\\x[0-9a-f]{2})+)>", arguments)
        if not kind or not bytes.fromhex(kind.group(1).replace("\\x", "")).startswith((b"socket", b"TCP")) or result == 0:
            return
        data = b"".join(texts_in(arguments))[:result]
        stream = self.streams.setdefault((number, way), Stream())
        for frame in stream.frames(data):
            self.frame(frame, way)

    def on_read(self, arguments, result):
        self.talk(arguments, result, "in")

    def on_write(self, arguments, result):
        self.talk(arguments, result, "out")

    on_writev = on_sendmsg = on_write

    def frame(self, values, way):
        verb = values[0]
        if way == "in" and verb == ferry.PUBLISH:
            for i in range(len(values[5])):
                self.emit("told", "published", values[1] + i)
        elif way == "out" and verb == ferry.CONFIRM:
            for sequence in range(values[1], values[3] + 1):
                self.emit("told", "confirmed", sequence)
        elif way == "out" and verb == ferry.DELIVER:
            for i, each in enumerate(values[7]):
                self.tags[values[2] + i] = int(each[3].split(b".")[0])
        elif way == "in" and verb == ferry.ACK:
            self.acks[values[1]] = [self.tags[tag] for tag in sorted(spread(values[3]))]
            for number in self.acks[values[1]]:
                self.emit("told", "may", number)
        elif way == "out" and verb == ferry.SETTLED:
            for number in self.acks.pop(values[1], []):
                self.emit("told", "acked", number)


class Trace(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ferry-trace-")
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)
        self.trace = os.path.join(self.folder, "trace")
        self.operations = os.path.join(self.folder, "operations")

    def command(self):
        return ["strace", "-f", "-qq", "-y", "-xx", "-s", "4194304", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", self.trace]

    def start(self):
        try:
            probe = subprocess.run([*self.command(), "true"], stderr=subprocess.PIPE, timeout=10, check=False)
        except FileNotFoundError:
            self.skipTest("strace is not installed")
        if probe.returncode != 0:
            self.skipTest("strace may not trace here: " + probe.stderr.decode())
        config = os.path.join(self.folder, "ferryd.toml")
        pathlib.Path(config).write_text(CONFIG, encoding="utf-8")
        self.directory = os.path.join(self.folder, "data", "log")
        os.mkdir(os.path.dirname(self.directory))
        process = subprocess.Popen(
            [*self.command(), FERRYD, "--config", config, "--data", self.directory, "--listen", "127.0.0.1:0", "--http", ""],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        line = process.stdout.readline().decode()
        return process, int(re.search(r":(\d+)", line).group(1))

    def work(self, port):
        """Everything that a log lives through: rolls, checkpoints, acks, segments that go."""
        client = Client("127.0.0.1", port)
        client.declare("q")
        producer = client.producer("p")["producer"]
        client.subscribe(1, "q", window=1000, window_bytes=1 << 24)
        held = []
        for number in range(1, MESSAGES + 1):
            size = (40, 700, 30_000, 5_000, 20_000)[number % 5]
            client.publish(producer, number, [message("q", b"%d." % number + b"x" * size)])
            self.assertEqual(client.outcomes(producer, number, number), {number: "confirmed"})
            held += client.deliveries(1, 1)
            if number % 4 == 0:
                some, held = held[:-2], held[-2:]
                tags = [tag for one in some if one["payload"].split(b".")[0] != b"7" for tag in (one["tag"], one["tag"])]
                self.assertEqual(client.ack(1, tags), [])
        client.close()

    def record(self):
        process, port = self.start()
        self.work(port)
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as children:
            for child in children.read().split():
                os.kill(int(child), signal.SIGKILL)
        process.wait(timeout=30)
        with open(self.trace, encoding="ascii", errors="replace") as lines, open(self.operations, "w", encoding="ascii") as out:
            converter = Converter(self.directory, out)
            for line in lines:
                converter.line(line)
        self.assertGreater(converter.calls, 2 * MESSAGES, "every message is a write and a sync at least")

    def test_what_a_power_cut_leaves_of_the_real_program_holds_all_that_it_promised(self):
        self.record()
        states = os.path.join(self.folder, "states")
        done = subprocess.run([STATES, self.operations, states, "60"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=300, check=False)
        print(done.stdout.decode(), flush=True)
        self.assertEqual(done.returncode, 0)
        names = sorted(os.listdir(states), key=int)
        step = max(1, len(names) // STATES_OF_THE_REAL_PROGRAM)
        for name in names[::step]:
            with self.subTest(state=name):
                self.start_on(os.path.join(states, name))

    def start_on(self, directory):
        """The real program on one of those disks."""
        known = {"confirmed": set(), "may": set(), "acked": set(), "published": set()}
        with open(os.path.join(directory, "told"), encoding="ascii") as told:
            for line in told:
                what, number = line.split()
                known[what].add(int(number))
        broker = Broker(FERRYD, data=directory)
        self.addCleanup(broker.end)
        broker.start()
        client = Client("127.0.0.1", broker.port)
        found = []
        if any(queue["name"] == "q" for queue in client.request(ferry.QUEUE_LIST, "", 100)["queues"]):
            ready = client.request(ferry.QUEUE_SHOW, "q")["ready"]
            client.subscribe(1, "q", window=1000, window_bytes=1 << 24)
            found = [int(one["payload"].split(b".")[0]) for one in client.deliveries(1, ready)]
        self.assertEqual(found, sorted(set(found)), "each once, in order")
        self.assertLessEqual(set(found), known["published"])
        self.assertEqual(set(found) & known["acked"], set())
        self.assertLessEqual(known["confirmed"] - known["may"], set(found))
        client.close()
        broker.kill()


if __name__ == "__main__":
    unittest.main(verbosity=2)
