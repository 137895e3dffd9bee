"""redlock-py, that asks one master after the other: arguments are the file of the truth and the
ports."""

import sys
import time

from redlock import Redlock

from truth import Truth, child, wait_for

truth = Truth()


def locks(tries):
    masters = [{"host": "127.0.0.1", "port": int(port)} for port in sys.argv[2:]]
    made = Redlock(masters, retry_count=tries, retry_delay=0.05)
    for server in made.servers:
        server.ping()
    return made


def holds():
    manager = locks(1)
    lock = truth.acquire("pay", lambda: manager.lock("pay", 3000))
    time.sleep(0.4)
    truth.release("pay", lambda: manager.unlock(lock))


def tries():
    manager = locks(1)
    time.sleep(0.1)
    # It sleeps when it has given up.
    attempt = lambda: manager.lock("pay", 3000)
    truth.acquire("pay", attempt, holder=first, slack=60_000_000)


def waits():
    manager = locks(50)
    time.sleep(0.2)
    lock = truth.acquire("pay", lambda: manager.lock("pay", 3000), holder=first)
    time.sleep(0.1)
    truth.release("pay", lambda: manager.unlock(lock))


def overruns():
    """Nobody tells it: it gives back what it has no more."""
    manager = locks(1)
    lock = truth.acquire("overrun", lambda: manager.lock("overrun", 300))
    begun = truth.held["overrun"]
    truth.finding("stale_holder", "overrun")
    time.sleep(0.6)
    manager.unlock(lock)
    truth.release("overrun", end="expired", at=begun + 300_000_000)


first = child(holds)
wait_for(first, child(tries), child(waits), child(overruns))
