"""A small web shop that the sandbox deploys: plain Python, JSON log lines on standard output, faults on request.

It reads its catalogue once at start and its port from PORT. SHOP_FAULT makes it slow or broken in one named way.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
RELEASE = json.loads((HERE / "release.json").read_text(encoding="utf-8"))
FAULTS = ("slow", "errors", "dies", "silent")


def log(level: str, event: str, **fields: object) -> None:
    line = {"at": round(time.time(), 3), "level": level, "event": event, "version": RELEASE["version"], **fields}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def catalogue() -> list[dict[str, object]]:
    """Every item with its price in euros. Raises `KeyError` when the catalogue has another shape than this release expects."""
    items = json.loads((HERE / "catalogue.json").read_text(encoding="utf-8"))
    return [{"name": item["name"], "price": item["price_cents"] / 100} for item in items]


class Shop(BaseHTTPRequestHandler):
    """GET / (a page), /items, /health and /version."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        began = time.perf_counter()
        status, body, kind = self.answer()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        level = "error" if status >= 500 else "info"
        log(level, "request", path=self.path, status=status, ms=round((time.perf_counter() - began) * 1000, 2))

    def answer(self) -> tuple[int, bytes, str]:
        fault = os.environ.get("SHOP_FAULT")
        if fault == "slow":
            time.sleep(float(os.environ.get("SHOP_SLOW_SECONDS", "8")))
        if fault == "errors":
            return 500, b'{"error": "asked to fail"}', "application/json"
        try:
            return self.page(catalogue())
        except KeyError as missing:
            log("error", "catalogue.unreadable", missing=str(missing))
            return 500, b'{"error": "the catalogue cannot be read"}', "application/json"

    def page(self, items: list[dict[str, object]]) -> tuple[int, bytes, str]:
        match self.path:
            case "/health":
                return (
                    200,
                    json.dumps({"ok": True, "version": RELEASE["version"], "items": len(items)}).encode(),
                    "application/json",
                )
            case "/version":
                return 200, json.dumps(RELEASE).encode(), "application/json"
            case "/items":
                return 200, json.dumps(items).encode(), "application/json"
            case "/":
                rows = "".join(f"<li>{item['name']}: {item['price']:.2f} EUR</li>" for item in items)
                return 200, f"<h1>Webshop {RELEASE['version']}</h1><ul>{rows}</ul>".encode(), "text/html"
            case _:
                return 404, b'{"error": "no such page"}', "application/json"

    def log_message(self, format: str, *args: object) -> None:
        """Requests are logged as JSON in `do_GET`."""


def main() -> None:
    fault = os.environ.get("SHOP_FAULT", "")
    log("info", "starting", port=int(os.environ["PORT"]), fault=fault)
    if fault == "silent":
        threading.Event().wait()
    if fault == "dies":
        threading.Timer(float(os.environ.get("SHOP_LIFE_SECONDS", "20")), lambda: os._exit(3)).start()
    server = ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])), Shop)
    log("info", "listening")
    server.serve_forever()


if __name__ == "__main__":
    main()
