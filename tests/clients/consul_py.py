"""py-consul: arguments are the file of the truth, the port."""

import sys
import time
import urllib.request

import consul

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])
LOCK = "jobs/42/lock"


def client():
    made = consul.Consul(host="127.0.0.1", port=port)
    return made, made.session.create("one", ttl=10, lock_delay=0)


def holds():
    server, session = client()
    truth.acquire(LOCK, lambda: server.kv.put(LOCK, "a", acquire=session))
    time.sleep(0.5)
    server.session.renew(session)
    time.sleep(0.3)
    truth.release(LOCK, lambda: server.kv.put(LOCK, "", release=session), renewals=1)


def waits():
    time.sleep(0.3)
    server, session = client()

    def acquire():
        while not server.kv.put(LOCK, "b", acquire=session):
            index, entry = server.kv.get(LOCK)
            if entry.get("Session"):
                server.kv.get(LOCK, index=index, wait="10s")
        return True

    truth.acquire(LOCK, acquire, holder=first)
    time.sleep(0.1)
    # A session that ends lets go of what it has.
    truth.release(LOCK, lambda: server.session.destroy(session))


def tries():
    time.sleep(0.4)
    server, session = client()
    truth.acquire(LOCK, lambda: server.kv.put(LOCK, "c", acquire=session), holder=first)


def loses():
    """Its session is ended by another, as that of a node that does not answer would be."""
    server, session = client()
    truth.acquire("lost", lambda: server.kv.put("lost", "a", acquire=session))
    time.sleep(0.2)
    url = f"http://127.0.0.1:{port}/v1/session/destroy/{session}"
    destroyed = urllib.request.Request(url, method="PUT")
    wait_for(child(lambda: urllib.request.urlopen(destroyed).read()))
    ended = time.monotonic_ns()
    time.sleep(0.2)
    truth.finding("lease_lost", "lost")
    try:
        server.session.renew(session)
    except consul.NotFound:
        pass
    truth.release("lost", end="revoked", at=ended, slack=20_000_000)


first = child(holds)
wait_for(first, child(waits), child(tries), child(loses))
