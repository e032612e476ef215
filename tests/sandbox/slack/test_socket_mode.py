"""Socket Mode of the simulator, through the SDK's own client."""

import queue
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse

from sandbox.slack.world import APP_TOKEN, Workspace
from tests.channels.slacking import Served, slack
from tests.sandbox.slack.spec import sample

WAIT = 20


@contextmanager
def listening(served: Served) -> Generator[tuple["queue.Queue[Any]", "queue.Queue[Any]"]]:
    """The SDK's client, what it was greeted with, and what it was sent and has acknowledged."""
    greeted: queue.Queue[Any] = queue.Queue()
    taken: queue.Queue[Any] = queue.Queue()

    def take(client: Any, request: Any) -> None:
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id, payload={"text": "taken"}))
        taken.put(request)

    def greet(_client: Any, message: dict[str, Any], _raw: str | None) -> None:
        if message["type"] == "hello":
            greeted.put(message)

    client = SocketModeClient(app_token=APP_TOKEN, web_client=WebClient(base_url=served.api, retry_handlers=[]))
    client.message_listeners.append(greet)
    client.socket_mode_request_listeners.append(take)
    try:
        client.connect()
        yield greeted, taken
    finally:
        client.close()


def test_it_is_greeted_gets_envelopes_and_acknowledges_each() -> None:
    with slack() as served, listening(served) as (greeted, taken):
        world = served.world
        assert greeted.get(timeout=WAIT)["connection_info"] == {"app_id": "A0000APP"}
        for kind, payload in (
            ("slash_commands", world.command("/ops", "status", user="U0000OLGA")),
            ("events_api", world.wrote("approve", user="U0000OLGA")),
        ):
            envelope = world.envelope(kind, payload)
            served.run(world.deliver(envelope))
            request = taken.get(timeout=WAIT)
            assert (request.type, request.payload, request.envelope_id) == (kind, payload, envelope["envelope_id"])


def test_asked_to_connect_again_it_does_and_misses_nothing_after() -> None:
    with slack() as served, listening(served) as (greeted, taken):
        greeted.get(timeout=WAIT)
        served.run(served.world.refresh())
        greeted.get(timeout=WAIT)
        assert [method for method, _ in served.world.seen] == ["apps.connections.open"] * 2
        payload = served.world.command("/ops", "status", user="U0000OLGA")
        served.run(served.world.listening[-1](served.world.envelope("slash_commands", payload)))
        assert taken.get(timeout=WAIT).payload == payload


def test_a_bots_token_opens_no_connection() -> None:
    with slack() as served:
        web = WebClient(base_url=served.api, retry_handlers=[])
        with pytest.raises(SlackApiError, match="invalid_auth"):
            web.apps_connections_open(app_token="xapp-other")
        assert served.world.listening == []


def test_an_envelope_has_the_fields_of_slacks_own() -> None:
    world, kinds = Workspace(), {}
    for each in sample("socket_mode_messages.json"):
        if "envelope_id" in each:
            kinds.setdefault(each["type"], set()).update(each)
    for kind, payload in (
        ("slash_commands", world.command("/ops", "status", user="U0000OLGA")),
        ("events_api", world.wrote("hi", user="U0000OLGA")),
        ("interactive", {}),
    ):
        assert world.envelope(kind, payload).keys() <= kinds[kind]
