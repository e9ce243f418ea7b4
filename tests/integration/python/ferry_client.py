"""A client of the native protocol, written from docs/protocol.md alone.

It exists to prove that the page is enough. It is small and blocking on purpose: one socket, frames in,
frames out, and a `request` that waits for its answer while it sets aside whatever else arrives.
"""
import socket
import struct
import time

import msgpack

HELLO, OK, ERROR, HEARTBEAT, GOODBYE = 1, 2, 3, 4, 5
PUBLISH, CONFIRM, REFUSED, PRODUCER, HOLD = 10, 11, 12, 14, 15
SUBSCRIBE, DELIVER, ACK, NACK, SETTLED, EXTEND, CREDIT = 20, 21, 22, 23, 24, 25, 26
UNSUBSCRIBE, CANCELLED, PULL = 27, 28, 29
QUEUE_DECLARE, QUEUE_DELETE, QUEUE_PURGE, QUEUE_LIST, QUEUE_SHOW, QUEUE_PEEK = range(40, 46)
EXCHANGE_DECLARE, EXCHANGE_DELETE, EXCHANGE_LIST, EXCHANGE_SHOW, BIND, UNBIND = range(50, 56)
QUEUE_MOVE, QUEUE_DROP = 46, 47
STATS, BACKUP = 60, 61

VERSION = 1


class Refused(Exception):
    """The broker answered [error, request id, code, text]."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Closed(Exception):
    """The broker closed the connection."""


def frame(values):
    body = msgpack.packb(values, use_bin_type=True)
    return struct.pack(">I", len(body)) + body


def message(routing_key, payload, exchange="", properties=None):
    return [exchange, routing_key, properties, payload]


def spread(ranges):
    """[1, 4, 7, 7] -> {1, 2, 3, 4, 7}"""
    return {n for i in range(0, len(ranges), 2) for n in range(ranges[i], ranges[i + 1] + 1)}


class Client:
    def __init__(self, host, port, timeout=10.0, hello=True):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.timeout = timeout
        self.incoming = b""
        self.aside = []  # frames that came while something else was waited for
        self.next_request = 1
        self.info = None
        if hello:
            try:
                self.info = self.hello()
            except Exception:
                self.socket.close()
                raise

    # ---- frames ----

    def send(self, *values):
        self.socket.sendall(frame(list(values)))

    def send_bytes(self, data):
        self.socket.sendall(data)

    def read_frame(self, timeout=None):
        """The next frame of any kind but a heartbeat. socket.timeout: none came."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if len(self.incoming) >= 4:
                length = struct.unpack(">I", self.incoming[:4])[0]
                if len(self.incoming) >= 4 + length:
                    body = self.incoming[4:4 + length]
                    self.incoming = self.incoming[4 + length:]
                    values = msgpack.unpackb(body, raw=False, strict_map_key=False)
                    if values[0] == HEARTBEAT:
                        continue
                    return values
            left = deadline - time.monotonic()
            if left <= 0:
                raise socket.timeout("no frame came")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError as error:
                raise Closed() from error
            if not data:
                raise Closed()
            self.incoming += data

    def wait_for(self, wanted, timeout=None):
        """The first frame, set aside or new, for which wanted(frame) is true."""
        for i, values in enumerate(self.aside):
            if wanted(values):
                return self.aside.pop(i)
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            values = self.read_frame(max(0.0, deadline - time.monotonic()))
            if wanted(values):
                return values
            self.aside.append(values)

    def expect_closed(self, timeout=None):
        """Reads on until the broker closes; what came before is returned."""
        seen = []
        while True:
            try:
                seen.append(self.read_frame(timeout))
            except Closed:
                return seen

    # ---- requests ----

    def request(self, verb, *fields, answers=(OK,)):
        request_id = self.next_request
        self.next_request += 1
        self.send(verb, request_id, *fields)
        return self.answer(request_id, answers)

    def answer(self, request_id, answers=(OK,)):
        values = self.wait_for(lambda f: f[0] in (*answers, ERROR) and f[1] in (request_id, 0))
        if values[0] == ERROR:
            raise Refused(values[2], values[3])
        return values[2]

    def hello(self, **options):
        return self.request(HELLO, VERSION, {"name": "python", **options})

    def goodbye(self):
        self.request(GOODBYE)

    def close(self):
        self.socket.close()

    def kill(self):
        """Ends the connection without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # ---- publishing ----

    def producer(self, name, **options):
        return self.request(PRODUCER, name, options)

    def publish(self, producer, first, messages, settled=0, mandatory=False):
        self.send(PUBLISH, first, producer, 1 if mandatory else 0, settled, messages)

    def outcomes(self, producer, first, last):
        """Waits until every sequence is confirmed, duplicate or refused: {sequence: what}."""
        result = {}
        while len(result) < last - first + 1:
            values = self.wait_for(lambda f: f[0] in (CONFIRM, REFUSED) and f[2] == producer)
            what = values[4] if values[0] == REFUSED else "duplicate" if values[4] & 1 else "confirmed"
            for sequence in range(values[1], values[3] + 1):
                assert sequence not in result, f"sequence {sequence} was answered twice"
                result[sequence] = what
        return result

    def hold(self, producer, ranges):
        return self.request(HOLD, producer, ranges)

    # ---- consuming ----

    def subscribe(self, subscription, queue, window=100, window_bytes=1 << 20, **options):
        return self.request(SUBSCRIBE, subscription, queue, window, window_bytes, options)

    def deliveries(self, subscription, count, timeout=None):
        """Exactly `count` deliveries as dicts, in order of arrival."""
        result = []
        while len(result) < count:
            values = self.wait_for(lambda f: f[0] == DELIVER and f[1] == subscription, timeout)
            _, _, tag, position, attempt, token, published, messages = values[:8]
            for i, each in enumerate(messages):
                result.append({"tag": tag + i, "position": position + i, "attempt": attempt, "token": token,
                               "published": published, "exchange": each[0], "routing_key": each[1],
                               "properties": each[2], "payload": each[3]})
        assert len(result) == count, f"{len(result)} deliveries instead of {count}"
        return result

    def no_delivery(self, subscription, within=0.3):
        try:
            self.wait_for(lambda f: f[0] == DELIVER and f[1] == subscription, within)
        except socket.timeout:
            return True
        return False

    def ack(self, subscription, ranges):
        """Waits until the acks are durable; the tags whose lease was lost before."""
        return self.request(ACK, subscription, ranges, answers=(SETTLED,))

    def nack(self, subscription, ranges, requeue):
        return self.request(NACK, subscription, ranges, requeue, answers=(SETTLED,))

    def extend(self, subscription, ranges, lease_ms):
        return self.request(EXTEND, subscription, ranges, lease_ms, answers=(SETTLED,))

    def unsubscribe(self, subscription):
        return self.request(UNSUBSCRIBE, subscription)

    # ---- administering ----

    def declare(self, queue, **options):
        return self.request(QUEUE_DECLARE, queue, options)

    def show(self, queue):
        return self.request(QUEUE_SHOW, queue)
