"""redis-py under TLS, blocking and with asyncio: arguments are the file of the truth and the port.

The library a process encrypts with is found with its first connection; what later processes say is
seen from their first word.
"""

import asyncio
import sys
import time

import redis
import redis.asyncio

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])


def client(kind=redis.Redis):
    return kind(port=port, ssl=True, ssl_cert_reqs="none", db=3)


def first():
    client().ping()
    time.sleep(0.5)


def holds():
    server = client()
    server.ping()  # the handshake takes longer than the lock
    lock = server.lock("lock:tls", timeout=5)
    truth.acquire("3/lock:tls", lock.acquire)
    time.sleep(0.4)
    truth.release("3/lock:tls", lock.release)


def waits():
    async def work():
        await asyncio.sleep(0.2)
        server = client(redis.asyncio.Redis)
        await server.ping()
        lock = server.lock("lock:tls", timeout=5, sleep=0.05)
        await truth.acquire_async("3/lock:tls", lock.acquire, holder=holder)
        await asyncio.sleep(0.1)
        await truth.release_async("3/lock:tls", lock.release)

    asyncio.run(work())


wait_for(child(first))
holder = child(holds)
wait_for(holder, child(waits))
