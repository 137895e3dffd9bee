"""Libraries that lock by files: arguments are the lock and its path.

One process has the lock for a while, another waits for it; each tells of itself in a JSON line,
times by CLOCK_MONOTONIC in nanoseconds.
"""

import json
import multiprocessing
import os
import sys
import time

import fasteners
import filelock
import portalocker

KINDS = {
    "filelock": lambda path: filelock.FileLock(path, poll_interval=0.02),
    "filelock_soft": lambda path: filelock.SoftFileLock(path, poll_interval=0.02),
    "fasteners": fasteners.InterProcessLock,
    "fasteners_writer": lambda path: fasteners.InterProcessReaderWriterLock(path).write_lock(),
    "portalocker": lambda path: portalocker.Lock(path, "a", timeout=10, check_interval=0.02),
}


def tell(what, begin):
    end = time.monotonic_ns()
    line = {"what": what, "pid": os.getpid(), "begin": begin, "end": end}
    os.write(1, (json.dumps(line) + "\n").encode())


def holds(make, path, has):
    with make(path):
        begin = time.monotonic_ns()
        has.set()
        time.sleep(0.3)
        tell("hold", begin)


def waits(make, path, has):
    lock = make(path)
    has.wait()
    begin = time.monotonic_ns()
    with lock:
        tell("wait", begin)


def main():
    kind, path = sys.argv[1:]
    context = multiprocessing.get_context("fork")
    has = context.Event()
    children = [context.Process(target=of, args=(KINDS[kind], path, has)) for of in (holds, waits)]
    for child in children:
        child.start()
    for child in children:
        child.join()


main()
