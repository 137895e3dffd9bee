"""Rows and tables that PostgreSQL locks: arguments are the file of the truth, the port, the client."""

import importlib
import sys
import time

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])
driver = importlib.import_module(sys.argv[3])

ROWS = "/shop/rows/jobs/"
TABLE = "/shop/table/jobs"


# A statement that is over sooner is taken not to have waited.
SOON = {"slack": 50_000_000}


def connect(begun=True):
    connection = driver.connect(host="127.0.0.1", port=port, user="postgres", dbname="shop")
    if begun:
        # The transaction has begun, so that what follows is one statement each.
        do(connection, "SELECT 1")
    return connection


def do(connection, sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return True


def row(connection, number, more=""):
    return lambda: do(connection, f"SELECT id FROM jobs WHERE id = %s FOR UPDATE{more}", number)


def commits(connection, lock):
    # Others may have it before the answer is read: the hold ends with the request.
    truth.release(lock, connection.commit, at=time.monotonic_ns(), slack=20_000_000)


def holds(number, seconds=1.2):
    connection = connect()
    truth.acquire(ROWS, row(connection, number), **SOON)
    time.sleep(seconds)
    commits(connection, ROWS)


def waits():
    connection = connect()
    time.sleep(0.2)
    truth.acquire(ROWS, row(connection, 1), holder=first)
    time.sleep(0.1)
    commits(connection, ROWS)


def refused(connection, call, code):
    try:
        call()
    except driver.Error as error:
        assert code in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None)), error
        connection.rollback()
        return False
    raise SystemExit("it came to an end")


def tries():
    connection = connect()
    time.sleep(0.2)
    call = row(connection, 1, " NOWAIT")
    truth.acquire(ROWS, lambda: refused(connection, call, "55P03"), **SOON)


def gives_up():
    connection = connect()
    do(connection, "SET lock_timeout = '150ms'")
    time.sleep(0.2)
    call = row(connection, 1)
    attempt = lambda: refused(connection, call, "55P03")
    truth.acquire(ROWS, attempt, outcome="abandoned", holder=first)


def table(wait):
    connection = connect()
    time.sleep(wait)
    take = lambda: do(connection, "LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
    truth.acquire(TABLE, take, **({"holder": first} if wait else SOON))
    time.sleep(0.8 - wait)
    commits(connection, TABLE)


setup = connect(begun=False)
do(setup, "DROP TABLE IF EXISTS jobs")
do(setup, "CREATE TABLE jobs (id int PRIMARY KEY)")
do(setup, "INSERT INTO jobs SELECT generate_series(1, 9)")
setup.commit()
setup.close()
first = child(lambda: holds(1))
# Another row, by the same words.
wait_for(first, child(lambda: holds(2)), child(waits), child(tries), child(gives_up))
first = child(lambda: table(0))
wait_for(first, child(lambda: table(0.2)))
