"""F10: a running ferryd whose wall clock is set forward and back, stopped, killed and started again. Everything that has a time
comes once: never before its time, never twice."""
import calendar
import mmap
import os
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import ferry_client as ferry  # noqa: E402
from broker import Broker, wait_until  # noqa: E402
from ferry_client import Client, message  # noqa: E402

FERRYD = os.environ["FERRYD"]
ID, DELIVER_AT = 1, 7
SCHEDULE_SET = 84
LOCK, LOCK_TOLD, LOCK_SHOW = 90, 93, 95
NOON = calendar.timegm((2026, 3, 10, 12, 0, 0)) * 1000


class WallClock(unittest.TestCase):
    def setUp(self):
        self.broker = Broker(FERRYD)
        self.addCleanup(self.broker.end)
        path = os.path.join(self.broker.data, "clock")
        with open(path, "wb") as file:
            file.write(bytes(8))
        with open(path, "r+b") as file:
            self.offset = mmap.mmap(file.fileno(), 8)
        self.environment = {"LD_PRELOAD": os.environ["WALL_CLOCK"], "FERRY_WALL_CLOCK": path}
        self.client = None

    def start(self):
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            self.broker.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.client = Client("127.0.0.1", self.broker.port)
        self.addCleanup(self.client.close)
        return self.client

    def set_clock(self, wall_ms):
        self.offset[:] = struct.pack("<q", wall_ms - int(time.time() * 1000))

    def wall(self):
        return int(time.time() * 1000) + struct.unpack("<q", self.offset[:])[0]

    def times(self):
        """The due times of the messages in the queue, as HH:MM, in the order in which they came."""
        rows = self.client.request(ferry.QUEUE_PEEK, "q", 0, 1000, 1 << 19)["messages"]
        ids = [row[3][2][ID] for row in rows]
        self.assertEqual(len(ids), len(set(ids)), "a due time has two messages")
        return [each.split("T")[1][:5] for each in ids]

    def wait_for(self, times, seconds=10.0):
        wait_until(lambda: self.times() == times, f"{times}", seconds)

    def stays(self, times, seconds=2.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.assertEqual(self.times(), times)
            time.sleep(0.05)

    # G72
    def test_a_schedule_fires_once_per_due_time_through_restarts_and_jumps(self):
        self.set_clock(NOON + 58_000)
        client = self.start()
        client.declare("q")
        client.request(SCHEDULE_SET, "s", {"cron": "* * * * *", "zone": "UTC"}, message("q", b"t"))
        self.wait_for(["12:01"])
        # Put back before a time that had its message: it passes again without another.
        self.set_clock(NOON + 58_500)
        wait_until(lambda: self.wall() > NOON + 61_500, "12:01 once more")
        self.stays(["12:01"], 0.5)
        # An orderly stop just before a due time, and a start just before it.
        self.assertEqual(self.broker.stop(), 0)
        self.set_clock(NOON + 118_500)
        self.start()
        self.wait_for(["12:01", "12:02"])
        # Killed before a due time, and started a little later than it.
        self.set_clock(NOON + 175_000)
        self.stays(["12:01", "12:02"], 0.5)
        self.broker.kill()
        self.set_clock(NOON + 185_000)
        self.start()
        self.wait_for(["12:01", "12:02", "12:03"])
        # Killed at the moment in which it fires, again and again.
        expected = ["12:01", "12:02", "12:03"]
        for i in range(4, 9):
            self.set_clock(NOON + i * 60_000 - 300)
            time.sleep(0.28 + 0.01 * i)
            self.broker.kill()
            self.start()
            expected.append(f"12:{i:02}")
            self.wait_for(expected)
        # Put forward by hours: one message for all that was missed, with the first of these times.
        self.set_clock(NOON + 3 * 3_600_000 + 30_000)
        self.wait_for(expected + ["12:09"])
        self.stays(expected + ["12:09"], 1.0)
        # Put back by a year: what was settled stays settled, whatever the clock says.
        self.set_clock(NOON - 365 * 86_400_000 + 58_000)
        self.stays(expected + ["12:09"], 4.0)
        self.broker.kill()
        self.start()
        self.stays(expected + ["12:09"], 1.0)
        # Forward again: what no message was for is missed once more, and on it goes.
        self.set_clock(NOON + 3 * 3_600_000 + 58_500)
        self.wait_for(expected + ["12:09", "12:10", "15:01"])

    # G25, G23
    def test_what_is_delayed_comes_once_and_leases_do_not_notice(self):
        self.set_clock(NOON)
        client = self.start()
        client.declare("q")
        handle = client.producer("p")["producer"]
        client.publish(handle, 1, [message("q", b"now"),
                                   message("q", b"later", properties={DELIVER_AT: NOON + 3_600_000})])
        client.outcomes(handle, 1, 2)
        client.subscribe(1, "q", lease_ms=30_000)
        self.assertEqual(client.deliveries(1, 1)[0]["payload"], b"now")
        self.set_clock(NOON - 86_400_000)
        self.assertTrue(client.no_delivery(1, 1.5), "put back by a day: nothing is due, no lease ends")
        self.set_clock(NOON + 3_600_000 + 10)
        self.assertEqual(client.deliveries(1, 1)[0]["payload"], b"later")
        self.set_clock(NOON)
        self.assertTrue(client.no_delivery(1, 1.0))
        self.set_clock(NOON + 2 * 3_600_000)
        self.assertTrue(client.no_delivery(1, 1.5), "neither comes again")
        self.assertEqual(client.ack(1, [1, 2]), [])

    def test_l3_a_wall_clock_that_jumps_changes_no_lock(self):
        """L3"""
        self.set_clock(NOON)
        client = self.start()
        token = client.request(LOCK, "job", "me", {"ttl_ms": 2000, "delay_ms": 0})["token"]
        for wall in (NOON + 10 * 365 * 86400 * 1000, NOON - 10 * 365 * 86400 * 1000, NOON):
            self.set_clock(wall)
            time.sleep(0.4)
            self.assertEqual(client.request(LOCK_SHOW, "job")["holders"][0]["token"], token)
        # It ends when its time has passed, and not before: neither jump has made it longer.
        told = client.wait_for(lambda frame: frame[0] == LOCK_TOLD, timeout=10)
        self.assertEqual(told[2:5], ["job", token, False])


if __name__ == "__main__":
    unittest.main(verbosity=2)
