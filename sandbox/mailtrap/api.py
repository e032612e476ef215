"""Mailtrap's sending API, told how to fail: `POST /api/send`, `/api/send/{inbox}` and `/api/batch`. Imports nothing of ops-mcp.

The faults are those of `sandbox.webhook`, and `edge` answers as the edge does to whom it does not like, `gateway` as what stands
before a server that is gone, `empty` with nothing in it. `/_sandbox` says which mails were taken, with every repeat, and takes
`faults` and `always`.
"""

import json
import re
import uuid
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from typing import Any, cast

from sandbox.webhook.receiver import Receiver, World

MOST_RECIPIENTS, MOST_MESSAGES, LONGEST_CATEGORY = 1000, 500, 255
_ADDRESS = re.compile(r"^[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+$")
_PATH = re.compile(r"^/api/(send|batch)(?:/\d+)?$")
_TEMPLATED = ("subject", "text", "html", "category")


class Mailtrap(Receiver):
    """The API. Mails are `received` by their `notification_id`, in the order in which they were taken."""

    token: str

    def _meet(self, fault: str, headers: dict[str, str], body: bytes) -> None:
        what, _, number = fault.partition(":")
        if what.isdigit():
            answer = {"success": False, "errors": ["as planned"]}
            self._answer(int(what), answer, **({"retry-after": number} if number else {}))
        elif what == "gateway":
            self._answer(502, {})
        elif what in ("reset", "hang", "drip", "redirect"):
            super()._meet(fault, headers, body)
        elif what == "edge" or not headers.get("user-agent"):
            self._answer(403, {"error": "Access denied"})
        elif self._credential(headers) != self.token:
            self._answer(401, {"success": False, "errors": ["Unauthorized"]})
        elif (path := _PATH.match(self.path)) is None:
            self._answer(404, {"error": "Not Found"})
        else:
            self._send(path[1], body, what, number)

    def _credential(self, headers: Mapping[str, str]) -> str:
        return headers.get("api-token") or headers.get("authorization", "").removeprefix("Bearer ")

    def _send(self, kind: str, body: bytes, fault: str, number: str) -> None:
        try:
            asked = cast("dict[str, Any]", json.loads(body))
        except ValueError:
            self._answer(400, {"success": False, "errors": ["Invalid JSON"]})
            return
        if kind == "batch":
            self._batch(asked)
            return
        if wrong := troubles(asked):
            self._answer(400, {"success": False, "errors": wrong})
            return
        self._taken_with({"success": True, "message_ids": self._keep(asked)}, fault, number)

    def _batch(self, asked: Mapping[str, Any]) -> None:
        requests = asked.get("requests", [])
        if len(requests) > MOST_MESSAGES:
            self._answer(400, {"success": False, "errors": [f"requests must have at most {MOST_MESSAGES} items"]})
            return
        responses: list[dict[str, Any]] = []
        for one in requests:
            whole = {**asked.get("base", {}), **one}
            wrong = troubles(whole)
            responses.append(
                {"success": False, "errors": wrong} if wrong else {"success": True, "message_ids": self._keep(whole)}
            )
        self._answer(200, {"success": True, "responses": responses})

    def _keep(self, mail: dict[str, Any]) -> list[str]:
        """Every mail that is asked for is sent, repeats too."""
        id = mail.get("custom_variables", {}).get("notification_id", "")
        with self.world.lock:
            if id in self.world.ids:
                self.world.repeats.append(id)
            self.world.ids.add(id)
            self.world.received.append({"id": id, **mail})
        return [str(uuid.uuid4()) for _ in (*mail.get("to", []), *mail.get("cc", []), *mail.get("bcc", []))]

    def _taken_with(self, answer: dict[str, Any], fault: str, number: str) -> None:
        if fault.startswith("taken-") or fault == "chatty":
            self._taken(fault, number)
        elif fault == "empty":
            self._answer(200, {})
        else:
            self._answer(200, answer)


def troubles(mail: Mapping[str, Any]) -> list[str]:
    """What Mailtrap would say is wrong with a mail."""
    wrong = [] if "from" in mail else ["'from' is required"]
    if "from" in mail and not _ADDRESS.match(mail["from"].get("email", "")):
        wrong.append("'from' address is invalid")
    everybody = [*mail.get("to", []), *mail.get("cc", []), *mail.get("bcc", [])]
    if not everybody:
        wrong.append("must specify at least one of 'to', 'cc', or 'bcc'")
    wrong += [f"'{field}' must have at most {MOST_RECIPIENTS} addresses" for field in _crowded(mail)]
    wrong += ["'to' address is invalid" for one in everybody if not _ADDRESS.match(one.get("email", ""))]
    if "template_uuid" in mail:
        wrong += [f"'{field}' is not allowed with 'template_uuid'" for field in _TEMPLATED if field in mail]
        return wrong
    wrong += [] if mail.get("subject") else ["'subject' is required"]
    wrong += [] if mail.get("text") or mail.get("html") else ["must specify either text or html body"]
    wrong += ["'category' is too long"] if len(mail.get("category", "")) > LONGEST_CATEGORY else []
    variables = mail.get("custom_variables", {})
    return wrong + [
        f"'custom_variables.{name}' must be a string" for name, value in variables.items() if not isinstance(value, str)
    ]


def _crowded(mail: Mapping[str, Any]) -> list[str]:
    return [field for field in ("to", "cc", "bcc") if len(mail.get(field, [])) > MOST_RECIPIENTS]


def server(port: int, token: str) -> ThreadingHTTPServer:
    """The API on loopback, not yet serving; `port` 0 takes a free one."""
    handler = type("Bound", (Mailtrap,), {"world": World(b""), "token": token})
    made = ThreadingHTTPServer(("127.0.0.1", port), handler)
    made.daemon_threads = True
    return made
