"""`ops-mcp inventory`: taking over a compose file, which is a stranger's text, and showing what should run."""

from pathlib import Path

import pytest

from ops_mcp.config import read_inventory
from ops_mcp.domain.inventory import HttpAsked, PostgresAsked, RedisAsked, TcpAsked
from tests.cli.conftest import Terminal

COMPOSE = """
services:
  Web_App:
    image: registry.example/team/web:1
    ports: ["8080:80", "127.0.0.1:9443:443/tcp"]
    depends_on: {db: {condition: service_healthy}, cache: {}}
    healthcheck: {test: ["CMD", "curl", "-f", "http://localhost/health"]}
  db:
    image: postgres:16
    ports: [{target: 5432, published: "15432"}]
  cache:
    image: docker.io/library/redis@sha256:abc
    ports: ["6380:6379"]
  mail:
    image: mailer
    ports: ["${MAIL_PORT}:25", "2525:25"]
  worker:
    image: web
    depends_on: [db]
"""


def compose(terminal: Terminal, text: str) -> str:
    file = Path(terminal.root) / "compose.yaml"
    file.write_text(text)
    return str(file)


def test_the_services_of_a_compose_file_become_things_with_probes(terminal: Terminal) -> None:
    told = terminal("inventory", "import", compose(terminal, COMPOSE), "-e", "staging", "--host", "10.0.0.5", "--json")
    assert told.code == 0, told.err
    read = {thing.service: thing for thing in read_inventory(terminal.config_dir)}
    assert {name: thing.probes for name, thing in read.items()} == {
        "web-app": (HttpAsked(url="http://10.0.0.5:8080/health"),),
        "db": (PostgresAsked(host="10.0.0.5", port=15432),),
        "cache": (RedisAsked(host="10.0.0.5", port=6380),),
        "mail": (TcpAsked(host="10.0.0.5", port=2525),),
        "worker": (),
    }
    assert {thing.environment for thing in read.values()} == {"staging"}
    assert read["web-app"].depends_on == ("db", "cache")
    left = {one["name"]: one["left_out"] for one in told.data["imported"]}
    assert left == {"web-app": "", "db": "", "cache": "", "mail": "1 of its ports", "worker": "no port is published"}


def test_what_is_declared_already_is_kept_unless_it_is_to_be_replaced(terminal: Terminal) -> None:
    file = compose(terminal, COMPOSE)
    assert terminal("inventory", "import", file, "-e", "staging").code == 0
    refused = terminal("inventory", "import", file, "-e", "staging", "--json")
    assert refused.code != 0
    assert "cache, db, mail, web-app, worker" in refused.problem["message"]
    assert terminal("inventory", "import", file, "-e", "staging", "--replace").code == 0
    assert terminal("inventory", "import", file, "-e", "production", "--host", "10.9.9.9").code == 0
    places = {(t.service, t.environment): t.probes for t in read_inventory(terminal.config_dir)}
    assert places["db", "staging"] == (PostgresAsked(host="127.0.0.1", port=15432),)
    assert places["db", "production"] == (PostgresAsked(host="10.9.9.9", port=15432),)


def test_the_list_shows_what_is_bound_and_what_is_declared(terminal: Terminal) -> None:
    assert terminal("service", "add", "sample", "-e", "sandbox", "--name", "shop").code == 0
    assert terminal("inventory", "import", compose(terminal, COMPOSE), "-e", "sandbox").code == 0
    listed = {t["service"]: t for t in terminal("inventory", "list", "--json").data["inventory"]}
    assert set(listed) == {"shop", "web-app", "db", "cache", "mail", "worker"}
    assert listed["shop"]["bound"]
    assert "release" in terminal("inventory", "list").out


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "services: 7",
        "a: [",
        "!!python/object/apply:os.system ['true']",
        "services: {'../../etc/passwd': {ports: ['0:0']}}",
        "services: {web: {ports: ['99999:1']}}",
        "services: {'---': {}}",
        "\x00",
        "a: &a [*a]",
    ],
)
def test_what_is_no_compose_file_is_refused_and_nothing_is_written(terminal: Terminal, text: str) -> None:
    told = terminal("inventory", "import", compose(terminal, text), "-e", "staging", "--json")
    assert told.code not in (0, 1), told.out
    assert told.problem["hint"]
    assert not read_inventory(terminal.config_dir)


def test_an_environment_that_does_not_exist_is_refused_with_those_that_do(terminal: Terminal) -> None:
    told = terminal("inventory", "import", compose(terminal, COMPOSE), "-e", "moon", "--json")
    assert told.problem["hint"] == "There are: sandbox, staging, production."
