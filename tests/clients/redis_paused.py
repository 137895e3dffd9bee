"""A holder that renews its lock and is stopped in between, or sleeps where no signal reaches it: arguments
are the truth's file, the port, how."""

import ctypes
import os
import signal
import sys
import time

import redis

from truth import Truth, child, wait_for

truth = Truth()
LOCK = "lock:renewed"
how = sys.argv[3]


def sleeps_in_the_kernel(microseconds):
    """As one waits for a disk: for a child that has its memory, and ends later."""
    libc = ctypes.CDLL(None, use_errno=True)
    stack = ctypes.create_string_buffer(1 << 16)
    top = ctypes.c_void_p((ctypes.addressof(stack) + len(stack)) & ~15)
    vm, vfork = 0x100, 0x4000
    usleep = ctypes.cast(libc.usleep, ctypes.c_void_p)
    child = libc.clone(usleep, top, vm | vfork | signal.SIGCHLD, ctypes.c_void_p(microseconds))
    os.waitpid(child, 0)


def holds():
    connected = redis.Redis(port=int(sys.argv[2]))
    connected.ping()
    lock = connected.lock(LOCK, timeout=5)
    truth.acquire(LOCK, lock.acquire)
    os.write(held[1], b".")
    for turn in range(8):
        time.sleep(0.2)
        lock.reacquire()
        if how == "sleeps" and turn == 4:
            truth.finding("holder_paused", LOCK)
            sleeps_in_the_kernel(1_800_000)
    truth.release(LOCK, lock.release, renewals=8)


held = os.pipe()
holder = child(holds)
os.read(held[0], 1)
if how == "stopped":
    time.sleep(0.9)
    os.kill(holder, signal.SIGSTOP)
    truth.finding("holder_paused", LOCK, pid=holder)
    time.sleep(1.5)
    os.kill(holder, signal.SIGCONT)
wait_for(holder)
