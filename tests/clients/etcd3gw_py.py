"""etcd3gw over the JSON gateway, and its lock service: arguments are the file of the truth, the port."""

import base64
import http.client
import json
import sys
import time

import etcd3gw

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])
# etcd gives no lease of less than this, seconds.
SHORTEST = 2


def client():
    made = etcd3gw.client(host="127.0.0.1", port=port, api_path="/v3/")
    made.status()
    return made


def acquire(lock, **more):
    """Polls until it has the lock; from the first request for it, which follows that for a lease."""
    leased = []
    grant = lock.client.lease

    def lease(ttl):
        granted = grant(ttl)
        leased.append(time.monotonic_ns())
        return granted

    lock.client.lease = lease
    while not lock.acquire():
        time.sleep(0.05)
    end = truth.held[lock.name] = time.monotonic_ns()
    truth.say("acquire", lock.name, begin=leased[0], end=end, outcome="acquired", **more)


def holds():
    lock = client().lock("res", ttl=5)
    acquire(lock)
    time.sleep(0.4)
    lock.refresh()
    time.sleep(0.2)
    truth.release("res", lock.release, renewals=1)


def waits():
    time.sleep(0.2)
    lock = client().lock("res", ttl=5)
    acquire(lock, holder=first)
    truth.release("res", lock.release)


def overruns():
    lock = client().lock("report", ttl=1)
    acquire(lock)
    begun = truth.held["report"]
    truth.finding("stale_holder", "report")
    time.sleep(SHORTEST + 1.5)
    lock.release()
    # The lease is granted before the lock is.
    truth.release("report", end="expired", at=begun + SHORTEST * 10**9, slack=20_000_000)


class Service:
    """`v3lock` over the gateway: one call blocks until the lock is had."""

    def __init__(self):
        self.http = http.client.HTTPConnection("127.0.0.1", port)
        self.lease = self.post("/v3/lease/grant", {"TTL": 10})["ID"]

    def send(self, path, body):
        self.http.request("POST", path, json.dumps(body))

    def post(self, path, body):
        self.send(path, body)
        return json.loads(self.http.getresponse().read())

    def ask(self):
        name = base64.b64encode(b"job42").decode()
        return "/v3/lock/lock", {"name": name, "lease": self.lease}

    def lock(self):
        return self.post(*self.ask())["key"]


def holds_by_service():
    service = Service()
    key = truth.acquire("job42", service.lock)
    time.sleep(0.8)
    truth.release("job42", lambda: service.post("/v3/lock/unlock", {"key": key}))


def waits_by_service():
    time.sleep(0.2)
    service = Service()
    truth.acquire("job42", service.lock, holder=by_service)
    time.sleep(0.1)
    # A lease that is given back ends what hangs on it.
    truth.release("job42", lambda: service.post("/v3/lease/revoke", {"ID": service.lease}))


def gives_up():
    time.sleep(0.3)
    service = Service()
    begin = time.monotonic_ns()
    service.send(*service.ask())
    time.sleep(0.2)
    service.http.close()
    end = time.monotonic_ns()
    truth.say("acquire", "job42", begin=begin, end=end, outcome="abandoned", holder=by_service)


first = child(holds)
by_service = child(holds_by_service)
wait_for(first, child(waits), by_service, child(waits_by_service), child(gives_up), child(overruns))
