"""Starts ferryd for a test and ends it again. Ports are chosen by the system; the ready line tells which."""

import pathlib
import re
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request


class Ferryd:
    def __init__(self, program, data, *arguments, wrapper=()):
        self.stderr = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            [*wrapper, program, "--data", str(data), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE, stderr=self.stderr, text=True)
        self.ready = self.process.stdout.readline()
        match = re.search(r"listening on ([\d.]+:\d+), metrics (http://[\d.]+:\d+)/metrics", self.ready)
        if not match:
            self.process.wait()
            raise AssertionError(f"ferryd did not start: {self.log()}")
        self.address, self.http = match.groups()

    def log(self):
        self.stderr.seek(0)
        return self.stderr.read()

    def get(self, path):
        """(status, body)"""
        try:
            with urllib.request.urlopen(self.http + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.stderr.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if not self.process.stdout.closed:
            self.process.stdout.close()
            self.stderr.close()


def run_to_end(program, *arguments):
    """For starts that must fail: (exit status, stdout, stderr)."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def contents(folder):
    """Every file under `folder` with its bytes: what "nothing changed on disk" is compared by."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(pathlib.Path(folder).rglob("*"))}
