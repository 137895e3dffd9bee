"""portalocker's RedisLock, which is had by who listens to a channel: arguments are the file of the
truth and the port."""

import sys
import time

import redis
from portalocker import AlreadyLocked, RedisLock

from truth import Truth, child, wait_for

truth = Truth()
# It connects first, and ends its thread before it tells that it has let go.
SLACK = 100_000_000


def lock(**more):
    connected = redis.Redis(port=int(sys.argv[2]), protocol=2)
    return RedisLock("crewai:abc", connection=connected, **more)


def holds():
    mine = lock(timeout=1)
    truth.acquire("crewai:abc", mine.acquire, slack=SLACK)
    time.sleep(1.0)
    truth.release("crewai:abc", mine.release, end="connection_closed", slack=SLACK)


def tries():
    time.sleep(0.2)
    mine = lock(timeout=0.1, check_interval=0.05)

    def attempt():
        try:
            return mine.acquire()
        except AlreadyLocked:
            return None

    truth.acquire("crewai:abc", attempt, outcome="abandoned", holder=first, slack=SLACK)


def waits():
    time.sleep(0.5)
    mine = lock(timeout=5, check_interval=0.05)
    truth.acquire("crewai:abc", mine.acquire, holder=first, slack=SLACK)
    time.sleep(0.2)
    truth.release("crewai:abc", mine.release, end="connection_closed", slack=SLACK)


first = child(holds)
wait_for(first, child(tries), child(waits))
