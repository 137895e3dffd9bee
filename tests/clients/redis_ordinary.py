"""What is no lock, 100,000 commands through redis-py as fast as it can: arguments are the file of the
truth, which stays empty, and the port."""

import json
import secrets
import sys
import time

import redis

from truth import child, wait_for

PROCESSES = 2
ROUNDS = 250


def work(protocol):
    client = redis.Redis(port=int(sys.argv[2]), protocol=protocol)
    limit = client.register_script(
        "local n = redis.call('INCR', KEYS[1]) if n == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) "
        "end return n"
    )
    for number in range(ROUNDS):
        page = json.dumps({"page": number, "body": "x" * 200})
        # A cache: filled once, by whoever comes first.
        for at in range(8):
            key = f"cache:page:{number}:{at}"
            if client.get(key) is None:
                client.set(key, page, nx=True, ex=3600)
            client.get(key)
        # A mark against doing things twice, and a session.
        client.set(f"seen:{protocol}:{number}", "1", nx=True, ex=86_400)
        client.set(f"session:{protocol}:{number}", secrets.token_hex(32), nx=True, ex=7200)
        # A rate limiter, with a script and without.
        limit(keys=[f"rate:{number % 7}"], args=[60])
        if client.incr(f"limit:{number % 11}") == 1:
            client.expire(f"limit:{number % 11}", 60)
        client.set(f"counter:{protocol}", number)
        client.hset("user:1", mapping={"seen": number, "name": "ann"})
        client.lpush("queue", page)
        client.delete(f"cache:page:{number}:0")
        with client.pipeline(transaction=number % 2 == 0) as pipe:
            for at in range(160):
                pipe.set(f"item:{at}", number) if at % 2 else pipe.get(f"item:{at - 1}")
            pipe.execute()
    # After a pause nothing is owed, and these stay in the kernel.
    time.sleep(0.5)
    for _ in range(5000):
        client.get("item:1")


begun = time.monotonic()
open(sys.argv[1], "w").close()
wait_for(*[child(lambda: work(2 + at)) for at in range(PROCESSES)])
client = redis.Redis(port=int(sys.argv[2]))
done = client.info("stats")["total_commands_processed"]
print(f"{done} commands in {time.monotonic() - begun:.1f} s", file=sys.stderr)
sys.exit(0 if done >= 100_000 else f"only {done} commands")
