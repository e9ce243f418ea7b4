#!/usr/bin/env python3
"""run.py PROGRAM [SECONDS]: fuzzes every target for so long together, beginning with its corpus, and says how often it ran.

What is found on the way stays in fuzz/ beside the program and is where the next run begins. An input that fails is kept
there too; add it to tests/fuzz/corpus with the repair.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = 150
EXECUTIONS = 3_000_000
TARGETS = 8
EXECUTIONS_EACH = 50_000
SEED = os.environ.get("FERRY_SEED", "1")  # the corpus that a longer run leaves behind is what makes a difference


def run(program, folder, target, seconds):
    corpus = folder / target
    corpus.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [program, f"-max_total_time={seconds}", "-max_len=8192", "-timeout=10", f"-seed={SEED}", "-rss_limit_mb=2048", "-print_final_stats=1",
         f"-artifact_prefix={folder}/{target}-", str(corpus), str(HERE / "corpus" / target)],
        env={**os.environ, "FERRY_FUZZ_TARGET": target}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    out = done.stdout.decode(errors="replace")
    (folder / f"{target}.log").write_text(out)
    found = re.search(r"stat::number_of_executed_units:\s*(\d+)", out)
    return int(found.group(1)) if found else 0, done.returncode, out


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    folder = pathlib.Path(program).parent.parent / "fuzz"
    names = sorted(path.name for path in (HERE / "corpus").iterdir())
    workers = os.cpu_count() or 1
    each = max(1, seconds * workers // len(names))
    total, broad, bad = 0, 0, []
    with concurrent.futures.ThreadPoolExecutor(max_workers=workers) as pool:
        tries = {name: pool.submit(run, program, folder, name, each) for name in names}
        for name, future in tries.items():
            count, status, out = future.result()
            total += count
            broad += count >= EXECUTIONS_EACH
            print(f"{name:16} {count:9} executions{'' if status == 0 else ', FAILED'}", flush=True)
            if status != 0:
                bad.append(name)
                print(out[-3000:])
    print(f"evidence: fuzz executions reached {total} of {EXECUTIONS}")
    print(f"evidence: fuzz targets reached {broad} of {TARGETS}")
    if bad:
        print(f"failing inputs are in {folder}: " + " ".join(bad))
    return 1 if bad or total * 10 < EXECUTIONS * 8 or broad * 10 < TARGETS * 8 else 0


if __name__ == "__main__":
    sys.exit(main())
