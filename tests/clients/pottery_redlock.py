"""pottery's Redlock, a thread for each master and a new token for each try: arguments are the file of
the truth and the ports."""

import sys
import time

import redis
from pottery import Redlock

from truth import Truth, child, wait_for

truth = Truth()


def lock():
    masters = {redis.Redis(port=int(port)) for port in sys.argv[2:]}
    for master in masters:
        master.ping()
    return Redlock(key="res", masters=masters, auto_release_time=3)


def holds():
    mine = lock()
    truth.acquire("redlock:res", mine.acquire)
    time.sleep(0.3)
    assert mine.locked()
    mine.extend()
    time.sleep(0.2)
    truth.release("redlock:res", mine.release, renewals=1)


def tries():
    mine = lock()
    time.sleep(0.1)
    attempt = lambda: mine.acquire(blocking=False)
    truth.acquire("redlock:res", attempt, holder=first, slack=10_000_000)


def waits():
    mine = lock()
    time.sleep(0.2)
    truth.acquire("redlock:res", mine.acquire, holder=first)
    time.sleep(0.1)
    truth.release("redlock:res", mine.release, renewals=0)


first = child(holds)
wait_for(first, child(tries), child(waits))
