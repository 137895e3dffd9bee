"""Two processes in a circle through a Redis lock and a lock of a file, until one of them loses
patience: arguments are the file of the truth, the port, and the kind of the file's lock."""

import fcntl
import sys
import tempfile
import time

import redis

from truth import Truth, child, wait_for

truth = Truth()
NAME = "lock:circle"
take, let_go = {
    "flock": (fcntl.flock, fcntl.LOCK_UN),
    "posix": (fcntl.lockf, fcntl.LOCK_UN),
}[sys.argv[3]]


def client():
    connected = redis.Redis(port=int(sys.argv[2]))
    connected.ping()
    return connected


def first(path):
    """Has the file and polls for the Redis lock."""
    file, lock = open(path, "w"), client().lock(NAME, timeout=20, sleep=0.05)
    take(file, fcntl.LOCK_EX)
    time.sleep(0.3)
    attempt = lambda: lock.acquire(blocking_timeout=1.5)
    truth.acquire(NAME, attempt, outcome="abandoned", holder=other, slack=90_000_000)
    take(file, let_go)
    time.sleep(0.3)


def second(path):
    """Has the Redis lock and waits for the file."""
    file, lock = open(path, "w"), client().lock(NAME, timeout=20)
    time.sleep(0.15)
    truth.acquire(NAME, lock.acquire)
    truth.finding("deadlock", NAME)
    take(file, fcntl.LOCK_EX)
    truth.release(NAME, lock.release)


with tempfile.NamedTemporaryFile(prefix="circle") as file:
    other = child(lambda: second(file.name))
    wait_for(child(lambda: first(file.name)), other)
