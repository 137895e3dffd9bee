"""A stand-in for the API server: a list without pods, and changes as they are told.

    kubernetes.py CERTIFICATE KEY TOKEN

Says its port, and then what it is asked, in JSON lines; each line of its standard input is an event.
"""

import json
import queue
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

certificate, key, token = sys.argv[1:]
events = queue.Queue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers["Authorization"] != f"Bearer {token}":
            return self.send_error(401)
        watches = "watch=true" in self.path
        print(json.dumps({"did": "watch" if watches else "list", "path": self.path}), flush=True)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if not watches:
            self.piece(json.dumps({"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": []}))
            return self.wfile.write(b"0\r\n\r\n")
        while True:
            self.piece(events.get())

    def piece(self, text):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text.encode()), text.encode()))
        self.wfile.flush()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"did": "start", "port": server.server_port}), flush=True)
for line in sys.stdin:
    events.put(line)
