"""pymemcache: arguments are the file of the truth and the port."""

import sys
import time

from pymemcache.client.base import Client

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])


def client():
    server = Client(("127.0.0.1", port), default_noreply=False)
    server.version()  # the connection is made with the first word
    return server


def take(server, key, patience=0.0, expire=5):
    """Tries until it has the lock, or for so long."""
    until = time.monotonic() + patience
    while not server.add(key, b"a nonce of mine", expire=expire):
        if time.monotonic() >= until:
            return False
        time.sleep(0.03)
    return True


def holds():
    server = client()
    truth.acquire("lock:invoice", lambda: take(server, "lock:invoice"))
    time.sleep(0.3)
    assert server.touch("lock:invoice", 4)
    time.sleep(0.3)
    truth.release("lock:invoice", lambda: server.delete("lock:invoice"), renewals=1)


def waits():
    time.sleep(0.2)
    server = client()
    truth.acquire("lock:invoice", lambda: take(server, "lock:invoice", 5), holder=first)
    time.sleep(0.1)
    truth.release("lock:invoice", lambda: server.delete("lock:invoice"))


def tries():
    time.sleep(0.3)
    server = client()
    truth.acquire("lock:invoice", lambda: take(server, "lock:invoice"), holder=first)


def overruns():
    server = client()
    truth.acquire("lock:report", lambda: take(server, "lock:report", expire=1))
    begun = truth.held["lock:report"]
    truth.finding("stale_holder", "lock:report")
    # The server counts whole seconds: two of them are over for certain.
    time.sleep(2.2)
    assert not server.delete("lock:report")
    truth.release("lock:report", end="expired", at=begun + 1_000_000_000)


def for_ever():
    server = client()
    truth.finding("immortal_lock", "lock:config")
    truth.acquire("lock:config", lambda: take(server, "lock:config", expire=0))
    time.sleep(0.1)
    truth.release("lock:config", lambda: server.delete("lock:config"))


def caches():
    """What a cache does is no lock."""
    server = client()
    server.add("user:1", b"x" * 200, expire=300)
    server.get("user:1")
    server.set("user:1", b"y" * 200, expire=300)
    server.touch("user:1", 300)


first = child(holds)
wait_for(first, *[child(work) for work in [waits, tries, overruns, for_ever, caches]])
