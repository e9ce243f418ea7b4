#!/usr/bin/env python3
"""Collects what a run of ./test has proved: the lines `evidence: NAME reached N of GOAL` of its tests.

evidence.py LOG...                prints them as a table.
evidence.py --full LOG...         the same, and exit status 1 if a name of goals.txt is missing or far below its goal.
evidence.py --record FILE LOG...  also adds them to a ledger (docs/evidence/ledger.csv), one row for each name.
"""

import argparse
import csv
import datetime
import os
import pathlib
import re
import subprocess
import sys

GOALS = pathlib.Path(__file__).with_name("goals.txt")
LINE = re.compile(r"^(?:\d+: )?evidence: (.+?) reached (\d+) of (\d+)\s*$", re.M)
ENOUGH = 0.8  # of a goal, as in the tests themselves
COLUMNS = ["date", "commit", "cores", "name", "reached", "goal"]


def known():
    """Names that a full run must have, with the file that prints them."""
    names = {}
    for line in GOALS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, where = line.partition("|")
            names[name.strip()] = where.strip()
    return names


def printed_by(where):
    """Whether that file is there and prints evidence."""
    path = GOALS.parents[2] / where
    return path.is_file() and "evidence: " in path.read_text(encoding="utf-8")


def collect(texts):
    """{name: (reached, goal)}; of several lines of one name the largest counts: stages may share a test."""
    found = {}
    for text in texts:
        for name, reached, goal in LINE.findall(text):
            pair = (int(reached), int(goal))
            found[name] = max(pair, found.get(name, pair))
    return found


def complaints(found, names):
    wrong = [f"{name} is missing: {where}" for name, where in names.items() if name not in found]
    wrong += [f"{name} reached {reached} of {goal}" for name, (reached, goal) in found.items() if reached < goal * ENOUGH]
    return wrong


def table(found):
    width = max([len(name) for name in found], default=4)
    return [f"{name:{width}}  {reached:>10,} of {goal:,}" for name, (reached, goal) in sorted(found.items())]


def commit():
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=GOALS.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def record(path, found):
    path = pathlib.Path(path)
    fresh = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        if fresh:
            rows.writerow(COLUMNS)
        today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
        for name, (reached, goal) in sorted(found.items()):
            rows.writerow([today, commit(), os.cpu_count(), name, reached, goal])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--record")
    parser.add_argument("logs", nargs="*")
    options = parser.parse_args()
    texts = [pathlib.Path(log).read_text(errors="replace") for log in options.logs if pathlib.Path(log).exists()]
    found = collect(texts)
    print("\n".join(table(found)) or "no evidence lines were found")
    if options.record:
        record(options.record, found)
    wrong = complaints(found, known()) if options.full else []
    for line in wrong:
        print("evidence: " + line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
