"""Starts a real ferryd for a test and ends it again."""
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


def pump(one, other):
    """For a proxy's thread: what comes from one socket goes to the other, until either ends."""
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for end in (one, other):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Broker:
    """One ferryd on a directory and ports of its own. Restarting keeps the directory and the port."""

    def __init__(self, program, data=None):
        self.program = program
        self.own_data = data is None
        self.data = data or tempfile.mkdtemp(prefix="ferry-test-")
        self.port = 0
        self.http = ""  # where it serves HTTP
        self.process = None
        self.wrapper = []  # a program that starts it

    def start(self, *extra):
        self.begin(*extra)
        line = self._ready_line(30.0)
        found = re.search(r"listening on [^ ,]*:(\d+)", line)
        assert found, f"no ready line but {line!r}"
        self.port = int(found.group(1))
        return self

    def begin(self, *extra):
        """Does not wait until it is ready."""
        arguments = [*self.wrapper, self.program, "--data", os.path.join(self.data, "log"),
                     "--listen", f"127.0.0.1:{self.port}", "--http", self.http, *extra]
        self.errors = open(os.path.join(self.data, "stderr"), "ab")
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=self.errors)

    def _ready_line(self, patience):
        ready, _, _ = select.select([self.process.stdout], [], [], patience)
        line = self.process.stdout.readline().decode() if ready else ""
        if not line:
            self.kill()
            with open(os.path.join(self.data, "stderr"), encoding="utf-8", errors="replace") as errors:
                raise AssertionError("ferryd did not start: " + errors.read())
        return line

    @property
    def log_directory(self):
        return os.path.join(self.data, "log")

    @property
    def url(self):
        return f"ferry://127.0.0.1:{self.port}"

    def stop(self):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30)
        self._closed()
        return status

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._closed()

    def _closed(self):
        self.process.stdout.close()
        self.errors.close()
        self.process = None

    def restart(self):
        self.kill()
        return self.start()

    def _tell_of_an_end_of_its_own(self):
        """The test saw no more than a closed connection; why is in what the broker wrote."""
        status = self.process.poll()
        if status is not None:
            with open(os.path.join(self.data, "stderr"), encoding="utf-8", errors="replace") as errors:
                print(f"ferryd had ended by itself with status {status}:\n{errors.read()}", file=sys.stderr)

    def end(self):
        if self.process is not None:
            self._tell_of_an_end_of_its_own()
            self.kill()
        if self.own_data:
            shutil.rmtree(self.data, ignore_errors=True)


def wait_until(condition, what, seconds=10.0):
    """For what no frame tells of; looks again and again."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still waiting: {what}"
        time.sleep(0.01)
