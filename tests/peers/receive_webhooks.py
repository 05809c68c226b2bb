"""Receives webhooks on a port until it is killed: python receive_webhooks.py PORT FILE.

Each request is a line of JSON in the file, {"head": [...], "body": ...}, before it is answered with 200. A request that is cut off by
the end of the process has no answer, and perhaps half a line.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        head = [self.requestline] + [f"{name}: {value}" for name, value in self.headers.items()]
        with open(sys.argv[2], "a") as file:
            file.write(json.dumps({"head": head, "body": body}) + "\n")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format, *arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
