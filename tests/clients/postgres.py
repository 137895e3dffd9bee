"""Advisory locks of PostgreSQL: arguments are the file of the truth, the port, the client, and perhaps
the host, which is a folder for a unix socket."""

import importlib
import os
import sys
import time

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])
host = sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1"
driver = importlib.import_module(sys.argv[3])


def connect(**more):
    connection = driver.connect(host=host, port=port, user="postgres", dbname="shop", **more)
    connection.autocommit = True
    return connection


def ask(connection, sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


def do(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def lock_and_unlock(connection, key, seconds, **more):
    name = f"/shop/adv/0:{key}:1"
    take = lambda: ask(connection, "SELECT pg_advisory_lock(%s)", key)
    truth.acquire(name, take, ok=lambda _: True, **more)
    time.sleep(seconds)
    give = lambda: ask(connection, "SELECT pg_advisory_unlock(%s)", key)
    # Others may have it before the answer is read: the hold ends with the request.
    assert truth.release(name, give, at=time.monotonic_ns())


def holds():
    lock_and_unlock(connect(), 42, 0.5)


def waits():
    connection = connect()
    time.sleep(0.2)
    lock_and_unlock(connection, 42, 0.1, holder=first)


def tries():
    connection = connect()
    time.sleep(0.2)
    sql = "SELECT pg_try_advisory_lock(%s)"
    truth.acquire("/shop/adv/0:42:1", lambda: ask(connection, sql, 42), holder=first)


def fails(connection, sql, code):
    try:
        do(connection, sql)
    except driver.Error as error:
        # The older client calls it otherwise.
        assert code in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None)), error
        return False
    raise SystemExit(f"{sql} came to an end")


def gives_up():
    connection = connect()
    do(connection, "SET lock_timeout = '150ms'")
    time.sleep(0.2)
    take = lambda: fails(connection, "SELECT pg_advisory_lock(42)", "55P03")
    truth.acquire("/shop/adv/0:42:1", take, outcome="abandoned", holder=first)


def transactions():
    connection = connect()
    connection.autocommit = False
    for end in (connection.commit, connection.rollback):
        # The transaction has begun, so that what follows is one statement each.
        do(connection, "SELECT 1")
        for name, call in [
            ("/shop/adv/0:7:1", "pg_advisory_xact_lock(7)"),
            ("/shop/adv/3:4294967291:2", "pg_advisory_xact_lock_shared(3, -5)"),
        ]:
            truth.acquire(name, lambda: do(connection, f"SELECT {call}"), ok=lambda _: True)
        time.sleep(0.1)
        asked = time.monotonic_ns()
        end()
        for name in ("/shop/adv/0:7:1", "/shop/adv/3:4294967291:2"):
            truth.release(name, at=asked)


def again():
    """Twice taken, once told; from the sixth run on, the newer client names its statements."""
    connection = connect()
    for _ in range(8):
        lock_and_unlock(connection, 9, 0.02)
    name = "/shop/adv/0:8:1"
    truth.acquire(name, lambda: ask(connection, "SELECT pg_try_advisory_lock(%s)", 8))
    truth.held[name + " again"] = truth.held[name]
    assert ask(connection, "SELECT pg_try_advisory_lock(%s)", 8)
    assert ask(connection, "SELECT pg_advisory_unlock(%s)", 8)
    time.sleep(0.05)
    give = lambda: do(connection, "SELECT pg_advisory_unlock_all()")
    truth.release(name, give, at=time.monotonic_ns())


def closes():
    connection = connect()
    take = lambda: ask(connection, "SELECT pg_advisory_lock(5)")
    truth.acquire("/shop/adv/0:5:1", take, ok=lambda _: True)
    time.sleep(0.1)
    truth.release("/shop/adv/0:5:1", connection.close, end="connection_closed")


def crashes():
    """Its locks end with its connection: nothing is left behind."""
    connection = connect()
    take = lambda: ask(connection, "SELECT pg_advisory_lock(6)")
    truth.acquire("/shop/adv/0:6:1", take, ok=lambda _: True)
    time.sleep(0.1)
    truth.release("/shop/adv/0:6:1", end="connection_closed", slack=20_000_000)
    os._exit(0)


def rows():
    """Of statements without a word of locks, what the server says of them is heard."""
    connection = connect(options="-c lock_timeout=100ms")
    connection.autocommit = False
    other = connect()
    other.autocommit = False
    do(other, "UPDATE job SET state = 1")
    # The error comes at once, behind what a row looks like, and behind a row.
    for sql in (
        "UPDATE job SET state = 2",
        "SELECT state FROM job WHERE id = 2 FOR UPDATE",
        "SELECT state FROM job WHERE id > 0 ORDER BY id FOR UPDATE",
    ):
        # How long it waited is not known: the request was left out.
        now = lambda: fails(connection, sql, "55P03")
        truth.acquire("rows/job", now, outcome="abandoned", slack=200_000_000)
        connection.rollback()


with connect() as connection:
    do(connection, "CREATE TABLE IF NOT EXISTS job (id int PRIMARY KEY, state int)")
    do(connection, "INSERT INTO job VALUES (1, 0), (2, 0) ON CONFLICT DO NOTHING")
connection.close()
wait_for(child(rows))
first = child(holds)
wait_for(first, child(waits), child(tries), child(gives_up))
wait_for(*[child(work) for work in (transactions, again, closes, crashes)])
