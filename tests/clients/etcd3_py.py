"""python etcd3, which speaks gRPC: arguments are the file of the truth, the port."""

import sys
import time

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])
# etcd gives no lease of less than this, seconds.
SHORTEST = 2


def client():
    # Threads of gRPC do not survive a fork: it is loaded where it is used.
    import etcd3

    made = etcd3.client(host="127.0.0.1", port=port)
    made.status()
    return made


def acquire(lock, outcome="acquired", timeout=10, **more):
    """From the first request for the lock, which follows that for a lease."""
    leased = []
    grant = lock.etcd_client.lease

    def lease(ttl):
        granted = grant(ttl)
        leased.append(time.monotonic_ns())
        return granted

    lock.etcd_client.lease = lease
    assert lock.acquire(timeout=timeout) == (outcome == "acquired")
    key, end = lock.key, time.monotonic_ns()
    truth.held[key] = end
    truth.say("acquire", key, begin=leased[0], end=end, outcome=outcome, **more)


def holds():
    lock = client().lock("grpc", ttl=5)
    acquire(lock)
    time.sleep(1.2)
    lock.refresh()
    time.sleep(0.4)
    truth.release("/locks/grpc", lock.release, renewals=1)


def waits():
    time.sleep(0.7)
    lock = client().lock("grpc", ttl=5)
    acquire(lock, holder=first)
    time.sleep(0.1)
    truth.release("/locks/grpc", lock.release)


def gives_up():
    time.sleep(0.7)
    lock = client().lock("grpc", ttl=5)
    acquire(lock, outcome="abandoned", timeout=0.3, holder=first)


def overruns():
    lock = client().lock("grpc report", ttl=1)
    acquire(lock)
    begun = truth.held["/locks/grpc report"]
    truth.finding("stale_holder", "/locks/grpc report")
    time.sleep(SHORTEST + 1.5)
    assert not lock.release()
    # The lease is granted before the lock is.
    end = begun + SHORTEST * 10**9
    truth.release("/locks/grpc report", end="expired", at=end, slack=20_000_000)


first = child(holds)
wait_for(first, child(waits), child(gives_up), child(overruns))
