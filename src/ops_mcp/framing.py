"""JSON-RPC messages as lines of bytes, both ways. Pure: no IO, and nothing of what a message means."""

import json
from typing import Any, cast

from mcp.types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

RequestId = int | str
Message = JSONRPCRequest | JSONRPCNotification | JSONRPCResponse | JSONRPCError


def parse(line: bytes) -> Message | bytes:
    """The message in a line, or the error line that answers it: unreadable JSON, or JSON that is no JSON-RPC message."""
    try:
        value: Any = from_json(line)
    except ValueError:
        return error_line(None, PARSE_ERROR, "Parse error: not one line of UTF-8 JSON")
    if not isinstance(value, dict):
        return error_line(None, INVALID_REQUEST, "Invalid request: one JSON-RPC object per line; batches are not part of MCP")
    fields = cast(dict[str, Any], value)
    try:
        if "method" not in fields:
            return (JSONRPCError if "error" in fields else JSONRPCResponse).model_validate(fields)
        return (JSONRPCRequest if "id" in fields else JSONRPCNotification).model_validate(fields)
    except ValidationError:
        return error_line(usable_id(fields.get("id")), INVALID_REQUEST, "Invalid request: not a JSON-RPC 2.0 message")


def usable_id(value: object) -> RequestId | None:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def encoded(message: Message) -> bytes:
    try:
        if isinstance(message, JSONRPCResponse):
            return to_json({"jsonrpc": "2.0", "id": message.id, "result": message.result}, inf_nan_mode="null")
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode()
    except (PydanticSerializationError, UnicodeEncodeError):
        # A reply that is no JSON is a bug of ours; the request is still owed an answer, and the text of the bug to nobody.
        return error_line(getattr(message, "id", None), INTERNAL_ERROR, "Internal error")


def error_line(request: RequestId | None, code: int, message: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request, "error": {"code": code, "message": message}}).encode()
