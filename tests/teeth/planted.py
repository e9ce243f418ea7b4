#!/usr/bin/env python3
"""Do the tests notice the mistakes that they are there for?

planted.py --programs DIR [--only WORD]   every mistake of plants.txt, one at a time: the test named beside it fails, and
                                          without the mistake it passes. Needs a build with -DFERRY_PLANT=ON.
planted.py --names PROGRAM...             plants.txt and the sources name the same mistakes; the programs hold none.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = pathlib.Path(__file__).with_name("plants.txt")
GOAL = 25
CANARY = "canary"
PATIENCE = 120


class Plant:
    def __init__(self, row):
        self.name, self.program, self.tests, self.what = (cell.strip() for cell in row.split("|"))


def table():
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [Plant(row) for row in rows]


def names_in_sources():
    found = []
    for path in sorted(ROOT.glob("*/**/*pp")):
        if path.relative_to(ROOT).parts[0] not in ("build", "tests", ".git"):
            found += re.findall(r'FERRY_PLANTED\(\s*"([a-z0-9-]+)"', path.read_text(encoding="utf-8"))
    return found


def check_names(programs):
    wrong = []
    listed = [plant.name for plant in table()]
    planted = set(names_in_sources())
    wrong += [f"{name} is in the sources and not in plants.txt" for name in sorted(planted - set(listed))]
    wrong += [f"{name} is in plants.txt and not in the sources" for name in sorted(set(listed) - planted)]
    wrong += [f"{name} is in plants.txt twice" for name in sorted({name for name in listed if listed.count(name) > 1})]
    if CANARY not in listed:
        wrong.append("plants.txt has no canary")
    for program in programs:
        data = pathlib.Path(program).read_bytes()
        for name in [*sorted(planted - {CANARY}), "FERRY_PLANT"]:
            if name.encode() in data:
                wrong.append(f"{program} holds the text {name}: a mistake was built in")
    print("\n".join(wrong) or f"{len(listed)} planted bugs, none of them in the {len(programs)} programs")
    return 1 if wrong else 0


def run(folder, program, tests, plant):
    environment = {key: value for key, value in os.environ.items() if key != "FERRY_PLANT"}
    if plant:
        environment["FERRY_PLANT"] = plant
    # The simulator has seeds instead of tests.
    how = tests.split() if tests.startswith("--") else [f"--gtest_filter={tests}", "--gtest_brief=0"]
    command = [str(pathlib.Path(folder) / program), *how]
    began = time.monotonic()
    # A group of its own: a test that hangs may have started others.
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True) as process:
        try:
            out, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
    return process.returncode, out.decode(errors="replace"), time.monotonic() - began


def ran(out):
    return "[ RUN      ]" in out or re.search(r"^[1-9]\d* seeds", out, re.MULTILINE)


def judge(status, out, plant):
    """Nothing if the mistake was caught by an assertion, or why that does not count."""
    if not ran(out):
        return "no test ran: is its name right?"
    if f"planted: {plant} is reached" not in out:
        return "the test does not come to where the mistake is"
    if status == 0:
        return "NOT CAUGHT: the test passes with it"
    if "[  FAILED  ]" in out or "assertion failed" in out or "FAILED seed" in out:
        return ""
    return f"the test ended with status {status} and no failed assertion"


def prove(folder, plants):
    wrong = []
    caught = 0
    sound = {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for plant in plants:
            key = (plant.program, plant.tests)
            if key not in sound:
                sound[key] = pool.submit(run, folder, plant.program, plant.tests, "")
        tries = [pool.submit(run, folder, plant.program, plant.tests, plant.name) for plant in plants]
        for (program, tests), future in sound.items():
            status, out, _ = future.result()
            if status != 0 or "[  PASSED  ] 0 tests" in out or not ran(out):
                wrong.append(f"{program} {tests} does not pass without any mistake (status {status})")
                print(out[-3000:])
        for plant, future in zip(plants, tries):
            status, out, seconds = future.result()
            why = judge(status, out, plant.name)
            print(f"{'caught' if not why else 'ESCAPED':8} {seconds:6.1f} s  {plant.name}: {plant.what}", flush=True)
            if why:
                wrong.append(f"{plant.name} ({plant.program} {plant.tests}): {why}")
                print(out[-2000:])
            elif plant.name != CANARY:
                caught += 1
    return caught, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs")
    parser.add_argument("--only", default="")
    parser.add_argument("--names", nargs="*")
    options = parser.parse_args()
    if options.programs is None:
        return check_names(options.names or [])
    plants = [plant for plant in table() if options.only in plant.name]
    caught, wrong = prove(options.programs, plants)
    print("\n".join(wrong))
    print(f"evidence: planted bugs reached {caught} of {GOAL}")
    return 1 if wrong or (not options.only and caught < GOAL) else 0


if __name__ == "__main__":
    sys.exit(main())
