// redlock for Node, two keys at once on several masters: arguments are the file of the truth and the
// ports.

const { default: Redlock } = require('redlock');
const Redis = require('ioredis');
const { acquire, child, release, sleep } = require('./truth.js');

// What is called for the first time has to be compiled.
const FIRST = { slack: 200_000_000 };
const parts = { holds, tries, waits };
const [role, first] = process.argv.slice(-2);

async function client(options) {
  const ports = process.argv.slice(3, 6);
  const masters = ports.map((port) => new Redis(Number(port)));
  await Promise.all(masters.map((master) => master.ping()));
  return { masters, redlock: new Redlock(masters, { retryJitter: 10, ...options }) };
}

async function warm(redlock) {
  const key = `{warm}:${process.pid}`;
  const lock = await acquire(key, () => redlock.acquire([key], 3000), FIRST);
  await release(key, () => lock.release(), FIRST);
}

async function holds(redlock) {
  let lock = await acquire('{r}:1', () => redlock.acquire(['{r}:1'], 3000));
  await sleep(400);
  lock = await lock.extend(2000);
  await sleep(200);
  await release('{r}:1', () => lock.release(), { renewals: 1 });
}

async function tries(redlock) {
  await sleep(200);
  await acquire('{r}:1', () => redlock.acquire(['{r}:1'], 3000), { holder: Number(first) });
}

async function waits(redlock) {
  await sleep(300);
  const ask = () => redlock.acquire(['{r}:1'], 3000);
  const lock = await acquire('{r}:1', ask, { holder: Number(first) });
  await sleep(100);
  await release('{r}:1', () => lock.release(), { renewals: 0 });
}

async function main() {
  if (!parts[role]) {
    const holder = child('holds', 0);
    child('tries', holder);
    child('waits', holder);
    return;
  }
  const retryCount = role === 'tries' ? 0 : 50;
  const { masters, redlock } = await client({ retryDelay: 50, retryCount });
  await warm(redlock);
  await parts[role](redlock);
  masters.forEach((master) => master.disconnect());
}

main();
