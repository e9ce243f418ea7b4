#!/usr/bin/env python3
"""End to end through an ordered queue beside a plain one, in turns: on a machine whose speed varies, runs that lie apart
cannot be compared.

Usage: in_turns.py FERRY FERRYD [CONSUMERS] [COUNT] [ROUNDS]
Starts a broker of its own on ports 7640 and 7641. Prints each round, the medians and their ratio, and the processor time
of the broker's loop for each message.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

LISTEN, HTTP = "127.0.0.1:7640", "127.0.0.1:7641"
KEYS = "1000"


def loop_ns(pid):
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])


def run(ferry, pid, consumers, count, ordered):
    before = loop_ns(pid)
    command = [ferry, "bench", "--url", f"ferry://{LISTEN}", "--mode", "e2e", "--keys", KEYS, "--consumers", str(consumers),
               "--count", str(count), "--json"]
    out = subprocess.run(command + (["--ordered"] if ordered else []), capture_output=True, text=True, check=True)
    return json.loads(out.stdout)["msgs_s"], (loop_ns(pid) - before) / count


def main():
    ferry, ferryd = sys.argv[1], sys.argv[2]
    consumers, count, rounds = (int(given) for given in (sys.argv[3:] + ["1", "2000000", "9"][len(sys.argv) - 3:]))
    figures = {False: [], True: []}
    with tempfile.TemporaryDirectory() as data:
        broker = subprocess.Popen([ferryd, "--data", data, "--listen", LISTEN, "--http", HTTP], stdout=subprocess.PIPE, text=True)
        try:
            broker.stdout.readline()  # it is ready
            for number in range(rounds):
                for ordered in (False, True) if number % 2 == 0 else (True, False):
                    figures[ordered].append(run(ferry, broker.pid, consumers, count, ordered))
                print(f"plain {figures[False][-1][0]:.0f}/s, ordered {figures[True][-1][0]:.0f}/s", flush=True)
        finally:
            broker.terminate()
            broker.wait()
    plain, ordered = (statistics.median(rate for rate, _ in figures[kind]) for kind in (False, True))
    plain_ns, ordered_ns = (statistics.median(ns for _, ns in figures[kind]) for kind in (False, True))
    print(f"medians: plain {plain:.0f}/s, ordered {ordered:.0f}/s: {ordered / plain:.2f} x; "
          f"the loop {plain_ns:.0f} and {ordered_ns:.0f} ns a message")


if __name__ == "__main__":
    main()
