#!/usr/bin/env python3
"""ferryd, the bare pipeline and Redis Streams in turn, on one machine, in one run.

Absolute figures drift on shared machines; what is compared was measured minutes apart, several rounds, medians.
Everybody syncs before confirming: Redis runs with appendonly yes, appendfsync always.

Usage: compare.py [--build build/release] [--rounds 3] [--scale 1.0] [--work DIR] [--json FILE] [--only NAME,...]
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Case:
    def __init__(self, name, ferry, floor, redis, figures):
        self.name, self.ferry, self.floor, self.redis, self.figures = name, ferry, floor, redis, figures


def cases(scale):
    def n(count):
        return str(max(1000, int(count * scale)))
    # Arguments of: ferry bench; ferry_floor; ferry_redis_load (mode, count, size, window, batch).
    # Figures: title, path in the JSON of ferry, of floor, of redis, and whether more is better.
    rate, mb, p50 = ("msgs_s",), ("mb_s",), ("confirm_us", "p50")
    return [
        Case("publish 100 B, window 4096",
             ["--mode", "produce", "--count", n(6e6), "--size", "100", "--window", "4096"],
             ["publish", n(6e6), "100", "4096", "512"], ["publish", n(6e5), "100", "4096", "512"],
             [("messages/s", rate, rate, rate, True)]),
        Case("end to end 100 B, window 4096",
             ["--mode", "e2e", "--count", n(4e6), "--size", "100", "--window", "4096"],
             ["e2e", n(4e6), "100", "4096", "256"], ["e2e", n(3e5), "100", "4096", "256"],
             [("messages/s", rate, rate, rate, True)]),
        Case("publish 1 KiB, window 4096",
             ["--mode", "produce", "--count", n(1.5e6), "--size", "1024", "--window", "4096"],
             ["publish", n(1.5e6), "1024", "4096", "128"], ["publish", n(1e5), "1024", "4096", "128"],
             [("MB/s", mb, mb, mb, True)]),
        Case("one in flight",
             ["--mode", "ping", "--count", n(5000), "--size", "100"],
             ["publish", n(5000), "100", "1", "1"], ["ping", n(3000), "100", "1", "1"],
             [("confirm p50, µs", p50, p50, p50, False),
              ("delivery p50, µs", ("deliver_us", "p50"), p50, ("deliver_us", "p50"), False)]),
    ]


def dig(value, path):
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def json_of(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"compare: {' '.join(map(str, command))}\nended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ended(process):
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def measure_ferry(bin_dir, work, case):
    """A fresh broker for each measurement: nobody inherits another's backlog."""
    data = work / "ferry-data"
    process = subprocess.Popen([bin_dir / "ferryd", "--data", data, "--listen", "127.0.0.1:0", "--http", ""],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = re.search(r"listening on ([^,\s]+)", process.stdout.readline())
        if not address:
            sys.exit("compare: ferryd did not start")
        return json_of([bin_dir / "ferry", "--url", f"ferry://{address.group(1)}", "--json", "bench", *case.ferry])
    finally:
        ended(process)
        process.stdout.close()
        shutil.rmtree(data, ignore_errors=True)


def measure_floor(bin_dir, work, case):
    return json_of([bin_dir / "ferry_floor", *case.floor, work])


def measure_redis(bin_dir, work, case):
    data = work / "redis-data"
    data.mkdir()
    port = free_port()
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data), "--appendonly", "yes",
         "--appendfsync", "always", "--save", "", "--daemonize", "no"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("compare: redis-server did not start")
            time.sleep(0.01)
        return json_of([bin_dir / "ferry_redis_load", *case.redis, port])
    finally:
        ended(process)
        shutil.rmtree(data, ignore_errors=True)


def conditions(work):
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
               platform.machine())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    fs = subprocess.run(["stat", "-f", "-c", "%T", work], capture_output=True, text=True).stdout.strip()
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "file_system": fs, "commit": commit,
            "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "load_average_before": os.getloadavg()[0]}


def shown(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def ratio(value, other):
    return f"{value / other:.2f} x" if value and other else "-"


def summarize(case, rounds):
    """One row for each figure: the median of all rounds, and the range."""
    for title, ferry_path, floor_path, redis_path, more_is_better in case.figures:
        paths = {"floor": floor_path, "ferry": ferry_path, "redis": redis_path}
        series = {who: [dig(one[who], path) for one in rounds if who in one and dig(one[who], path) is not None]
                  for who, path in paths.items()}
        row = {who: statistics.median(values) if values else None for who, values in series.items()}
        row.update({"case": case.name, "figure": title, "more_is_better": more_is_better,
                    "range": {who: [min(values), max(values)] for who, values in series.items() if values}})
        yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=ROOT / "build/release", type=pathlib.Path)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--scale", default=1.0, type=float, help="share of the usual number of messages")
    parser.add_argument("--work", type=pathlib.Path, help="directory for data, on the disk to be measured")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures here")
    parser.add_argument("--only", default="", help="cases whose names hold one of these words")
    arguments = parser.parse_args()
    bin_dir = arguments.build / "bin"
    for program in ("ferryd", "ferry", "ferry_floor", "ferry_redis_load"):
        if not (bin_dir / program).exists():
            sys.exit(f"compare: {bin_dir / program} is not built: ninja -C {arguments.build} {program}")
    parties = {"floor": measure_floor, "ferry": measure_ferry, "redis": measure_redis}
    if shutil.which("redis-server") is None:
        print("redis-server is not installed (Debian: redis-server): its column stays empty", file=sys.stderr)
        del parties["redis"]
    work = pathlib.Path(tempfile.mkdtemp(prefix="ferry-compare-", dir=arguments.work or arguments.build))
    wanted = [word for word in arguments.only.split(",") if word]
    chosen = [case for case in cases(arguments.scale) if not wanted or any(word in case.name for word in wanted)]
    result = {"conditions": conditions(work), "rounds": {}, "medians": []}
    try:
        for case in chosen:
            rounds = []
            for number in range(arguments.rounds):
                # In turn within a round, so that drift of the machine hits all alike.
                rounds.append({who: measure(bin_dir, work, case) for who, measure in parties.items()})
                print(f"  {case.name}: round {number + 1} of {arguments.rounds}", file=sys.stderr)
            result["rounds"][case.name] = rounds
            result["medians"] += summarize(case, rounds)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(", ".join(f"{key} {value}" for key, value in result["conditions"].items()))
    print()
    print("| | figure | bare pipeline | ferryd | Redis always | ferryd / pipeline | ferryd / Redis |")
    print("|---|---|---|---|---|---|---|")
    for row in result["medians"]:
        print(f"| {row['case']} | {row['figure']} | {shown(row['floor'])} | {shown(row['ferry'])} | {shown(row['redis'])} "
              f"| {ratio(row['ferry'], row['floor'])} | {ratio(row['ferry'], row['redis'])} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
