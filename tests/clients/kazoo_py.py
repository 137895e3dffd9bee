"""kazoo: arguments are the file of the truth and the port."""

import os
import signal
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import LockTimeout

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])
# It looks for its directory first, and tidies up behind an attempt.
SLACK = 20_000_000


def client(timeout=4.0, **more):
    zookeeper = KazooClient(hosts=f"127.0.0.1:{port}", timeout=timeout, **more)
    zookeeper.start()
    return zookeeper


def give_up(lock, seconds):
    try:
        return lock.acquire(timeout=seconds)
    except LockTimeout:
        return False


def holds():
    zookeeper = client()
    lock = zookeeper.Lock("/kazoo/jobs", "first")
    truth.acquire("/kazoo/jobs", lock.acquire, slack=SLACK)
    time.sleep(0.6)
    truth.release("/kazoo/jobs", lock.release, slack=SLACK)
    zookeeper.stop()


def waits():
    time.sleep(0.2)
    # It says who it is, which nobody is to hear, and goes on: at first, and once it has the lock.
    # (While it waits for an answer kazoo itself would stumble over it.)
    zookeeper = client(auth_data=[("digest", "worker:confidential")])
    lock = zookeeper.Lock("/kazoo/jobs", "second")
    truth.acquire("/kazoo/jobs", lock.acquire, holder=first, slack=SLACK)
    zookeeper.add_auth("digest", "worker:confidential")
    time.sleep(0.1)
    truth.release("/kazoo/jobs", lock.release, slack=SLACK)
    zookeeper.stop()


def tries():
    time.sleep(0.3)
    zookeeper = client()
    lock = zookeeper.Lock("/kazoo/jobs", "third")
    truth.acquire("/kazoo/jobs", lambda: lock.acquire(blocking=False), holder=first, slack=SLACK)
    zookeeper.stop()


def gives_up():
    time.sleep(0.3)
    zookeeper = client()
    lock = zookeeper.Lock("/kazoo/jobs", "fourth")
    attempt = lambda: give_up(lock, 0.1)
    truth.acquire("/kazoo/jobs", attempt, outcome="abandoned", holder=first, slack=SLACK)
    zookeeper.stop()


def reads():
    zookeeper = client()
    lock = zookeeper.ReadLock("/kazoo/book", "reader")
    truth.acquire("/kazoo/book", lock.acquire, slack=SLACK)
    time.sleep(0.6)
    truth.release("/kazoo/book", lock.release, slack=SLACK)
    zookeeper.stop()


def reads_too():
    time.sleep(0.1)
    zookeeper = client()
    lock = zookeeper.ReadLock("/kazoo/book", "another reader")
    truth.acquire("/kazoo/book", lock.acquire, slack=SLACK)
    time.sleep(0.1)
    truth.release("/kazoo/book", lock.release, slack=SLACK)
    zookeeper.stop()


def writes():
    time.sleep(0.3)
    zookeeper = client()
    lock = zookeeper.WriteLock("/kazoo/book", "writer")
    truth.acquire("/kazoo/book", lock.acquire, holder=reader, slack=SLACK)
    time.sleep(0.1)
    truth.release("/kazoo/book", lock.release, slack=SLACK)
    zookeeper.stop()


def sleeps_through():
    """It is stopped past the end of its session, and lets go then of what it had lost."""
    zookeeper = client(timeout=1.0)
    lock = zookeeper.Lock("/kazoo/lost", "sleeper")
    truth.acquire("/kazoo/lost", lock.acquire, slack=SLACK)
    truth.finding("stale_holder", "/kazoo/lost")
    stopped = time.monotonic_ns()
    os.kill(os.getpid(), signal.SIGSTOP)
    assert lock.is_acquired
    time.sleep(0.5)
    lock.release()
    truth.release("/kazoo/lost", end="expired", at=stopped + 1_000_000_000, slack=500_000_000)
    zookeeper.stop()


maker = client()
for path in ["/kazoo/jobs", "/kazoo/book", "/kazoo/lost"]:
    maker.ensure_path(path)
maker.stop()
maker.close()
first = child(holds)
reader = child(reads)
others = [child(work) for work in [waits, tries, gives_up, reads_too, writes]]
sleeper = child(sleeps_through)
os.waitpid(sleeper, os.WUNTRACED)
time.sleep(2)
os.kill(sleeper, signal.SIGCONT)
wait_for(first, reader, sleeper, *others)
