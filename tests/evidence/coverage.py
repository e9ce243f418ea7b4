#!/usr/bin/env python3
"""coverage.py SUMMARY.json: what of each room's lines the tests reach, from gcovr's --json-summary.

Prints a line of evidence for each room, in percent, and the files that have the most lines that no test reaches. Exit status 1
if a room is missing or below 80 % of its goal.
"""

import json
import sys

GOAL = 95
ENOUGH = 0.8
ROOMS = {"engine": "broker/engine/", "log": "broker/log/", "outbox": "outbox/", "inbox": "consumer/", "saga": "saga/"}
SHOWN = 12


def of_rooms(files):
    """{room: (lines that were reached, lines)}"""
    sums = {room: (0, 0) for room in ROOMS}
    for file in files:
        for room, folder in ROOMS.items():
            if file["filename"].startswith(folder):
                reached, lines = sums[room]
                sums[room] = (reached + file["line_covered"], lines + file["line_total"])
    return sums


def percent(reached, lines):
    return 100 * reached // lines if lines else 0


def main():
    with open(sys.argv[1], encoding="utf-8") as summary:
        files = json.load(summary)["files"]
    wrong = False
    for room, (reached, lines) in of_rooms(files).items():
        share = percent(reached, lines)
        print(f"evidence: line coverage of {room} reached {share} of {GOAL}")
        wrong = wrong or share < GOAL * ENOUGH
    files.sort(key=lambda file: file["line_covered"] - file["line_total"])
    for file in files[:SHOWN]:
        print(f"{file['line_total'] - file['line_covered']:5} lines of {file['filename']} are not reached")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
