"""Two processes that wait for each other through PostgreSQL and Redis, until one gives up:
arguments are the file of the truth and the ports of PostgreSQL and Redis."""

import sys
import time

import psycopg
import redis

from truth import Truth, child, wait_for

truth = Truth()
postgres, other = int(sys.argv[2]), int(sys.argv[3])


def session():
    return psycopg.connect(
        host="127.0.0.1", port=postgres, user="postgres", dbname="shop", autocommit=True
    )


def advisory_first():
    connection = session()
    connection.execute("SELECT pg_advisory_lock(1)")
    truth.say("has", "/shop/adv/0:1:1")
    lock = redis.Redis(port=other).lock("lock:stock", timeout=10, sleep=0.05)
    time.sleep(0.3)
    assert not lock.acquire(blocking_timeout=1.5)
    connection.execute("SELECT pg_advisory_unlock(1)")


def redis_first():
    lock = redis.Redis(port=other).lock("lock:stock", timeout=10)
    assert lock.acquire()
    truth.say("has", "/lock:stock")
    connection = session()
    time.sleep(0.3)
    connection.execute("SELECT pg_advisory_lock(1)")
    connection.execute("SELECT pg_advisory_unlock(1)")
    lock.release()


wait_for(child(advisory_first), child(redis_first))
