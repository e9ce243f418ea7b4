"""Signing in, as docs/protocol.md describes it: SCRAM-SHA-256 and PLAIN for the client of the tests."""
import base64
import hashlib
import hmac
import os

from ferry_client import ERROR, HELLO, OK, VERSION, Client, Refused

AUTH_CHALLENGE, AUTH_RESPONSE = 100, 101


def mac(key, text):
    return hmac.new(key, text.encode() if isinstance(text, str) else text, hashlib.sha256).digest()


class Scram:
    """The client's side of one attempt."""

    def __init__(self, user, password):
        self.password = password
        self.bare = f"n={user},r={base64.b64encode(os.urandom(18)).decode()}"
        self.first = "n,," + self.bare

    def answer(self, challenge):
        parts = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        without = f"c={base64.b64encode(b'n,,').decode()},r={parts['r']}"
        whole = f"{self.bare},{challenge},{without}"
        key = mac(salted, "Client Key")
        signature = mac(hashlib.sha256(key).digest(), whole)
        proof = bytes(a ^ b for a, b in zip(key, signature))
        self.expected = "v=" + base64.b64encode(mac(mac(salted, "Server Key"), whole)).decode()
        return f"{without},p={base64.b64encode(proof).decode()}"


class User(Client):
    """A client that signs in. With `context` over TLS."""

    def __init__(self, port, user=None, password="", mechanism="SCRAM-SHA-256", context=None, **options):
        super().__init__("127.0.0.1", port, hello=False)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        if mechanism == "SCRAM-SHA-256" and user is not None:
            self.info = self.scram(user, password, **options)
        elif mechanism == "PLAIN":
            self.info = self.hello(mechanism="PLAIN", initial=f"\0{user}\0{password}", **options)
        elif mechanism is None:
            pass  # the test says what it wants to
        elif mechanism == "EXTERNAL":
            self.info = self.hello(mechanism="EXTERNAL", **options)
        else:
            self.info = self.hello(**options)

    def begin(self, user, password, **options):
        """hello, and the broker's challenge; self.attempt has what answers it."""
        self.attempt = Scram(user, password)
        self.send(HELLO, 1, VERSION, {"name": "python", "mechanism": "SCRAM-SHA-256",
                                      "initial": self.attempt.first, **options})
        values = self.wait_for(lambda f: f[0] in (AUTH_CHALLENGE, ERROR))
        if values[0] == ERROR:
            raise Refused(values[2], values[3])
        return values[2]

    def end(self, answer):
        self.send(AUTH_RESPONSE, 2, answer)
        values = self.wait_for(lambda f: f[0] in (OK, ERROR))
        if values[0] == ERROR:
            raise Refused(values[2], values[3])
        assert values[1] == 1, "hello is what is answered"
        return values[2]

    def scram(self, user, password, **options):
        challenge = self.begin(user, password, **options)
        info = self.end(self.attempt.answer(challenge))
        assert info["proof"] == self.attempt.expected, "this is not the broker"
        self.next_request = 3
        return info
