"""redis-py in eight threads and, after forking, in a process that goes on with its parent's
connection: arguments are the file of the truth and the port."""

import os
import sys
import threading
import time

import redis

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])


def threads():
    """One connection each, of a pool; one lock for all."""
    pool = redis.Redis(port=port)
    ready = threading.Barrier(8)

    def work(number):
        pool.ping()
        ready.wait()
        time.sleep(number * 0.01)
        lock = pool.lock("lock:shared", timeout=10, sleep=0.02)
        waits = {} if number == 0 else {"holder": os.getpid()}
        truth.acquire("lock:shared", lock.acquire, key=number, **waits)
        # So long that all of them are there, then shorter.
        time.sleep(0.3 if number == 0 else 0.03)
        truth.release("lock:shared", lock.release, key=number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def inherits():
    """What a process has before it forks is given back by its child over the same connection."""
    client = redis.Redis(port=port, single_connection_client=True)
    client.ping()
    given, own = client.lock("lock:given", timeout=5), client.lock("lock:own", timeout=5)
    truth.acquire("lock:given", given.acquire)
    begun, parent = truth.held["lock:given"], os.getpid()

    def goes_on():
        time.sleep(0.1)
        truth.acquire("lock:own", own.acquire)
        time.sleep(0.1)
        truth.release("lock:own", own.release)
        given.release()
        ended = time.monotonic_ns()
        truth.say("hold", "lock:given", begin=begun, end=ended, ended="released", pid=parent)

    wait_for(child(goes_on))


wait_for(child(threads))
wait_for(child(inherits))
