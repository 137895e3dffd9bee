"""A holder that renews its lock and is stopped in between: arguments are the truth's file, the port."""

import os
import signal
import sys
import time

import redis

from truth import Truth, child, wait_for

truth = Truth()
LOCK = "lock:renewed"


def holds():
    lock = redis.Redis(port=int(sys.argv[2])).lock(LOCK, timeout=5)
    truth.acquire(LOCK, lock.acquire)
    os.write(held[1], b".")
    for _ in range(8):
        time.sleep(0.2)
        lock.reacquire()
    truth.release(LOCK, lock.release, renewals=8)


held = os.pipe()
holder = child(holds)
os.read(held[0], 1)
time.sleep(0.9)
os.kill(holder, signal.SIGSTOP)
truth.finding("holder_paused", LOCK, pid=holder)
time.sleep(1.5)
os.kill(holder, signal.SIGCONT)
wait_for(holder)
