"""ferryd killed at every single call that changes a file: in a run of all it does, and in the recovery behind it.

Each run has a directory of its own, a script that publishes, consumes, acks, gives back, rolls segments and writes
checkpoints, a kill, a clean start in which everything is sent again and read to the end, and the checker over what the
client saw. Page caches survive SIGKILL: this is about processes that die, not about power cuts.

FERRY_KILL_STRIDE=3 takes every third call only. Cites G1, G3, G5, G10, G14.
"""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))
import ferry_client as ferry  # noqa: E402
from broker import Broker  # noqa: E402
from ferry_client import Client, Closed, message, spread  # noqa: E402
from notes import Notes, payload_hash  # noqa: E402

KILL_AT, FERRYD, CHECK = os.environ["KILL_AT"], os.environ["FERRYD"], os.environ["FERRY_CHECK"]
STRIDE = int(os.environ.get("FERRY_KILL_STRIDE", "1"))
SKIPPED, AT_A_TIME, ROUNDS = 77, 2, 24
CONFIG = """[log]
segment_bytes = "1MiB"
checkpoint_bytes = "1MiB"
batch_bytes = "512KiB"
[limits]
frame_bytes = "256KiB"
"""
PRODUCER, CONSUMER, BROKER, QUEUE = 1, 2, 9, 1


class Run:
    """One directory, one broker after another, one history."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        with open(os.path.join(folder, "ferryd.toml"), "w", encoding="ascii") as file:
            file.write(CONFIG)
        self.report = os.path.join(folder, "report")
        self.notes = Notes(os.path.join(folder, "history"))
        self.notes.rules(brokers=[BROKER])
        self.broker = Broker(FERRYD, folder)
        self.sent = {}       # sequence: payload
        self.unsettled = []  # sequences without an answer
        self.taken = 0

    # ---- the broker ----

    def start(self, kill_at=None):
        """False: it was killed before it was ready."""
        self.broker.wrapper = [] if kill_at is None else [KILL_AT, str(kill_at), self.report]
        try:
            self.broker.start("--config", os.path.join(self.folder, "ferryd.toml"))
        except AssertionError:
            if kill_at is None:
                raise
            self.notes.add("crash", process=BROKER)
            return False
        return True

    def dead(self):
        """Waits for the end of what was killed. What it was asked and did not answer nobody knows."""
        status = self.broker.process.wait(timeout=30)
        self.broker.kill()
        self.notes.add("crash", process=BROKER)
        return status

    def said(self):
        with open(self.report, encoding="ascii") as file:
            word, calls, name = file.read().split()
        return word == "killed", int(calls), name

    # ---- the client ----

    def connect(self):
        client = Client("127.0.0.1", self.broker.port, timeout=30.0)
        client.declare("q")
        self.handle = client.producer("p")["producer"]
        client.subscribe(1, "q", window=1000, window_bytes=64 << 20)
        return client

    def publish(self, client, sequences):
        for sequence in sequences:
            self.notes.add("publish", "invoke", process=PRODUCER, queue=QUEUE, id=sequence, epoch=1, seq=sequence,
                           payload=payload_hash(self.sent[sequence]))
        self.unsettled += [s for s in sequences if s not in self.unsettled]
        client.publish(self.handle, sequences[0], [message("q", self.sent[s]) for s in sequences])
        for sequence, what in client.outcomes(self.handle, sequences[0], sequences[-1]).items():
            assert what in ("confirmed", "duplicate"), what
            self.notes.add("publish", process=PRODUCER, queue=QUEUE, id=sequence)
            self.unsettled.remove(sequence)

    def more(self, count, size):
        first = len(self.sent) + 1
        for sequence in range(first, first + count):
            self.sent[sequence] = (b"%d " % sequence).ljust(size, b".")
        return list(range(first, first + count))

    def take(self, client, at_least, patience=30.0):
        """[(tag, sequence, token)] of what comes; the first frame only if at_least is 0."""
        got = []
        while True:
            _, _, tag, position, attempt, token, _, messages = client.wait_for(
                lambda f: f[0] == ferry.DELIVER, patience)[:8]
            for i, each in enumerate(messages):
                sequence = int(each[3].split(b" ")[0])
                self.notes.add("deliver", process=CONSUMER, queue=QUEUE, id=sequence, position=position + i,
                               lease=lease(token, position + i), attempt=attempt, redelivered=attempt > 1,
                               payload=payload_hash(each[3]))
                got.append((tag + i, sequence, lease(token, position + i)))
            if len(got) >= at_least:
                return got

    def settle(self, client, what, some):
        if not some:
            return
        for _, sequence, token in some:
            self.notes.add(what, "invoke", process=CONSUMER, queue=QUEUE, id=sequence, lease=token)
        ranges = [number for tag, _, _ in some for number in (tag, tag)]
        lost = spread(client.ack(1, ranges) if what == "ack" else client.nack(1, ranges, True))
        for tag, sequence, token in some:
            self.notes.add(what, "fail" if tag in lost else "ok", process=CONSUMER, queue=QUEUE, id=sequence, lease=token)

    # ---- what is done ----

    def script(self, client):
        for number in range(ROUNDS):
            # Enough for another segment now and then, and with it a checkpoint.
            sizes = 60_000 if number % 3 else 60
            sequences = self.more(1 + number % 4, sizes)
            self.publish(client, sequences)
            got = self.take(client, len(sequences))
            self.settle(client, "ack", [one for one in got if one[1] % 5 not in (0, 4)])
            back = [one for one in got if one[1] % 5 == 4]
            self.settle(client, "nack", back)  # they come again, and stay with us
            if back:
                self.take(client, len(back))

    def finish(self):
        """A clean start, everything sent again that had no answer, everything read to the end."""
        self.start()
        client = self.connect()
        if self.unsettled:
            self.publish(client, sorted(self.unsettled))
        deadline = time.monotonic() + 30
        while True:
            left = client.show("q")
            if left["ready"] + left["unacked"] == 0:
                break
            assert time.monotonic() < deadline, f"not drained: {left}"
            self.settle(client, "ack", self.take(client, 0))
        # It still works.
        self.publish(client, self.more(1, 60))
        self.settle(client, "ack", self.take(client, 1))
        self.notes.add("drained")
        client.close()
        assert self.broker.stop() == 0
        return self.verdict()

    def verdict(self):
        self.notes.close()
        done = subprocess.run([CHECK, self.notes.path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.stdout.decode() if done.returncode != 0 else None

    def end(self, keep=False):
        self.broker.end()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def lease(token, position):
    # Tokens grow for each message; those of two messages may be one number.
    return token if token else position


def run_script(run, kill_at):
    """True: it was killed. False: it did everything, and ended when it was told to."""
    if not run.start(kill_at):
        return True
    try:
        client = run.connect()
        run.script(client)
        run.notes.add("crash", process=CONSUMER)  # what it still held goes back
        client.close()
        ended = run.broker.stop() == 0
        run.notes.add("crash", process=BROKER)
        if ended:
            return False
    except (Closed, OSError):
        pass
    if run.broker.process is not None:
        run.dead()
    return run.said()[0]


def one_kill(scratch, number):
    """(killed, name of the call, what is wrong)"""
    run = Run(os.path.join(scratch, f"run-{number}"))
    try:
        killed = run_script(run, number)
        wrong = run.finish()
        return killed, run.said()[2], wrong
    except Exception as problem:  # whatever it is, the number of the call belongs to it
        return True, run.said()[2] if os.path.exists(run.report) else "?", repr(problem)
    finally:
        run.end()


def one_recovery_kill(scratch, left, number):
    """The same, killed at the n-th call of a start on the directory that a broker killed at its last moment left."""
    folder = os.path.join(scratch, f"recovery-{number}")
    run = Run(folder)
    try:
        shutil.copytree(left.log, os.path.join(folder, "log"))
        run.sent, run.unsettled = dict(left.sent), []
        with open(left.history, encoding="ascii") as lines:
            run.notes.file.write(lines.read())
        killed = not run.start(number)
        if not killed:
            run.broker.stop()
            run.notes.add("crash", process=BROKER)
            killed = run.said()[0]
        wrong = run.finish()
        return killed, "recovery", wrong
    except Exception as problem:
        return True, "recovery", repr(problem)
    finally:
        run.end()


class Left:
    """What a broker left behind that was killed when the script was through."""

    def __init__(self, scratch):
        run = Run(os.path.join(scratch, "left"))
        assert run.start()
        client = run.connect()
        run.script(client)
        run.broker.kill()
        run.notes.add("crash", process=BROKER)
        run.notes.close()
        self.log, self.history, self.sent = os.path.join(run.folder, "log"), run.notes.path, run.sent


def sweep(name, count, one):
    """Runs one(n) for n = 1 … until the program comes to its end by itself, and a little beyond. All that is wrong."""
    wrong, kills, calls, number = [], 0, {}, 1
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        quiet = 0
        while quiet < 3 and number < 20 * count + 100:
            batch = range(number, number + 8 * STRIDE, STRIDE)
            number = batch[-1] + STRIDE
            for at, (killed, call, problem) in zip(batch, pool.map(one, batch)):
                kills += killed
                quiet = 0 if killed else quiet + 1
                if killed:
                    calls[call] = calls.get(call, 0) + 1
                if problem:
                    wrong.append(f"{name}: killed at call {at} ({call}):\n{problem}")
            if len(wrong) > 5:
                break
    print(f"{name}: {kills} kills: {calls}", flush=True)
    goal = max(1, count // STRIDE)
    print(f"evidence: {name} reached {kills} of {goal}", flush=True)
    if kills < 0.8 * goal:
        wrong.append(f"{name}: only {kills} kills of {goal}")
    return wrong


def main():
    began = time.monotonic()
    scratch = tempfile.mkdtemp(prefix="ferry-kill-")
    try:
        probe = subprocess.run([KILL_AT, "0", os.path.join(scratch, "probe"), "/bin/true"], stderr=subprocess.PIPE, check=False)
        if probe.returncode == SKIPPED:
            print("SKIPPED: " + probe.stderr.decode().strip())
            return SKIPPED
        run = Run(os.path.join(scratch, "count"))
        assert run_script(run, 0) is False
        _, calls, _ = run.said()
        wrong = [run.finish() or ""]
        run.end()
        assert calls > 60, f"only {calls} calls in the whole script"
        wrong += sweep("syscall-kills", calls, lambda number: one_kill(scratch, number))
        left = Left(scratch)
        count = Run(os.path.join(scratch, "count-recovery"))
        shutil.copytree(left.log, os.path.join(count.folder, "log"))
        assert count.start(0)
        count.broker.stop()
        _, calls, _ = count.said()
        count.end()
        wrong += sweep("recovery-kills", calls, lambda number: one_recovery_kill(scratch, left, number))
        wrong = [sentence for sentence in wrong if sentence]
        print("\n".join(wrong[:6]), file=sys.stderr)
        print(f"{len(wrong)} findings in {time.monotonic() - began:.0f} s")
        return 1 if wrong else 0
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
