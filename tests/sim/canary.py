#!/usr/bin/env python3
"""A message that is lost in the notes has to be found, and said so in a way that can be repeated.

Usage: canary.py FERRY_SIM
"""

import subprocess
import sys


def main():
    for seed in ("3", "5", "8"):
        # A purge would excuse the loss, and so would the end of a message's life.
        run = subprocess.run([sys.argv[1], "--seed", seed, "--without", "purge,lives", "--canary"], capture_output=True, text=True)
        wanted = (f"FAILED seed {seed}", "lost", f"repeat with: ferry_sim --seed {seed} --without purge,lives --canary")
        missing = [text for text in wanted if text not in run.stdout]
        if run.returncode != 1 or missing:
            print(run.stdout, f"\nexit status {run.returncode}, without: {missing}")
            sys.exit(1)
    print("the canary was found three times")


main()
