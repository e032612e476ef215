"""`ops-mcp page`: the address that it prints is an operator's word, for half an hour, and leads only where it may travel."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from ops_mcp.governance import tickets
from ops_mcp.governance.attesting import delegated
from ops_mcp.store.keys import operator_signed
from tests.cli.conftest import START, Terminal


def test_the_address_holds_a_word_that_the_operators_key_has_signed(terminal: Terminal) -> None:
    told = terminal("page", "--json").data
    address = urlsplit(told["url"])
    assert (address.scheme, address.netloc, address.path) == ("http", "127.0.0.1:3001", "/page/unlock")
    word = tickets.read(parse_qs(address.query)["ticket"][0], at=START)
    (operator,) = terminal("operator", "list", "--json").data["operators"]
    assert operator_signed(operator["public_key"], delegated(word), word.signature)
    assert (word.operator, word.session, word.until) == ("alice", "token-0", START + timedelta(minutes=30))


def test_each_ticket_is_another(terminal: Terminal) -> None:
    assert terminal("page", "--json").data["url"] != terminal("page", "--json").data["url"]


def test_behind_tls_the_address_is_the_first_name_that_is_served(terminal: Terminal) -> None:
    (terminal.config_dir / "config.toml").write_text('[http]\ntls = true\nallowed_hosts = ["ops.example.com"]\n')
    assert terminal("page", "--json").data["url"].startswith("https://ops.example.com/page/unlock?ticket=")


@pytest.mark.parametrize(
    "url", ["https://ops.example.com", "https://ops.example.com:8443/", "http://127.0.0.1:8080", "http://[::1]:1"]
)
def test_a_server_elsewhere_is_named_by_its_address(terminal: Terminal, url: str) -> None:
    assert terminal("page", "--url", url, "--json").data["url"].startswith(f"{url.rstrip('/')}/page/unlock?ticket=")


@pytest.mark.parametrize(
    "url", ["http://ops.example.com", "ftp://x", "ops.example.com", "https://", "https://x/?a=b", "javascript:x"]
)
def test_a_ticket_does_not_travel_in_clear_text(terminal: Terminal, url: str) -> None:
    told = terminal("page", "--url", url, "--json")
    assert (told.code, told.out) == (2, "")


def test_a_process_of_an_agent_gets_no_ticket(terminal: Terminal) -> None:
    terminal.environ["OPS_MCP_TOKEN"] = "opsmcp_x"
    told = terminal("page", "--json")
    assert (told.code, told.problem["code"]) == (3, "not_permitted")
