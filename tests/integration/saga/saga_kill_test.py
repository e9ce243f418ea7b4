#!/usr/bin/env python3
"""Sagas while everything that takes part in them is killed: orchestrators, participants and the broker.

The checker shares no code with what it checks: it reads the participants' ledgers, in which each effect has the time of a
clock that all processes share.
"""
import collections
import json
import os
import pathlib
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "python"))
from notes import Notes  # noqa: E402
from programs import FERRY, Broker, Program, orchestrator, rows, until

PARTICIPANT = os.environ["PARTICIPANT"]
CYCLES, SECONDS = 200, 90
POLICY = """timeout = "1s"
retry = { first = "50ms", cap = "500ms", attempts = 100000 }
"""
UNDO = """undo = { first = "50ms", cap = "500ms", give_up = "1h" }
"""


def step(name, who, undo=True, more=""):
    text = f'[[step]]\nname = "{name}"\ncommand = "{who}.act"\n{POLICY}'
    return text + (f'compensation = "{who}.undo"\n{UNDO}' if undo else "") + more


def tried(name, who):
    return (f'[[step]]\nname = "{name}"\ntry = "{who}.act"\nconfirm = "{who}.act"\ncancel = "{who}.undo"\n{POLICY}{UNDO}')


def head(name):
    return f'name = "{name}"\nversion = 1\ndeadline = "1h"\n'


# The order of steps; steps in one list run at the same time. And those that may fail.
SHAPES = {
    "row": ([["a"], ["b"], ["c"]], ["a", "b", "c"]),
    "pivot": ([["a"], ["b"], ["p"], ["z"]], ["a", "b", "p"]),
    "parallel": ([["a", "b"], ["c"]], ["a", "b", "c"]),
    "trip": ([["seat", "car"], ["seat.confirm", "car.confirm"]], ["seat", "car"]),
}
DEFINITIONS = {
    "row": head("row") + step("a", "one") + step("b", "two") + step("c", "three"),
    "pivot": head("pivot") + step("a", "one") + step("b", "two") + step("p", "three", False, "pivot = true\n") +
             step("z", "one", False),
    "parallel": head("parallel") + step("a", "one", more='group = "g"\n') + step("b", "two", more='group = "g"\n') +
                step("c", "three"),
    "trip": head("trip") + tried("seat", "one") + tried("car", "two"),
}


def wrong_with(saga, definition, failing, state, ledger):
    """What is not as it must be with one saga, by its effects alone; nothing: all is well. I6, I7."""
    order, _ = SHAPES[definition]
    acts = {step: [at for at, name, op in ledger if name == step and op == "act"] for row in order for step in row}
    undos = {step: [at for at, name, op in ledger if name == step and op == "undo"] for row in order for step in row}
    place = {step: number for number, row in enumerate(order) for step in row}
    if state != ("completed" if failing is None else "compensated"):
        return f"it is {state}"
    if any(len(times) > 1 for times in [*acts.values(), *undos.values()]):
        return f"an effect came twice: {ledger}"
    if state == "completed":
        if not all(acts.values()) or any(undos.values()):
            return f"it completed with other effects than all: {ledger}"
    elif any(len(acts[step]) != len(undos[step]) for step in acts):
        return f"an effect was not undone, or what was no effect was: {ledger}"
    for one in acts:
        for other in acts:
            if place[one] >= place[other]:
                continue
            if acts[one] and acts[other] and acts[one] > acts[other]:
                return f"{other} before {one}: {ledger}"
            if undos[one] and undos[other] and undos[one] < undos[other]:
                return f"{one} undone before {other}: {ledger}"
    if any(undos.values()) and max(at for times in acts.values() for at in times) > min(
            at for times in undos.values() for at in times):
        return f"an effect behind the first compensation: {ledger}"
    return None


def verdict_on(path, sagas):
    """What ferry_check says of [(definition, completed, ledger)]; nothing: all is well."""
    notes = Notes(path)
    for number, (definition, completed, ledger) in enumerate(sagas, 1):
        rows_of_steps, _ = SHAPES[definition]
        steps = [step for row in rows_of_steps for step in row]
        together = {step: place + 1 for place, row in enumerate(rows_of_steps) if len(row) > 1 for step in row}
        notes.add("saga_begin", id=number, seq=len(steps))
        for _, step, op in ledger:
            notes.add("saga_step" if op == "act" else "saga_undo", id=number, seq=steps.index(step) + 1,
                      key=together.get(step))
        notes.add("saga_end", id=number, attempt=1 if completed else 2)
    notes.add("drained")
    notes.close()
    done = subprocess.run([os.environ["FERRY_CHECK"], path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode() if done.returncode != 0 else None


class SagaKill(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="ferry-saga-kill-")
        self.addCleanup(self.directory.cleanup)
        self.folder = pathlib.Path(self.directory.name)
        self.definitions = self.folder / "definitions"
        self.definitions.mkdir()
        for name, text in DEFINITIONS.items():
            (self.definitions / (name + ".toml")).write_text(text)
        self.broker = Broker(self.folder)
        self.participants = [Program(name, [PARTICIPANT, name, self.folder / (name + ".db"), self.broker.url],
                                     self.folder / (name + ".log")) for name in ("one", "two", "three")]
        self.orchestrators = [
            orchestrator(self.folder, self.broker.url, self.definitions, "--lease", "1s", "--name", name, name=name)
            for name in ("left", "right")]
        self.programs = [self.broker, *self.participants, *self.orchestrators]
        self.db = self.folder / "saga.db"
        self.started = {}
        for program in self.programs[1:]:
            self.assertTrue(program.start_and_read(), program.said())
        for program in self.programs:
            self.addCleanup(program.stop)

    def start_some(self, dice, ending):
        """A thread's: sagas all the time, about a third of them with a step that fails."""
        number = 0
        while not ending.is_set():
            definition = dice.choice(list(SHAPES))
            failing = dice.choice(SHAPES[definition][1]) if dice.random() < 0.35 else None
            saga = f"{definition}-{number}"
            done = subprocess.run([FERRY, "saga", "start", self.db, definition, "--id", saga, "--input",
                                   json.dumps({"fail": failing})], capture_output=True, text=True, timeout=60)
            if done.returncode != 0:
                # Somebody was stopped with SQLite's lock in his hands.
                self.assertIn("locked", done.stderr)
                continue
            self.started[saga] = (definition, failing)
            number += 1
            ending.wait(0.08)

    def pause_between_transactions(self, program):
        """One that is stopped inside a transaction keeps SQLite's lock, and nobody can write before it goes on."""
        while True:
            program.pause()
            db = sqlite3.connect(self.db, isolation_level=None, timeout=0.3)
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute("ROLLBACK")
                return
            except sqlite3.OperationalError:
                program.resume()
                time.sleep(0.01)
            finally:
                db.close()

    def states(self):
        names = {4: "completed", 5: "compensated", 3: "parked"}
        return {saga: names.get(state, "open") for saga, state in rows(self.db, "SELECT id, state FROM ferry_saga")}

    def check(self):
        """I6, I7, I9, I10."""
        until(lambda: "open" not in self.states().values(), "every saga has ended (I10)", 120)
        ledgers = collections.defaultdict(list)
        for program in self.participants:
            for at, saga, name, op in rows(self.folder / (program.name + ".db"), "SELECT at_ns, saga, step, op FROM ledger"):
                ledgers[saga].append((at, name, op))
        states = self.states()
        self.assertEqual(set(states), set(self.started))
        wrong = {saga: what for saga, (definition, failing) in self.started.items()
                 if (what := wrong_with(saga, definition, failing, states[saga], sorted(ledgers[saga])))}
        self.assertEqual(wrong, {})
        self.assertIsNone(verdict_on(self.folder / "history", [
            (definition, states[saga] == "completed", sorted(ledgers[saga]))
            for saga, (definition, _) in self.started.items()]))
        # What was ended is ended: nothing changes it any more (I6), and nothing waits anywhere.
        self.assertEqual(rows(self.db, "SELECT count(*) FROM ferry_saga WHERE due_ms IS NOT NULL"), [(0,)])
        for program in self.participants:
            path = self.folder / (program.name + ".db")
            until(lambda: rows(path, "SELECT count(*) FROM ferry_outbox") == [(0,)], f"the outbox of {path} is empty")
        ended = collections.Counter(states.values())
        print(f"{len(states)} sagas: {dict(ended)}; {sum(map(len, ledgers.values()))} effects", flush=True)
        return ended

    # G80, G82, G83, G84, G93: I6, I7, I9, I10
    def test_two_hundred_kills_leave_every_saga_whole_or_undone_in_reverse_order(self):
        seed = int(os.environ.get("FERRY_SEED", time.time()))
        dice = random.Random(seed)
        print(f"seed {seed} (FERRY_SEED repeats it)", flush=True)
        ending = threading.Event()
        starter = threading.Thread(target=self.start_some, args=(random.Random(seed + 1), ending))
        starter.start()
        killed, paused = collections.Counter(), 0
        begin = time.monotonic()
        try:
            while sum(killed.values()) < CYCLES and time.monotonic() - begin < SECONDS:
                victim = dice.choice(self.programs)
                victim.kill()
                killed[victim.name] += 1
                time.sleep(dice.random() * 0.1)
                victim.start()
                if sum(killed.values()) % 40 == 20:
                    # Longer than its lease: the other one takes over, and it wakes with what it knew.
                    sleeper = dice.choice(self.orchestrators)
                    sleeper.pause()
                    time.sleep(1.5)
                    sleeper.resume()
                    paused += 1
                time.sleep(0.05 + dice.random() * 0.35)
        finally:
            ending.set()
            starter.join()
        print(f"{sum(killed.values())} of {CYCLES} kills in {time.monotonic() - begin:.0f} s: {dict(killed)}; {paused} pauses",
              flush=True)
        print(f"evidence: saga-kills reached {sum(killed.values())} of {CYCLES}", flush=True)
        self.assertGreaterEqual(sum(killed.values()), CYCLES * 0.8)
        ended = self.check()
        self.assertGreater(ended["completed"], 10)
        self.assertGreater(ended["compensated"], 5)

    # S14, G83
    def test_s14_an_orchestrator_stopped_beyond_its_lease_changes_nothing_when_it_wakes(self):
        left = self.orchestrators[0]
        ending = threading.Event()
        starter = threading.Thread(target=self.start_some, args=(random.Random(14), ending))
        starter.start()
        try:
            for _ in range(4):
                time.sleep(0.5)
                self.pause_between_transactions(left)
                ended = len([1 for state in self.states().values() if state != "open"])
                time.sleep(1.2)  # its lease is over; what it held is somebody else's now
                until(lambda: len([1 for state in self.states().values() if state != "open"]) > ended + 3,
                      "the other one goes on without it")
                left.resume()
        finally:
            ending.set()
            starter.join()
        self.check()
        until(lambda: "the lease was lost" in left.said(), "it knows that it was put out")


if __name__ == "__main__":
    unittest.main()
