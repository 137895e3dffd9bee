"""Ten clients of Consul that wait for one key: arguments are the file of the truth, the port.

Each has a session of its own and a blocking query, which is answered when the key changes; all ask
for the lock then, and nine in vain.
"""

import http.client
import json
import os
import sys
import time

from truth import Truth, child, wait_for

truth = Truth()
KEY = "/v1/kv/herd"


class Client:
    def __init__(self):
        self.http = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]))
        created = self.ask("PUT", "/v1/session/create", json.dumps({"TTL": "10s", "LockDelay": "0s"}))
        self.session = json.loads(created)["ID"]

    def ask(self, verb, path, body=None):
        self.http.request(verb, path, body)
        answer = self.http.getresponse()
        self.index = answer.headers["X-Consul-Index"]
        return answer.read()

    def acquire(self):
        return self.ask("PUT", f"{KEY}?acquire={self.session}") == b"true"

    def release(self):
        self.ask("PUT", f"{KEY}?release={self.session}")


def holds():
    server = Client()
    truth.acquire("herd", server.acquire)
    os.write(held[1], b".")
    truth.finding("thundering_herd", "herd")
    time.sleep(1)
    truth.release("herd", server.release)


def waits():
    server = Client()

    def acquire():
        if server.acquire():
            return True
        server.ask("GET", KEY)
        server.ask("GET", f"{KEY}?index={server.index}&wait=10s")
        return server.acquire()

    # Whoever gets it goes on having it: the others are refused and give up.
    if truth.acquire("herd", acquire, outcome="abandoned", holder=first):
        time.sleep(0.5)
        truth.release("herd", server.release)


held = os.pipe()
first = child(holds)
os.read(held[0], 1)
wait_for(first, *(child(waits) for _ in range(10)))
