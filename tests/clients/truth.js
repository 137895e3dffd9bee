// What a client program knows of its locks, a JSON line each, for the tests to compare.

const fs = require("fs");

class Truth {
  constructor(file) {
    this.file = file;
    this.held = new Map();
  }

  // CLOCK_MONOTONIC, nanoseconds.
  now() {
    return process.hrtime.bigint();
  }

  say(what, lock, more) {
    const line = { what, lock, pid: process.pid, ...more };
    const plain = (_, value) => (typeof value === "bigint" ? Number(value) : value);
    fs.appendFileSync(this.file, JSON.stringify(line, plain) + "\n");
  }

  // One attempt that began then and is over now.
  acquire(lock, begin, outcome, more) {
    const end = this.now();
    this.say("acquire", lock, { begin, end, outcome, ...more });
    if (outcome === "acquired") this.held.set(lock, end);
  }

  // Lets go by `call`.
  async release(lock, call, more) {
    await call();
    const begin = this.held.get(lock);
    this.held.delete(lock);
    this.say("hold", lock, { begin, end: this.now(), ended: "released", ...more });
  }
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

module.exports = { Truth, sleep };
