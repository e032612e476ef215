"""A web service small enough to read at once: `/` greets, `/health` answers, every request is one line on standard output.

Only the standard library. PORT says where it listens; SAMPLE_GREETING, SAMPLE_DELAY_SECONDS, SAMPLE_HEALTH (a status code),
SAMPLE_EXIT_AFTER_SECONDS and SAMPLE_SILENT=1 (starts and never listens) make it different, slow or broken on purpose.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STARTED = time.monotonic()


class Page(BaseHTTPRequestHandler):
    """Answers GET; whatever else is asked for gets the standard library's 501."""

    server_version = "ops-mcp-sample"
    sys_version = ""

    def do_GET(self) -> None:
        time.sleep(float(os.environ.get("SAMPLE_DELAY_SECONDS", "0")))
        if self.path == "/health":
            self._answer(int(os.environ.get("SAMPLE_HEALTH", "200")), {"uptime_seconds": round(time.monotonic() - STARTED, 1)})
        elif self.path == "/":
            self._answer(200, {"greeting": os.environ.get("SAMPLE_GREETING", "Hello from the ops-mcp sample.")})
        else:
            self._answer(404, {"error": "There is / and /health."})

    def _answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        say("error" if str(args[1:2]).find("'5") >= 0 else "info", format % args)


def main() -> None:
    """Serve until TERM."""
    signal.signal(signal.SIGTERM, _leave)
    if seconds := os.environ.get("SAMPLE_EXIT_AFTER_SECONDS"):
        threading.Timer(float(seconds), _break).start()
    if os.environ.get("SAMPLE_SILENT") == "1":
        say("info", "started, and listening nowhere on purpose")
        signal.pause()
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Page)
    say("info", f"listening on {server.server_address[1]}")
    server.serve_forever()


def say(level: str, message: str) -> None:
    """One line a reader and a parser both like."""
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {level} {message}", flush=True)


def _leave(*_: object) -> None:
    say("info", "leaving")
    sys.exit(0)


def _break() -> None:
    say("error", "breaking on purpose")
    os._exit(3)


if __name__ == "__main__":
    main()
