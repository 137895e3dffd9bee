"""valkey-py, and the commands of newer servers that compare: arguments are the file of the truth and
the port."""

import sys
import time
import uuid

import valkey

from truth import Truth, child, wait_for

truth = Truth()


def client():
    connected = valkey.Valkey(port=int(sys.argv[2]))
    connected.ping()
    return connected


def holds():
    lock = client().lock("lock:invoice:42", timeout=5)
    truth.acquire("lock:invoice:42", lock.acquire)
    time.sleep(0.4)
    lock.extend(2)
    time.sleep(0.2)
    truth.release("lock:invoice:42", lock.release, renewals=1)


def waits():
    connected = client()
    time.sleep(0.2)
    lock = connected.lock("lock:invoice:42", timeout=5, sleep=0.05)
    truth.acquire("lock:invoice:42", lock.acquire, holder=first)
    time.sleep(0.1)
    truth.release("lock:invoice:42", lock.release)


def tries(connected, token, lease=3000):
    return lambda: connected.set("job:7", token, nx=True, px=lease)


def compares():
    connected, token = client(), uuid.uuid4().hex
    truth.acquire("job:7", tries(connected, token))
    time.sleep(0.3)
    assert connected.execute_command("SET", "job:7", token, "IFEQ", token, "PX", 3000)
    time.sleep(0.2)
    released = truth.release(
        "job:7", lambda: connected.execute_command("DELIFEQ", "job:7", token), renewals=1
    )
    assert released == 1, released


def compares_later(other):
    connected, token = client(), uuid.uuid4().hex
    time.sleep(0.1)

    def until_free():
        while not tries(connected, token, 300)():
            time.sleep(0.05)
        return True

    truth.acquire("job:7", until_free, holder=other)
    begun = truth.held["job:7"]
    truth.finding("stale_holder", "job:7")
    time.sleep(0.6)
    assert connected.execute_command("DELIFEQ", "job:7", token) == 0
    truth.release("job:7", end="expired", at=begun + 300_000_000)


first = child(holds)
wait_for(first, child(waits))
first = child(compares)
wait_for(first, child(lambda: compares_later(first)))
