#!/usr/bin/env python3
"""What strangers and slow peers cost the others: the time from a publish to its confirm, one at a time, alone and under each of
  slow_loris   400 connections that send a byte a second and never get to hello
  storm        connections that come and go as fast as one process can make them
  silent       40 consumers that subscribe to a full queue and never read
The aim is that p99 stays within twice that alone (the disk's own variation is in both).

Usage: overload.py FERRYD [SECONDS]
"""
import multiprocessing
import os
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/integration/python"))
from broker import Broker  # noqa: E402
from ferry_client import Client, message  # noqa: E402

LORIS, SILENT = 400, 40


def slow_loris(port, stop):
    peers = [socket.create_connection(("127.0.0.1", port)) for _ in range(LORIS)]
    while not stop.is_set():
        for i, peer in enumerate(peers):
            try:
                peer.send(b"\0")
            except OSError:  # closed after ten seconds: comes again
                peers[i] = socket.create_connection(("127.0.0.1", port))
        stop.wait(1.0)


def storm(port, stop):
    while not stop.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                pass
        except OSError:
            stop.wait(0.01)


def silent(port, stop):
    consumers = []
    for _ in range(SILENT):
        consumer = Client("127.0.0.1", port)
        consumer.subscribe(1, "full", window=100_000, window_bytes=256 << 20, no_ack=True)
        consumers.append(consumer)
    stop.wait()


def fill(port):
    client = Client("127.0.0.1", port)
    client.declare("full")
    client.declare("q")
    producer = client.producer("filler")["producer"]
    for first in range(1, 40_001, 200):
        client.publish(producer, first, [message("full", b"x" * 2000)] * 200)
    client.outcomes(producer, 1, 40_000)
    client.close()


def measure(port, seconds):
    client = Client("127.0.0.1", port)
    producer = client.producer(f"p-{time.monotonic_ns()}", temporary=True)["producer"]
    times = []
    sequence = 1
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        client.publish(producer, sequence, [message("q", b"x" * 100)])
        client.outcomes(producer, sequence, sequence)
        times.append(time.monotonic() - begun)
        sequence += 1
    client.request(42, "q")
    client.close()
    times.sort()
    return len(times), times[len(times) // 2] * 1e6, times[len(times) * 99 // 100] * 1e6


def main():
    ferryd = os.path.abspath(sys.argv[1])
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    broker = Broker(ferryd).start()
    try:
        fill(broker.port)
        measure(broker.port, 1)
        print(f"{'':12} {'publishes':>9} {'p50 us':>8} {'p99 us':>8} {'p99 x':>6}")
        for attack in (slow_loris, storm, silent):
            # Alone and under attack in turns: the machine is not the same all the time.
            alone = measure(broker.port, seconds)
            stop = multiprocessing.Event()
            process = multiprocessing.Process(target=attack, args=(broker.port, stop))
            process.start()
            time.sleep(1)
            under = measure(broker.port, seconds)
            stop.set()
            process.join()
            for name, (count, p50, p99) in (("alone", alone), (attack.__name__, under)):
                print(f"{name:12} {count:9} {p50:8.0f} {p99:8.0f} {p99 / alone[2]:6.2f}", flush=True)
    finally:
        broker.end()


if __name__ == "__main__":
    main()
