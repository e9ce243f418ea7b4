#!/usr/bin/env python3
"""Runs the simulator on seeds that nobody ran before: they begin at a number made from the sources (of the commit; without
git, from the program itself), so that whoever has the same sources can run the same ones.

Usage: fresh.py FERRY_SIM COUNT GOAL SECONDS [PROCESSES]
Prints the range, and a line of evidence when GOAL is not 0; fails below 80 % of the goal or on any failure.
"""

import hashlib
import pathlib
import subprocess
import sys
import time

STEP = 100


def first_seed(program):
    tree = subprocess.run(["git", "rev-parse", "HEAD^{tree}"], cwd=pathlib.Path(__file__).parent, capture_output=True, check=False)
    what = tree.stdout if tree.returncode == 0 else pathlib.Path(program).read_bytes()
    return int.from_bytes(hashlib.sha256(what).digest()[:6], "big")


def main():
    program, count, goal, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    processes = int(sys.argv[5]) if len(sys.argv) > 5 else 1
    first = first_seed(program)
    until = time.monotonic() + seconds
    begun, done, failed, running = 0, 0, False, []
    while running or (begun < count and time.monotonic() < until and not failed):
        while len(running) < processes and begun < count and time.monotonic() < until and not failed:
            size = min(STEP, count - begun)
            running.append((size, subprocess.Popen([program, "--seeds", str(first + begun), str(size)],
                                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)))
            begun += size
        size, process = running.pop(0)
        output, _ = process.communicate()
        done += size
        if process.returncode != 0:
            failed = True
            print(output)
    print(f"seeds {first} to {first + begun - 1}")
    if goal:
        print(f"evidence: simulator seeds reached {done} of {goal}")
    if failed or (goal and done < 0.8 * goal):
        sys.exit(1)


main()
