"""Notes down what clients saw of a broker, in the form that ferry_check reads (history/include/ferry/history)."""
import json
import threading
import time
import zlib


class Notes:
    """One history. Threads: any."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, "w", encoding="ascii")
        self.lock = threading.Lock()
        self.count = 0

    def rules(self, **rules):
        with self.lock:
            self.file.write(json.dumps({"rules": rules}) + "\n")

    def add(self, what, kind="ok", **fields):
        event = {"what": what, "type": kind, "time_ns": time.monotonic_ns()}
        event.update((name, value) for name, value in fields.items() if value)
        with self.lock:
            self.file.write(json.dumps(event) + "\n")
            self.count += 1

    def close(self):
        with self.lock:
            self.file.close()


def payload_hash(payload):
    # 0 means that it is not known.
    return zlib.crc32(payload) | 1 << 32
