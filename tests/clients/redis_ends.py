"""redis-py in processes that end or stop while they have a lock: arguments are the file of the truth
and the port."""

import os
import signal
import sys
import time

import redis

from truth import Truth, child, wait_for

truth = Truth()


def client():
    connected = redis.Redis(port=int(sys.argv[2]))
    connected.ping()
    return connected


def lock(name, **more):
    return client().lock(name, sleep=0.02, **more)


def dies():
    mine = lock("lock:orphan", timeout=0.8)
    truth.acquire("lock:orphan", mine.acquire)
    begun = truth.held["lock:orphan"]
    truth.finding("orphan", "lock:orphan")
    # The server has it until the lease ends.
    truth.say("hold", "lock:orphan", begin=begun, end=begun + 800_000_000, ended="orphaned")
    os.kill(os.getpid(), signal.SIGKILL)


def inherits(dead):
    mine = lock("lock:orphan", timeout=5)
    truth.acquire("lock:orphan", mine.acquire, holder=dead)
    truth.release("lock:orphan", mine.release)


def for_ever():
    mine = lock("lock:ever")
    truth.acquire("lock:ever", mine.acquire)
    truth.finding("immortal_lock", "lock:ever")
    time.sleep(0.1)
    truth.release("lock:ever", mine.release)


def stops(name, lease, others):
    """Until it is told to go on: then it believes that it has the lock."""
    mine = lock(name, timeout=lease)
    truth.acquire(name, mine.acquire)
    begun = truth.held[name]
    for kind in ("stale_holder", *others):
        truth.finding(kind, name)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        mine.release()
        sys.exit("it should have been too late")
    except redis.exceptions.LockNotOwnedError:
        pass
    truth.release(name, end="expired", at=begun + int(lease * 1e9))


def takes_over(name, stopped):
    mine = lock(name, timeout=5)
    truth.acquire(name, mine.acquire, holder=stopped)
    time.sleep(0.1)
    truth.release(name, mine.release)
    os.kill(stopped, signal.SIGCONT)


def stopped(name, lease, *others):
    holder = child(lambda: stops(name, lease, others))
    os.waitpid(holder, os.WUNTRACED)
    wait_for(child(lambda: takes_over(name, holder)), holder)


dead = child(dies)
os.waitpid(dead, 0)
every = [
    child(lambda: inherits(dead)),
    child(for_ever),
    # A lease shorter than what waiters are told about, and a longer one.
    child(lambda: stopped("lock:brief", 0.5)),
    child(lambda: stopped("lock:long", 2.2, "holder_stopped")),
]
wait_for(*every)
