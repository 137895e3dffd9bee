"""GET_LOCK through PyMySQL: arguments are the file of the truth and the port."""

import os
import sys
import time

import pymysql

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])


def connect():
    return pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True)


def ask(connection, sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


def lock_and_unlock(connection, lock, limit, seconds, **more):
    take = lambda: ask(connection, "SELECT GET_LOCK(%s, %s)", lock, limit)
    truth.acquire(f"/ul/{lock}", take, **more)
    time.sleep(seconds)
    give = lambda: ask(connection, "SELECT RELEASE_LOCK(%s)", lock)
    # Others may have it before the answer is read: the hold ends with the request.
    assert truth.release(f"/ul/{lock}", give, at=time.monotonic_ns()) == 1


def holds():
    lock_and_unlock(connect(), "invoice:42", 5, 0.5)


def waits():
    connection = connect()
    time.sleep(0.2)
    lock_and_unlock(connection, "invoice:42", 5, 0.1, holder=first)


def tries():
    connection = connect()
    time.sleep(0.2)
    take = lambda: ask(connection, "SELECT GET_LOCK('invoice:42', 0)")
    truth.acquire("/ul/invoice:42", take, holder=first)


def gives_up():
    connection = connect()
    time.sleep(0.2)
    take = lambda: ask(connection, "SELECT GET_LOCK(%s, %s)", "invoice:42", 0.15)
    truth.acquire("/ul/invoice:42", take, outcome="abandoned", holder=first)


def again():
    connection = connect()
    lock_and_unlock(connection, "nightly report", 1, 0.05)
    take = lambda: ask(connection, "SELECT GET_LOCK(%s, 1)", "twice")
    truth.acquire("/ul/twice", take)
    assert take() == 1
    assert ask(connection, "SELECT RELEASE_LOCK('twice')") == 1
    time.sleep(0.05)
    give = lambda: ask(connection, "SELECT RELEASE_ALL_LOCKS()")
    truth.release("/ul/twice", give, at=time.monotonic_ns())


def closes():
    connection = connect()
    truth.acquire("/ul/closed", lambda: ask(connection, "SELECT GET_LOCK('closed', 1)"))
    time.sleep(0.1)
    truth.release("/ul/closed", connection.close, end="connection_closed")


def crashes():
    """Its locks end with its connection: nothing is left behind."""
    connection = connect()
    truth.acquire("/ul/crashed", lambda: ask(connection, "SELECT GET_LOCK('crashed', 1)"))
    time.sleep(0.1)
    truth.release("/ul/crashed", end="connection_closed", slack=20_000_000)
    os._exit(0)


def rows():
    """Of statements without a word of locks, what the server says of them is heard."""
    connection, other = connect(), connect()
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS shop")
        cursor.execute("CREATE OR REPLACE TABLE shop.job (id int PRIMARY KEY, state int)")
        cursor.execute("INSERT INTO shop.job VALUES (1, 0), (2, 0)")
    connection.autocommit(False)
    other.begin()
    with other.cursor() as cursor:
        cursor.execute("UPDATE shop.job SET state = 1")

    def fails(sql):
        with connection.cursor() as cursor:
            try:
                cursor.execute(sql)
            except pymysql.err.OperationalError as error:
                assert error.args[0] == 1205, error
                return False
        raise SystemExit(f"{sql} came to an end")

    # The error comes at once, and behind what a row looks like.
    for sql in (
        "UPDATE shop.job SET state = 2",
        "SELECT id, state FROM shop.job WHERE id > 0 ORDER BY state FOR UPDATE",
    ):
        # How long it waited is not known: the request was left out.
        lines = {"outcome": "abandoned", "slack": 1_500_000_000}
        truth.acquire("/rows/?", lambda: fails(sql), **lines)
        connection.rollback()
    other.rollback()


first = child(holds)
wait_for(first, child(waits), child(tries), child(gives_up))
wait_for(*[child(work) for work in (again, closes, crashes, rows)])
