"""Locks of CPython, one after the other: kinds.py FILE SCENE...

In a scene one thread has a lock and another waits for it, and the truth of it goes to FILE as a
JSON line: which lock (0 where Python does not tell), who waited, who had it, from when to when
(CLOCK_MONOTONIC, nanoseconds). Scenes that begin with "not_" wait for something that is no lock.
"""

import ctypes
import json
import multiprocessing
import os
import sys
import threading
import time

HOLD = 0.04
out = open(sys.argv[1], "a")
state = {}


def await_sleep(who):
    """Until a thread sleeps in a futex call (202 on x86-64, 98 on arm64), for a moment already."""
    while who not in state:
        time.sleep(0.0005)
    asleep = 0
    while asleep < 3:
        with open(f"/proc/{state[who]}/syscall") as file:
            asleep = asleep + 1 if file.read().split(" ")[0] in ("202", "98") else 0
        time.sleep(0.0005)


def say(scene, lock, begin, end, holder=None):
    line = {"scene": scene, "pid": os.getpid(), "lock": lock, "waiter": threading.get_native_id()}
    line["holder"] = holder or state["holder"]
    line["begin"], line["end"] = begin, end
    out.write(json.dumps(line) + "\n")
    out.flush()


def address_of(lock):
    """Of what the interpreter waits for, behind the head of the object; 0 where that is not in it."""
    since = (3, 14) if isinstance(lock, type(threading.RLock())) else (3, 13, 1)
    return id(lock) + object.__basicsize__ if sys.version_info >= since else 0


def play(scene, lock):
    """One thread has it, another waits."""

    def holds():
        with lock:
            state["holder"] = threading.get_native_id()
            await_sleep("waiter")
            time.sleep(HOLD)

    def waits():
        while "holder" not in state:
            time.sleep(0.0005)
        state["waiter"] = threading.get_native_id()
        begin = time.monotonic_ns()
        with lock:
            say(scene, address_of(lock), begin, time.monotonic_ns())

    together(holds, waits)


def together(*bodies):
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def gil(scene):
    """A call into C that keeps the interpreter lock, and a thread that wants to go on."""
    libc = ctypes.PyDLL(None)

    def holds():
        state["holder"] = threading.get_native_id()
        time.sleep(0.02)
        libc.usleep(300_000)
        state["done"] = time.monotonic_ns()

    def waits():
        state["waiter"] = threading.get_native_id()
        while True:
            before = time.monotonic_ns()
            time.sleep(0.001)
            after = time.monotonic_ns()
            if after - before > 100_000_000:
                # It wanted the interpreter lock again when its millisecond was over.
                say(scene, 0, before + 1_060_000, after)
                return

    together(holds, waits)


def other_process(lock, pipe):
    state["holder"] = os.getppid()
    begin = time.monotonic_ns()
    pipe.send(os.getpid())
    with lock:
        say("process_lock", 0, begin, time.monotonic_ns())
    # Until the parent has written its line.
    pipe.recv()


def process_lock(scene):
    """Two processes of one multiprocessing.Lock, each of which waits for the other once."""
    context = multiprocessing.get_context("fork")
    lock = context.Lock()
    here, there = context.Pipe()
    lock.acquire()
    child = context.Process(target=other_process, args=(lock, there))
    child.start()
    state["waiter"] = here.recv()
    await_sleep("waiter")
    time.sleep(HOLD)
    lock.release()
    here.send(None)
    child.join()


def main():
    for scene in sys.argv[2:]:
        state.clear()
        if scene in ("lock", "lock_known"):
            play(scene, threading.Lock())
        elif scene == "reentrant":
            play(scene, threading.RLock())
        elif scene == "gil":
            gil(scene)
        elif scene == "process_lock":
            process_lock(scene)
        elif scene in ("not_condition", "not_condition_short"):
            condition = threading.Condition()
            hold = HOLD if scene == "not_condition" else HOLD / 10

            def waits():
                begin = time.monotonic_ns()
                state["waiter"] = threading.get_native_id()
                with condition:
                    while "woken" not in state:
                        condition.wait()
                say(scene, 0, begin, time.monotonic_ns())

            def wakes():
                state["holder"] = threading.get_native_id()
                await_sleep("waiter")
                time.sleep(hold)
                with condition:
                    state["woken"] = True
                    condition.notify()

            together(waits, wakes)
        else:
            sys.exit(95)


main()
