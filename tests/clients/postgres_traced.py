"""Advisory locks taken by statements that say in a comment which trace they are part of.

The argument is the port. One client sends texts, the other, with a parameter, in parts.
"""

import sys
import time

import psycopg
import psycopg2

where = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "postgres"}


def comment(span):
    return f"/*db_driver='x',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-{span:016x}-01'*/"


old = psycopg2.connect(dbname="postgres", **where)
old.autocommit = True
cursor = old.cursor()
cursor.execute(f"SELECT pg_advisory_lock(41) {comment(0x41)}")
new = psycopg.connect(dbname="postgres", autocommit=True, prepare_threshold=None, **where)
new.execute(f"SELECT pg_advisory_lock(%s::bigint) {comment(0x42)}", (42,))
time.sleep(0.05)
cursor.execute("SELECT pg_advisory_unlock(41)")
new.execute("SELECT pg_advisory_unlock(42)")
# Without a comment, a trace of its own.
cursor.execute("SELECT pg_advisory_lock(43)")
cursor.execute("SELECT pg_advisory_unlock(43)")
