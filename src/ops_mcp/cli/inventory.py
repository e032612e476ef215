"""`ops-mcp inventory …`: what should run besides what is deployed here, and taking it over from a compose file."""

import re
from pathlib import Path
from typing import NamedTuple, cast

import click
import tomli_w
from pydantic import ValidationError

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import Reply, Table
from ops_mcp.config import read_inventory
from ops_mcp.domain.inventory import Thing, name_of
from ops_mcp.errors import Conflict, InvalidArguments, NotConfigured
from ops_mcp.secrets import make_private_directory, write_private
from ops_mcp.values import Json, JsonObject

inventory_command = group("inventory", help="What should run, and how it is probed.")

_MOST_BYTES = 2**20
_KINDS = {"redis": "redis", "valkey": "redis", "postgres": "postgres", "postgis": "postgres", "timescaledb": "postgres"}
_SHORT_PORT = re.compile(r"(?:[\d.]+:|\[[0-9a-f:]+\]:)?(\d{1,5}):(\d{1,5})(?:/tcp)?", re.IGNORECASE)
_CHECKED_URL = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::(\d{1,5}))?(/[\x21-\x26\x28-\x7e]*)?")


class Imported(NamedTuple):
    """One thing of a compose file as a table of the inventory, and what of it could not be taken over."""

    name: str
    table: JsonObject
    left_out: str = ""


@command("list", group=inventory_command)
def inventory_list(desk: Desk) -> Reply:
    """Show what should run, bound or declared, with its probes."""
    things = desk.config().inventory
    rows = [_row(thing) for thing in things]
    table = Table(("name", "environment", "expected", "probes", "depends on"), rows, "Nothing should run here yet.")
    return Reply({"inventory": [thing.json_value() for thing in things]}, (table,))


@command("import", group=inventory_command)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--environment", "-e", required=True, help="Where it runs.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where its published ports are.")
@click.option("--replace", is_flag=True, help="Replace what is declared under these names there.")
def inventory_import(desk: Desk, *, file: Path, environment: str, host: str, replace: bool) -> Reply:
    """Declare the services of a compose FILE: their published ports, health checks and dependencies.

    Nothing of it is run. Variables are not filled in: a port written with one is left out, and said.
    """
    desk.refuse_agents()
    config = desk.config()
    if environment not in config.environments:
        known = ", ".join(config.environments)
        raise InvalidArguments(f"There is no environment {environment!r}.", hint=f"There are: {known}.")
    found = imported(_document(file), host=host)
    taken = {thing.service for thing in config.declared if thing.environment == environment} & {one.name for one in found}
    if taken and not replace:
        raise Conflict(f"Declared there already: {', '.join(sorted(taken))}.", hint="Give --replace, or edit the files by hand.")
    for one in found:
        _usable(one, environment)
    for one in found:
        _write(config.config_dir / "inventory", one, environment, read_inventory(config.config_dir))
    rows = [(one.name, ", ".join(_kinds(one)) or "none: it will be unknown", one.left_out) for one in found]
    data: JsonObject = {"imported": [{"name": one.name, **one.table, "left_out": one.left_out} for one in found]}
    return Reply(data, (Table(("name", "probes", "left out"), rows, "The file has no services."),))


def imported(document: Json, *, host: str) -> list[Imported]:
    """The services of a compose file as things of the inventory. Raises `InvalidArguments` for what is no such file."""
    services = document.get("services") if isinstance(document, dict) else None
    if not isinstance(services, dict):
        raise InvalidArguments("The file has no services.", hint="Give a compose file.")
    return [_imported(name, table if isinstance(table, dict) else {}, host) for name, table in services.items()]


def _imported(name: str, service: JsonObject, host: str) -> Imported:
    ports, unread = _published(service.get("ports"))
    probe = _probe(service, ports, host)
    depends = service.get("depends_on")
    names = [_named(str(one)) for one in depends] if isinstance(depends, list | dict) else []
    table: JsonObject = {}
    if names:
        table["depends_on"] = list[Json](names)
    if probe is not None:
        table["probes"] = [probe]
    why = f"{unread} of its ports" if unread else "" if probe else "no port is published"
    return Imported(_named(name), table, why)


def _probe(service: JsonObject, ports: dict[int, int], host: str) -> JsonObject | None:
    """By what its image is, else by its own check over HTTP, else its first port. `ports` has the published by the inner ones."""
    if not ports:
        return None
    image = str(service.get("image", "")).rsplit("/", 1)[-1].split(":", 1)[0].split("@", 1)[0]
    first = next(iter(ports.values()))
    if image in _KINDS:
        return {"kind": _KINDS[image], "host": host, "port": first}
    check = service.get("healthcheck")
    test = check.get("test") if isinstance(check, dict) else None
    said = " ".join(map(str, test)) if isinstance(test, list) else str(test or "")
    if (url := _CHECKED_URL.search(said)) is not None:
        inner = int(url[1] or (443 if url[0].startswith("https") else 80))
        if inner in ports:
            return {"kind": "http", "url": f"{url[0].split(':', 1)[0]}://{host}:{ports[inner]}{url[2] or '/'}"}
    return {"kind": "tcp", "host": host, "port": first}


def _published(given: Json) -> tuple[dict[int, int], int]:
    """Published ports by the ports inside, in order; and how many could not be read."""
    found: dict[int, int] = {}
    unread = 0
    for one in given if isinstance(given, list) else []:
        match one:
            case {"target": target, "published": published} if str(target).isdigit() and str(published).isdigit():
                found[int(str(target))] = int(str(published))
            case str() if (short := _SHORT_PORT.fullmatch(one)) is not None:
                found[int(short[2])] = int(short[1])
            case _:
                unread += 1
    return found, unread


def _document(file: Path) -> Json:
    import yaml  # 15 ms, and only this command reads YAML

    if file.stat().st_size > _MOST_BYTES:
        raise InvalidArguments("The file is larger than 1 MiB.", hint="Give a compose file.")
    try:
        return cast(Json, yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InvalidArguments("The file is no YAML that can be read.", hint="Give a compose file.") from error


def _usable(one: Imported, environment: str) -> Thing:
    try:
        return Thing.model_validate({"service": one.name, "environment": environment, **one.table})
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise InvalidArguments(f"{one.name or 'A service'} cannot be taken over: {where}.", hint="Declare it by hand.") from error


def _write(folder: Path, one: Imported, environment: str, declared: tuple[Thing, ...]) -> None:
    """Add the table to the file of that name; its other environments stay as they are."""
    tables = {
        thing.environment: thing.model_dump(
            mode="json", exclude={"service", "environment", "bound"}, exclude_unset=True, exclude_none=True
        )
        for thing in declared
        if thing.service == one.name
    }
    make_private_directory(folder)
    write_private(folder / f"{one.name}.toml", tomli_w.dumps({**tables, environment: one.table}))
    if not any((t.service, t.environment) == (one.name, environment) for t in read_inventory(folder.parent)):
        raise NotConfigured(f"{one.name}.toml could not be written faithfully.", hint="Declare it by hand.")


def _kinds(one: Imported) -> list[str]:
    probes = one.table.get("probes")
    return [str(probe["kind"]) for probe in probes if isinstance(probe, dict)] if isinstance(probes, list) else []


def _named(name: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63]


def _row(thing: Thing) -> tuple[str, ...]:
    probes = [*(["release"] if thing.bound else []), *map(name_of, thing.probes)]
    return (thing.service, thing.environment, thing.expected, ", ".join(probes) or "none", ", ".join(thing.depends_on))
