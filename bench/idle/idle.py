#!/usr/bin/env python3
"""What idle connections cost: memory of the broker for each, and the confirm time of 64 active connections beside them.

    bench/idle/idle.py [--idle 10000] [--rounds 3]

The active ones publish 100 bytes each every 25 ms, one in flight, to one queue each; without and with the idle ones, in turns.
Needs build/release/bin/ferryd and python3-msgpack (Debian's /usr/bin/python3).
"""
import argparse
import heapq
import os
import pathlib
import resource
import select
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration" / "python"))

import ferry_client as ferry  # noqa: E402

PORT, ACTIVE, EVERY, SECONDS = 7498, 64, 0.025, 8


def resident(pid):
    return int(next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS")).split()[1]) * 1024


def measure(clients):
    """Confirm times in seconds, sorted."""
    times, began, due = [], {}, [(time.monotonic() + i * EVERY / ACTIVE, i) for i in range(ACTIVE)]
    by_socket = {client.socket.fileno(): i for i, (client, _) in enumerate(clients)}
    sequences = [client.producer(f"p{i}")["mark"] for i, (client, _) in enumerate(clients)]
    poll = select.poll()
    for client, _ in clients:
        poll.register(client.socket, select.POLLIN)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        while due and due[0][0] <= time.monotonic():
            _, i = heapq.heappop(due)
            client, producer = clients[i]
            sequences[i] += 1
            began[i] = time.monotonic()
            client.publish(producer, sequences[i], [ferry.message(f"q{i}", b"x" * 100)])
        wait = max(0.0, due[0][0] - time.monotonic()) if due else 1.0
        for fd, _ in poll.poll(wait * 1000):
            i = by_socket[fd]
            if clients[i][0].read_frame()[0] == ferry.CONFIRM:
                now = time.monotonic()
                times.append(now - began[i])
                heapq.heappush(due, (now + EVERY, i))
    time.sleep(0.2)
    for client, _ in clients:  # the last confirms
        while select.select([client.socket], [], [], 0)[0]:
            client.read_frame()
    return sorted(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "ferryd.toml"
        config.write_text(f'[limits]\nconnections = {options.idle + ACTIVE + 100}\n[heartbeat]\ninterval = "10min"\n')
        broker = subprocess.Popen(
            [ROOT / "build/release/bin/ferryd", "--config", config, "--data", pathlib.Path(folder) / "data",
             "--listen", f"127.0.0.1:{PORT}", "--http", ""], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            broker.stdout.readline()
            clients = []
            for i in range(ACTIVE):
                client = ferry.Client("127.0.0.1", PORT)
                client.declare(f"q{i}")
                clients.append((client, client.producer(f"p{i}")["producer"]))
            measure(clients)
            for _ in range(options.rounds):
                alone = measure(clients)
                before = resident(broker.pid)
                idle = [ferry.Client("127.0.0.1", PORT, timeout=60) for _ in range(options.idle)]
                each = (resident(broker.pid) - before) / options.idle
                beside = measure(clients)
                for one in idle:
                    one.kill()
                p99 = [times[len(times) * 99 // 100] * 1e6 for times in (alone, beside)]
                p50 = [times[len(times) // 2] * 1e6 for times in (alone, beside)]
                print(f"{options.idle} idle: {each:.0f} bytes each; confirm of {ACTIVE} active, alone and beside them: "
                      f"p50 {p50[0]:.0f} and {p50[1]:.0f} us, p99 {p99[0]:.0f} and {p99[1]:.0f} us ({p99[1] / p99[0]:.2f} x)")
        finally:
            broker.kill()
            broker.wait()


if __name__ == "__main__":
    main()
