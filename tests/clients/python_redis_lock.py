"""python-redis-lock, that waits in BLPOP: arguments are the file of the truth and the port."""

import sys
import time

import redis
import redis_lock

from truth import Truth, child, wait_for

truth = Truth()


def client():
    connected = redis.Redis(port=int(sys.argv[2]))
    connected.ping()
    return connected


def holds():
    """A thread of its own prolongs it, after two thirds of the lease."""
    lock = redis_lock.Lock(client(), "job", expire=1, auto_renewal=True)
    # That thread is started before it is told that it has the lock, and ended before it gives it
    # back.
    truth.acquire("lock:job", lock.acquire, slack=40_000_000)
    time.sleep(0.9)
    truth.release("lock:job", lock.release, renewals=1, slack=40_000_000)


def tries():
    connected = client()
    time.sleep(0.2)
    lock = redis_lock.Lock(connected, "job", expire=5)
    truth.acquire("lock:job", lambda: lock.acquire(blocking=False), holder=first)


def waits():
    connected = client()
    time.sleep(0.3)
    lock = redis_lock.Lock(connected, "job", expire=5)
    truth.acquire("lock:job", lock.acquire, holder=first)
    time.sleep(0.1)
    truth.release("lock:job", lock.release, renewals=0)


def overruns():
    connected = client()
    time.sleep(0.4)
    lock = redis_lock.Lock(connected, "brief", expire=1)
    assert lock.get_owner_id() is None
    truth.acquire("lock:brief", lock.acquire)
    begun = truth.held["lock:brief"]
    truth.finding("stale_holder", "lock:brief")
    time.sleep(1.2)
    for late in (lambda: lock.extend(1), lock.release):
        try:
            late()
            sys.exit("it should have been too late")
        except redis_lock.NotAcquired:
            pass
    truth.release("lock:brief", end="expired", at=begun + 1_000_000_000, renewals=0)


first = child(holds)
wait_for(first, child(tries), child(waits), child(overruns))
