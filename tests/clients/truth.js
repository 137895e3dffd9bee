// What a client program knows of its locks, a JSON line each, for the tests to compare.

const fs = require('fs');
const { spawn } = require('child_process');

// CLOCK_MONOTONIC.
const now = () => Number(process.hrtime.bigint());
const held = new Map();

function say(what, lock, more) {
  const line = { what, lock, pid: process.pid, ...more };
  fs.appendFileSync(process.argv[2], JSON.stringify(line) + '\n');
}

// Calls `call`; one attempt, that ends as `outcome` when it throws.
async function acquire(lock, call, { outcome = 'refused', ...more } = {}) {
  const begin = now();
  let answer = null;
  let ended = 'acquired';
  try {
    answer = await call();
  } catch (error) {
    console.error(`${process.pid} ${lock}: ${error}`);
    ended = outcome;
  }
  const end = now();
  say('acquire', lock, { begin, end, outcome: ended, ...more });
  if (ended === 'acquired') held.set(lock, end);
  return answer;
}

// Calls `call`, which ends the hold.
async function release(lock, call, more = {}) {
  const answer = await call();
  say('hold', lock, { begin: held.get(lock), end: now(), ended: 'released', ...more });
  held.delete(lock);
  return answer;
}

// Runs this program once more, with these arguments behind its own.
function child(...words) {
  const options = { stdio: ['ignore', 'inherit', 'inherit'] };
  const started = spawn(process.execPath, process.argv.slice(1).concat(words.map(String)), options);
  started.on('exit', (code) => (process.exitCode ||= code ?? 1));
  return started.pid;
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// The same for clients whose attempts begin before their call.
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

module.exports = { Truth, acquire, child, held, release, say, sleep };
