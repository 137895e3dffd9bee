"""One of two agents that share a workspace in Redis: arguments are its part and the port."""

import sys
import time

import redis

part, connected = sys.argv[1], redis.Redis(port=int(sys.argv[2]))
connected.ping()
writer = part == "writer"
for turn in range(3):
    # The writer comes when the planner has the lock, in every turn.
    time.sleep(0.15 if writer else 0.05)
    lock = connected.lock("lock:workspace", timeout=5, sleep=0.02)
    lock.acquire()
    time.sleep(0.1 if writer else 0.3)
    lock.release()
    while connected.incr(f"turns:{turn}:{part}") and not connected.get(
        f"turns:{turn}:{'planner' if writer else 'writer'}"
    ):
        time.sleep(0.01)
if writer:
    # Its lease is shorter than its work.
    lock = connected.lock("lock:report", timeout=0.3)
    lock.acquire()
    time.sleep(0.8)
