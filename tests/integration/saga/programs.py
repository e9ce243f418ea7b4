"""The programs that tests of sagas start, stop and kill."""
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import time

FERRY, FERRYD = os.environ["FERRY"], os.environ["FERRYD"]
ROOT = pathlib.Path(__file__).resolve().parents[3]


class Program:
    """Started again and again with the same command line."""

    def __init__(self, name, command, log):
        self.name, self.command, self.log, self.process = name, [str(word) for word in command], log, None

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, text=True)

    def start_and_read(self):
        self.start()
        return self.process.stdout.readline()

    def kill(self):
        self.process.kill()
        self.ended()

    def ended(self):
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """The exit status."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        return self.process.returncode

    def said(self):
        return pathlib.Path(self.log).read_text()


class Broker(Program):
    def __init__(self, folder):
        super().__init__("ferryd", [FERRYD, "--data", folder / "broker", "--listen", "127.0.0.1:0", "--http", ""],
                         folder / "ferryd.log")
        line = self.start_and_read()
        self.port = int(re.search(r"listening on [^ ,]*:(\d+)", line).group(1))
        self.command = [word.replace("127.0.0.1:0", f"127.0.0.1:{self.port}") for word in self.command]
        self.url = f"ferry://127.0.0.1:{self.port}"


def orchestrator(folder, url, definitions, *more, name="orchestrator", db="saga.db"):
    return Program(name, [FERRY, "--url", url, "saga", "serve", "--db", folder / db, "--definitions", definitions, *more],
                   folder / (name + ".log"))


def ferry(*words, status=0):
    done = subprocess.run([FERRY, *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
    return done


def show(db, saga):
    return json.loads(ferry("saga", "show", db, saga, "--json").stdout)


def rows(path, sql):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError("this did not come true in time: " + what)
        time.sleep(0.05)


def code_of(page, heading, language):
    """The first block of this language under a heading of a page."""
    text = (ROOT / page).read_text()
    part = text[text.index(f"\n## {heading}\n"):]
    return re.search(rf"```{language}\n(.*?)```", part, re.S).group(1)
