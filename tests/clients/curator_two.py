"""Programs with Curator, one a process: arguments are the file of the truth, the port, the classes."""

import subprocess
import sys
import threading

from truth import Truth

truth = Truth()
port, classes = int(sys.argv[2]), sys.argv[3]
JAVA = ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes]
MUTEX = "/curator/mutex"
# Between the program's word and its request is the loading of classes.
SLACK = 400_000_000


class Curator:
    """One process, whose words become the truth."""

    def __init__(self, recipe, name, hold, **more):
        command = [*JAVA, "Curator", f"127.0.0.1:{port}", recipe, name, str(hold)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.pid, self.more, self.times = self.process.pid, more, {}
        self.has_it = threading.Event()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            time, _, what, _ = line.split()
            self.heard(what, int(float(time) * 1e6))
        self.has_it.set()

    def heard(self, what, time):
        self.times[what] = time
        if what in ("got", "timeout"):
            outcome = "acquired" if what == "got" else "abandoned"
            self.say("acquire", "ask", time, outcome=outcome, slack=SLACK, **self.more)
            self.has_it.set()
        if what == "released":
            self.say("hold", "got", time, ended="released", slack=SLACK)

    def say(self, what, since, time, **more):
        truth.say(what, MUTEX, **{"pid": self.pid, "begin": self.times[since], "end": time, **more})

    def end(self):
        self.reader.join()
        if self.process.wait() != 0:
            sys.exit(f"process {self.pid} ended with {self.process.returncode}")


first = Curator("mutex", "first", 4000)
first.has_it.wait()
others = [Curator("mutex", "second", 300, holder=first.pid), Curator("try", "third", 0, holder=first.pid)]
for each in [first, *others]:
    each.end()
