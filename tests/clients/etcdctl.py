"""etcdctl lock, a Go program: arguments are the file of the truth, the port.

It says when it has the lock, and lets go when it is interrupted. How long it takes to start and to
get a lease is not told, and belongs to no wait for a lock.
"""

import os
import signal
import subprocess
import sys
import time

from truth import Truth

truth = Truth()
START = 150_000_000
SAID = 15_000_000


class Etcdctl:
    def __init__(self, lock, ttl):
        self.lock, self.since, self.begin = lock, None, time.monotonic_ns()
        command = ["etcdctl", "--endpoints", f"127.0.0.1:{sys.argv[2]}", "lock", "--ttl", str(ttl), lock]
        env = dict(os.environ, ETCDCTL_API="3", GOMAXPROCS="1")
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
        self.pid = self.process.pid

    def acquired(self, **more):
        assert self.process.stdout.readline().startswith(self.lock.encode())
        self.since = time.monotonic_ns()
        self.say("acquire", begin=self.begin, end=self.since, outcome="acquired", slack=START, **more)

    def ended(self, how, at=None, slack=SAID, **more):
        self.process.send_signal(signal.SIGINT)
        end = at or time.monotonic_ns()
        self.process.wait()
        self.say("hold", begin=self.since, end=end, ended=how, slack=slack, **more)

    def gives_up(self, **more):
        self.process.send_signal(signal.SIGINT)
        end = time.monotonic_ns()
        self.process.wait()
        self.say("acquire", begin=self.begin, end=end, outcome="abandoned", slack=START, **more)

    def say(self, what, **more):
        truth.say(what, self.lock, **{"pid": self.pid, **more})


def contended():
    """Held, and renewed every second; waited for; given up on."""
    first = Etcdctl("jobs/42", 3)
    first.acquired()
    second = Etcdctl("jobs/42", 3)
    time.sleep(0.4)
    third = Etcdctl("jobs/42", 3)
    time.sleep(0.6)
    third.gives_up(holder=first.pid)
    time.sleep(0.6)
    first.ended("released")
    second.acquired(holder=first.pid)
    time.sleep(0.2)
    second.ended("released")


def stopped():
    """Stopped past its lease: it believes to have the lock, and another has it."""
    holder = Etcdctl("jobs/7", 2)
    holder.acquired()
    holder.process.send_signal(signal.SIGSTOP)
    holder.say("finding", kind="stale_holder")
    holder.say("finding", kind="holder_stopped")
    other = Etcdctl("jobs/7", 2)
    other.acquired(holder=holder.pid)
    time.sleep(0.3)
    other.ended("released")
    holder.process.send_signal(signal.SIGCONT)
    # By its lease, which was granted before the lock was and renewed at once.
    holder.ended("expired", at=holder.since + 2 * 10**9, slack=100_000_000)


contended()
stopped()
