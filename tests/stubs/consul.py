#!/usr/bin/env python3
"""A small Consul for tests: sessions and keys over HTTP, as far as its lock clients need them.

Behaves as the documentation of Consul says (HTTP API: Session, KV Store, Blocking Queries): acquire
and release answer true or false, a session that is not renewed in time ends and with it its locks,
which nobody gets for the session's lock-delay, and a query with `index` blocks until the key changes.

Usage: consul.py [port]; prints the port it listens on.
"""

import base64
import json
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

CHANGED = threading.Condition()
SESSIONS = {}
KEYS = {}
INDEX = [1]


def seconds(text):
    """`15s`, `500ms`, `1m`, or plain seconds."""
    for unit, factor in (("ms", 0.001), ("s", 1), ("m", 60)):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * factor
    return float(text)


def changed(entry):
    INDEX[0] += 1
    entry["ModifyIndex"] = INDEX[0]
    CHANGED.notify_all()


def end_session(session):
    """Ends it: its locks are free, after the lock-delay."""
    ended = SESSIONS.pop(session, None)
    for key, entry in list(KEYS.items()):
        if ended and entry.get("Session") == session:
            if ended["behavior"] == "delete":
                del KEYS[key]
                INDEX[0] += 1
                CHANGED.notify_all()
                continue
            entry["Session"] = None
            entry["delayed"] = time.monotonic() + ended["delay"]
            changed(entry)
    return ended is not None


def expire():
    while True:
        time.sleep(0.05)
        with CHANGED:
            now = time.monotonic()
            for session, known in list(SESSIONS.items()):
                if known["ttl"] and known["renewed"] + known["ttl"] < now:
                    end_session(session)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer leaves in one piece.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        text = body if isinstance(body, str) else json.dumps(body)
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Consul-Index", str(INDEX[0]))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        with CHANGED:
            self.put(unquote(url.path), query, body)

    def put(self, path, query, body):
        if path == "/v1/session/create":
            asked = json.loads(body or b"{}")
            asked = {name.lower(): str(value) for name, value in asked.items()}
            session = str(uuid.uuid4())
            SESSIONS[session] = {
                "ttl": seconds(asked.get("ttl") or "0s"),
                "delay": seconds(asked.get("lockdelay", "15s")),
                "behavior": asked.get("behavior", "release"),
                "renewed": time.monotonic(),
            }
            return self.answer(200, {"ID": session})
        if path.startswith("/v1/session/renew/"):
            session = path.rsplit("/", 1)[1]
            if session not in SESSIONS:
                return self.answer(404, f"Session id '{session}' not found")
            SESSIONS[session]["renewed"] = time.monotonic()
            return self.answer(200, [{"ID": session, "TTL": f"{SESSIONS[session]['ttl']:g}s"}])
        if path.startswith("/v1/session/destroy/"):
            end_session(path.rsplit("/", 1)[1])
            return self.answer(200, "true")
        if path.startswith("/v1/kv/"):
            return self.put_key(path[len("/v1/kv/") :], query, body)
        return self.answer(404, "")

    def put_key(self, key, query, body):
        entry = KEYS.get(key)
        if "acquire" in query:
            session = query["acquire"]
            if session not in SESSIONS:
                return self.answer(500, f"invalid session {session!r}")
            held = entry and entry.get("Session") not in (None, session)
            delayed = entry and entry.get("delayed", 0) > time.monotonic()
            if held or delayed:
                return self.answer(200, "false")
        elif "release" in query and (not entry or entry.get("Session") != query["release"]):
            return self.answer(200, "false")
        if entry is None:
            entry = KEYS[key] = {"Key": key, "CreateIndex": INDEX[0] + 1, "LockIndex": 0, "Session": None}
        entry["Value"] = base64.b64encode(body).decode()
        entry["Flags"] = int(query.get("flags", 0))
        if "acquire" in query and entry["Session"] is None:
            entry["Session"] = query["acquire"]
            entry["LockIndex"] += 1
        if "release" in query:
            entry["Session"] = None
        changed(entry)
        return self.answer(200, "true")

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if not url.path.startswith("/v1/kv/"):
            return self.answer(404, "")
        key = unquote(url.path[len("/v1/kv/") :])
        with CHANGED:
            if "index" in query:
                until = time.monotonic() + seconds(query.get("wait", "300s"))
                seen = int(query["index"])
                while KEYS.get(key, {}).get("ModifyIndex", INDEX[0]) <= seen:
                    if not CHANGED.wait(max(0, until - time.monotonic())):
                        break
            entry = KEYS.get(key)
            if entry is None:
                return self.answer(404, "")
            shown = {name: value for name, value in entry.items() if name != "delayed"}
            if shown["Session"] is None:
                del shown["Session"]
            return self.answer(200, [shown])

    def do_DELETE(self):
        key = unquote(urlsplit(self.path).path[len("/v1/kv/") :])
        with CHANGED:
            KEYS.pop(key, None)
            INDEX[0] += 1
            CHANGED.notify_all()
            self.answer(200, "true")


if __name__ == "__main__":
    threading.Thread(target=expire, daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
