// etcd3 of npm, which speaks gRPC: arguments are the file of the truth, the port, and a role.

const { fork } = require("child_process");
const { Truth, sleep } = require("./truth.js");
const { Etcd3, Lease } = require("etcd3");

const [truthFile, port, role, first] = process.argv.slice(2);
const truth = new Truth(truthFile);

async function locks(ttl) {
  const client = new Etcd3({ hosts: `http://127.0.0.1:${port}` });
  // What is used for the first time has to be compiled.
  await client.if("warm", "Create", "==", 1).then(client.put("warm").value("")).commit();
  const lease = client.lease(60);
  await lease.put("warm").value("");
  await lease.revoke();
  return { client, make: () => client.lock("npm").ttl(ttl) };
}

// An attempt asks for its lease first, and for the lock from there on.
let leased;
const grant = Lease.prototype.grant;
Lease.prototype.grant = function () {
  return grant.call(this).then((id) => {
    leased ??= truth.now();
    return id;
  });
};

async function acquire(lock, outcome, more) {
  leased = undefined;
  const had = await lock.acquire().then(
    () => "acquired",
    () => "refused",
  );
  if (had !== outcome) throw new Error(`${had}, not ${outcome}`);
  truth.acquire("npm", leased, outcome, more);
}

async function holds() {
  const { client, make } = await locks(3);
  const lock = make();
  await acquire(lock, "acquired");
  process.send("held");
  await sleep(1400);
  // It is renewed by itself every third of its lease.
  await truth.release("npm", () => lock.release(), { renewals: 1 });
  client.close();
}

async function tries() {
  const { client, make } = await locks(3);
  // The attempt gives its lease back before it fails.
  await acquire(make(), "refused", { holder: Number(first), slack: 15_000_000 });
  await sleep(2500);
  const lock = make();
  await acquire(lock, "acquired");
  await sleep(100);
  await truth.release("npm", () => lock.release());
  client.close();
}

if (role === "holds") holds();
else if (role === "tries") tries();
else {
  const start = (...more) => fork(__filename, [truthFile, port, ...more]);
  const holder = start("holds");
  holder.on("message", () => {
    const other = start("tries", String(holder.pid));
    other.on("exit", (status) => process.exit(status));
  });
}
