"""redis-py with asyncio, two tasks of one thread: arguments are the file of the truth, the port, the
protocol."""

import asyncio
import os
import sys

import redis.asyncio as redis

from truth import Truth

truth = Truth()
port, protocol = int(sys.argv[2]), int(sys.argv[3])
NAME = "lock:async"


async def client():
    connected = redis.Redis(port=port, protocol=protocol)
    await connected.ping()
    return connected


async def holds(connected):
    lock = connected.lock(NAME, timeout=3)
    await truth.acquire_async(NAME, lock.acquire, key="first")
    await asyncio.sleep(0.3)
    await lock.extend(2)
    await truth.release_async(NAME, lock.release, key="first", renewals=1)


async def waits(connected):
    await asyncio.sleep(0.1)
    lock = connected.lock(NAME, timeout=3, sleep=0.02)
    await truth.acquire_async(NAME, lock.acquire, key="second", holder=os.getpid())
    await asyncio.sleep(0.1)
    await truth.release_async(NAME, lock.release, key="second", renewals=0)


async def gives_up(connected):
    await asyncio.sleep(0.1)
    lock = connected.lock(NAME, timeout=3, sleep=0.02)
    attempt = lambda: lock.acquire(blocking_timeout=0.1)
    await truth.acquire_async(NAME, attempt, outcome="abandoned", slack=30_000_000)


async def main():
    clients = [await client() for _ in range(3)]
    await asyncio.gather(*(work(c) for work, c in zip((holds, waits, gives_up), clients)))
    for connected in clients:
        await connected.aclose()


asyncio.run(main())
