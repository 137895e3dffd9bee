"""Two sessions of PostgreSQL that wait for each other, until the server ends one's wait:
arguments are the file of the truth, the port, the client."""

import importlib
import sys
import time

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])
driver = importlib.import_module(sys.argv[3])


def name(key):
    return f"/shop/adv/0:{key}:1"


def session(own, other, begin):
    connection = driver.connect(host="127.0.0.1", port=port, user="postgres", dbname="shop")
    connection.autocommit = True
    cursor = connection.cursor()

    def lock(key):
        try:
            cursor.execute(f"SELECT pg_advisory_lock({key})")
        except driver.errors.DeadlockDetected:
            return False
        return True

    truth.acquire(name(own), lambda: lock(own))
    time.sleep(begin)
    # The server looks at the wait that began first first: for that it is a second old.
    got = truth.acquire(name(other), lambda: lock(other), outcome="abandoned")
    assert got == (own == 2)
    for key in (other, own) if got else (own,):
        give = lambda: cursor.execute(f"SELECT pg_advisory_unlock({key})")
        truth.release(name(key), give, at=time.monotonic_ns())
    if got:
        truth.finding("deadlock", name(own))


wait_for(child(lambda: session(1, 2, 0.2)), child(lambda: session(2, 1, 0.3)))
