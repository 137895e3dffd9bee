// Atomics.wait of JavaScript: kinds.js FILE SCENE...
//
// A worker waits for the main thread, and its truth goes to FILE as a JSON line.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const fs = require('fs');

if (isMainThread) {
  const [file, scene] = process.argv.slice(2);
  const word = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(__filename, { workerData: word });
  worker.on('message', (message) => {
    if (message.begin === undefined) {
      setTimeout(() => {
        Atomics.store(word, 0, 1);
        Atomics.notify(word, 0);
      }, 60);
      return;
    }
    const line = { scene, pid: process.pid, lock: 0, holder: process.pid, ...message };
    fs.writeFileSync(file, JSON.stringify(line) + '\n');
  });
} else {
  const waiter = Number(fs.readlinkSync('/proc/thread-self').split('/').pop());
  parentPort.postMessage({});
  const begin = Number(process.hrtime.bigint());
  Atomics.wait(workerData, 0, 0);
  parentPort.postMessage({ waiter, begin, end: Number(process.hrtime.bigint()) });
}
