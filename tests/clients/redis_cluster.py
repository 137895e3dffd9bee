"""redis-py with a cluster, a key of which moves to another server while it is a lock: arguments are
the file of the truth and the ports."""

import sys
import time

import redis
from redis.cluster import ClusterNode, RedisCluster

from truth import Truth, child, wait_for

truth = Truth()
ports = [int(port) for port in sys.argv[2:]]


def client():
    connected = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port) for port in ports])
    connected.ping(target_nodes=RedisCluster.ALL_NODES)
    return connected


def holds():
    locks = [client().lock(f"lock:{name}", timeout=5) for name in "abc"]
    for lock in locks:
        truth.acquire(lock.name, lock.acquire)
    time.sleep(0.4)
    for lock in locks:
        lock.extend(3)
    time.sleep(0.1)
    for lock in locks:
        truth.release(lock.name, lock.release, renewals=1)


def waits():
    connected = client()
    time.sleep(0.2)
    for name in "abc":
        lock = connected.lock(f"lock:{name}", timeout=5, sleep=0.05)
        truth.acquire(lock.name, lock.acquire, holder=first if name == "a" else None)
        truth.release(lock.name, lock.release)


class Move:
    """A slot on its way from one server to another."""

    def __init__(self, connected, key):
        self.slot, self.key = connected.keyslot(key), key
        self.old = connected.get_node_from_key(key).port
        self.new = next(port for port in ports if port != self.old)
        self.ends = {port: redis.Redis(port=port) for port in ports}
        self.ids = {port: end.execute_command("CLUSTER MYID") for port, end in self.ends.items()}

    def set_slot(self, port, *how):
        self.ends[port].execute_command("CLUSTER SETSLOT", self.slot, *how)

    def begin(self):
        """The key is there, and its old server sends whoever asks for it on."""
        self.set_slot(self.new, "IMPORTING", self.ids[self.old])
        self.set_slot(self.old, "MIGRATING", self.ids[self.new])
        self.ends[self.old].migrate("127.0.0.1", self.new, self.key, 0, 1000)

    def end(self):
        """The slot is the other server's."""
        for port in (self.new, self.old):
            self.set_slot(port, "NODE", self.ids[self.new])


def moves():
    connected = client()
    lock = connected.lock("lock:moves", timeout=5)
    truth.acquire("lock:moves", lock.acquire)
    move = Move(connected, "lock:moves")
    time.sleep(0.2)
    move.begin()
    # Answered with ASK.
    lock.extend(3)
    time.sleep(0.2)
    move.end()
    # Answered with MOVED.
    lock.extend(3)
    time.sleep(0.2)
    truth.release("lock:moves", lock.release, renewals=2)


def follows():
    connected = client()
    time.sleep(0.1)
    lock = connected.lock("lock:moves", timeout=5, sleep=0.05)
    truth.acquire("lock:moves", lock.acquire, holder=first)
    truth.release("lock:moves", lock.release)


first = child(holds)
wait_for(first, child(waits))
first = child(moves)
wait_for(first, child(follows))
