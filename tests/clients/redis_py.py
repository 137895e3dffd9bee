"""redis-py, the blocking client: arguments are the file of the truth, the port, the protocol, and
perhaps the path of a unix socket."""

import sys
import time

import redis

from truth import Truth, child, wait_for

truth = Truth()
port, protocol = int(sys.argv[2]), int(sys.argv[3])


def client():
    where = {"unix_socket_path": sys.argv[4]} if len(sys.argv) > 4 else {"port": port}
    connected = redis.Redis(protocol=protocol, **where)
    connected.ping()
    return connected


def holds():
    lock = client().lock("lock:invoice:42", timeout=5)
    truth.acquire("lock:invoice:42", lock.acquire)
    time.sleep(0.4)
    lock.extend(2)
    time.sleep(0.2)
    truth.release("lock:invoice:42", lock.release, renewals=1)


def waits():
    connected = client()
    time.sleep(0.2)
    lock = connected.lock("lock:invoice:42", timeout=5, sleep=0.05)
    truth.acquire("lock:invoice:42", lock.acquire, holder=first)
    time.sleep(0.1)
    truth.release("lock:invoice:42", lock.release)


def gives_up():
    connected = client()
    time.sleep(0.3)
    lock = connected.lock("lock:invoice:42", timeout=5, sleep=0.05)
    truth.acquire(
        "lock:invoice:42",
        lambda: lock.acquire(blocking_timeout=0.2),
        outcome="abandoned",
        slack=60_000_000,
    )


def overruns():
    lock = client().lock("lock:report", timeout=0.3)
    truth.acquire("lock:report", lock.acquire)
    begun = truth.held["lock:report"]
    truth.finding("stale_holder", "lock:report")
    time.sleep(0.6)
    try:
        lock.release()
    except redis.exceptions.LockNotOwnedError:
        pass
    truth.release("lock:report", end="expired", at=begun + 300_000_000)


first = child(holds)
wait_for(first, child(waits), child(gives_up))
wait_for(child(overruns))
