"""A thread that waits and one that holds, in functions whose lines are known.

`stacks.py ROUNDS SECONDS` holds a lock that often and for so long; another thread waits for it.
Lines are told by marks in this file.
"""

import sys
import threading
import time

ledger = threading.Lock()
held, done = threading.Event(), threading.Event()
rounds, seconds = int(sys.argv[1]), float(sys.argv[2])


def write_page():
    time.sleep(seconds)  # mark: nap


def hold_the_ledger():
    with ledger:
        held.set()
        write_page()  # mark: write


class Account:
    def post_entry(self):
        ledger.acquire()  # mark: lock
        ledger.release()

    def transfer(self):
        self.post_entry()  # mark: post


def holder():
    for _ in range(rounds):
        hold_the_ledger()
        done.wait()
        done.clear()


def größer():
    for _ in range(rounds):
        held.wait()
        held.clear()
        Account().transfer()  # mark: größer
        done.set()


threads = [threading.Thread(target=holder), threading.Thread(target=größer)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
