"""Rows that MySQL locks, through PyMySQL: arguments are the file of the truth and the port."""

import sys
import time

import pymysql

from truth import Truth, child, wait_for

truth = Truth()
port = int(sys.argv[2])

ROWS = "/rows/jobs/"
# A statement that is over sooner is taken not to have waited.
SOON = {"slack": 50_000_000}


def connect(**more):
    return pymysql.connect(host="127.0.0.1", port=port, user="root", **more)


def do(connection, sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return True


def row(connection, number):
    sql = "SELECT id FROM shop.jobs WHERE id = %s FOR UPDATE"
    return lambda: do(connection, sql, number)


def holds(number, seconds):
    connection = connect()
    truth.acquire(ROWS, row(connection, number), **SOON)
    time.sleep(seconds)
    truth.release(ROWS, connection.commit)


def waits():
    connection = connect()
    time.sleep(0.2)
    truth.acquire(ROWS, row(connection, 1), holder=first)
    time.sleep(0.1)
    truth.release(ROWS, connection.commit)


def gives_up():
    """After a second, as the server is set up."""
    connection = connect()
    time.sleep(0.2)

    def attempt():
        try:
            row(connection, 3)()
        except pymysql.err.OperationalError as error:
            assert error.args[0] == 1205, error
            return False

    truth.acquire(ROWS, attempt, outcome="abandoned", holder=first)
    connection.rollback()


setup = connect(autocommit=True)
do(setup, "CREATE DATABASE IF NOT EXISTS shop")
do(setup, "CREATE TABLE IF NOT EXISTS shop.jobs (id int PRIMARY KEY) ENGINE=InnoDB")
do(setup, "REPLACE INTO shop.jobs VALUES (1), (2), (3)")
setup.close()
first = child(lambda: holds(1, 0.8))
# Another row, by the same words.
wait_for(first, child(lambda: holds(2, 0.5)), child(waits))
first = child(lambda: holds(3, 1.5))
wait_for(first, child(gives_up))
