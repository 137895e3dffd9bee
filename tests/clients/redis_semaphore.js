// redis-semaphore, a mutex and a semaphore of two places: arguments are the file of the truth and the
// port.

const Redis = require('ioredis');
const { Mutex, Semaphore } = require('redis-semaphore');
const { acquire, child, release, sleep } = require('./truth.js');

// What is called for the first time has to be compiled.
const FIRST = { slack: 200_000_000 };
const [role, first] = process.argv.slice(-2);

async function warm(redis) {
  const key = `warm${process.pid}`;
  for (const lock of [new Mutex(redis, key), new Semaphore(redis, key, 2)]) {
    const name = `${lock._kind}:${key}`;
    await acquire(name, () => lock.acquire(), FIRST);
    await release(name, () => lock.release(), FIRST);
  }
}

async function holds(redis) {
  // It is prolonged after four fifths of its lease.
  const mutex = new Mutex(redis, 'res', { lockTimeout: 500 });
  await acquire('mutex:res', () => mutex.acquire());
  await sleep(600);
  await release('mutex:res', () => mutex.release(), { renewals: 1 });
}

async function waits(redis) {
  await sleep(250);
  const mutex = new Mutex(redis, 'res', { lockTimeout: 3000, retryInterval: 20 });
  await acquire('mutex:res', () => mutex.acquire(), { holder: Number(first) });
  await sleep(100);
  await release('mutex:res', () => mutex.release(), { renewals: 0 });
}

async function place(redis) {
  const semaphore = new Semaphore(redis, 'pool', 2, { lockTimeout: 3000, retryInterval: 20 });
  await sleep(Number(first));
  await acquire('semaphore:pool', () => semaphore.acquire());
  await sleep(400);
  await release('semaphore:pool', () => semaphore.release(), { renewals: 0 });
}

async function main() {
  const parts = { holds, waits, place };
  if (!parts[role]) {
    child('waits', child('holds', 0));
    [100, 150, 200].forEach((delay) => child('place', delay));
    return;
  }
  const redis = new Redis(Number(process.argv[3]));
  await redis.ping();
  await warm(redis);
  await parts[role](redis);
  redis.disconnect();
}

main();
