"""What a client program knows of its locks, a JSON line each, for the tests to compare."""

import json
import os
import sys
import threading
import time
import traceback


class Truth:
    """Writes to the file named by the first argument; times are of CLOCK_MONOTONIC."""

    def __init__(self, path=None):
        self.file = open(path or sys.argv[1], "a", buffering=1)
        self.held = {}
        self.turn = threading.Lock()

    def say(self, what, lock, **more):
        line = {"what": what, "lock": lock, "pid": os.getpid()} | more
        with self.turn:
            self.file.write(json.dumps(line) + "\n")

    def acquire(self, lock, call, ok=bool, outcome="refused", key=None, **more):
        """Calls `call`; one attempt, that ends as `outcome` when `ok` is false of its answer."""
        begin = time.monotonic_ns()
        answer = call()
        end = time.monotonic_ns()
        outcome = "acquired" if ok(answer) else outcome
        self.say("acquire", lock, begin=begin, end=end, outcome=outcome, **more)
        if outcome == "acquired":
            self.held[key or lock] = end
        return answer

    async def acquire_async(self, lock, call, ok=bool, outcome="refused", key=None, **more):
        """The same for a coroutine."""
        begin = time.monotonic_ns()
        answer = await call()
        end = time.monotonic_ns()
        outcome = "acquired" if ok(answer) else outcome
        self.say("acquire", lock, begin=begin, end=end, outcome=outcome, **more)
        if outcome == "acquired":
            self.held[key or lock] = end
        return answer

    def release(self, lock, call=lambda: None, end="released", at=None, key=None, **more):
        """Calls `call`, which ends the hold as `end`; `at` says when it ended otherwise."""
        answer = call()
        at = at or time.monotonic_ns()
        begin = self.held.pop(key or lock)
        self.say("hold", lock, begin=begin, end=at, ended=end, **more)
        return answer

    async def release_async(self, lock, call, end="released", key=None, **more):
        """The same for a coroutine."""
        answer = await call()
        at = time.monotonic_ns()
        begin = self.held.pop(key or lock)
        self.say("hold", lock, begin=begin, end=at, ended=end, **more)
        return answer

    def finding(self, kind, lock, **more):
        """Something lockprobe is to find."""
        self.say("finding", lock, kind=kind, **more)


def child(work):
    """Runs `work` in a process of its own; its id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def wait_for(*pids):
    """Until they have ended well."""
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        if status != 0:
            sys.exit(f"process {pid} ended with {status}")
