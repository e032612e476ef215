"""`ops-mcp service …`: bindings of services to environments, as files that a person can read and edit."""

import re
import shlex
from pathlib import Path

import click
import tomli_w

from ops_mcp.cli.app import command, group
from ops_mcp.cli.desk import Desk, parsed
from ops_mcp.cli.detect import Proposal, detect
from ops_mcp.cli.paint import Reply, Table, cell
from ops_mcp.config import Config, read_bindings
from ops_mcp.domain.identity import Risk
from ops_mcp.domain.places import Binding
from ops_mcp.errors import Conflict, InvalidArguments, NotFound
from ops_mcp.providers.local import options as local
from ops_mcp.secrets import make_private_directory, write_private
from ops_mcp.values import JsonObject, Value

service_command = group("service", help="Services, and where each of them runs.")

FIRST_PORT = 8101


class Wanted(Value):
    """What was typed."""

    source: str
    environment: str
    name: str | None
    run: str | None
    build: str | None
    port: int | None
    subdirectory: str
    health: str | None
    tcp: bool
    env: tuple[str, ...]
    secrets: tuple[str, ...]
    risk: Risk
    replace: bool


@command("add", group=service_command)
@click.argument("source")
@click.option("--environment", "-e", required=True, help="Where it runs.")
@click.option("--name", help="Its name; the source's last part, unless given.")
@click.option("--run", help='How it is started, for instance "{python} app.py --port {port}". No shell.')
@click.option("--build", help="What is run once for each release before it starts. No shell.")
@click.option("--port", type=click.IntRange(1, 65535), help="Where it listens; it gets PORT, and {port} in its arguments.")
@click.option("--subdirectory", default="", help="The part of the source that is the service.")
@click.option("--health", metavar="PATH", help="The path that answers 200 when it is well.")
@click.option("--tcp", is_flag=True, help="It is well when its port accepts a connection.")
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="An environment variable; repeatable.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="NAME=SECRET", help="A variable filled from a stored secret; repeatable."
)
@click.option(
    "--risk", type=click.Choice(["low", "full"]), default="full", show_default=True, help="low: open at level prod_low."
)
@click.option("--replace", is_flag=True, help="Replace the binding of this environment.")
def service_add(desk: Desk, **given: object) -> Reply:
    """Bind SOURCE (a directory, a git repository by path or URL, or `sample`) to an environment.

    What is not given is detected from Procfile, Dockerfile, package.json, pyproject.toml or the Python files.
    """
    desk.refuse_agents()
    config = desk.config()
    wanted = parsed(Wanted, **given)
    source = _source(wanted.source)
    found = _looked_at(source, wanted.subdirectory)
    binding = _binding(config, wanted, source, found)
    file = _write(config, binding, replace=wanted.replace)
    return Reply({"file": str(file), "binding": binding.json_value(), "detected": found.because}, (_told(binding, found, file),))


@command("list", group=service_command)
def service_list(desk: Desk) -> Reply:
    """Show the services and how each is bound."""
    config = desk.config()
    rows = [_row(binding) for binding in config.bindings]
    table = Table(
        ("service", "environment", "provider", "source", "port", "risk"), rows, "No service yet. Run: ops-mcp service add PATH"
    )
    return Reply({"services": [b.json_value() for b in config.bindings]}, (table,))


@command("remove", group=service_command)
@click.argument("name")
@click.option("--environment", "-e", help="This environment's binding only.")
def service_remove(desk: Desk, *, name: str, environment: str | None) -> Reply:
    """Remove a service's binding. What runs goes on running; stop it first with a rollback or by hand."""
    desk.refuse_agents()
    config = desk.config()
    gone = [b for b in config.bindings if b.service == name and environment in (None, b.environment)]
    if not gone:
        known = [f"{b.service} in {b.environment}" for b in config.bindings]
        raise NotFound(
            f"There is no such binding of {name!r}.", hint=f"Bound: {'; '.join(known)}." if known else "Nothing is bound."
        )
    rest = [b for b in config.bindings if b.service == name and b not in gone]
    _store(config, name, rest)
    places = ", ".join(b.environment for b in gone)
    return Reply({"removed": name, "environments": [b.environment for b in gone]}, (f"{name} is no longer bound in {places}.",))


def _source(given: str) -> str:
    """A URL or the word `sample` as it is; a path made absolute, because agents call from anywhere."""
    if "://" in given or given == local.SAMPLE:
        return given
    path = Path(given).expanduser().absolute()
    if not path.is_dir():
        raise NotFound(f"There is no directory {path}.", hint="Give a directory, a git repository (path or URL), or `sample`.")
    return str(path.resolve())


def _looked_at(source: str, subdirectory: str) -> Proposal:
    """What the tree proposes; nothing for a URL, which is not fetched before somebody deploys it."""
    if not source.startswith("/"):
        return Proposal()
    root = Path(source) / subdirectory

    def read(name: str) -> str | None:
        file = root / name
        if not file.is_file() or file.stat().st_size > 1_000_000:
            return None
        return file.read_text(encoding="utf-8", errors="replace")

    return detect(read)


def _binding(config: Config, wanted: Wanted, source: str, found: Proposal) -> Binding:
    if wanted.environment not in config.environments:
        known = ", ".join(sorted(config.environments))
        raise NotFound(f"There is no environment {wanted.environment!r}.", hint=f"Environments: {known}.")
    run = _words("run", wanted.run) or found.run
    if not run and source != local.SAMPLE:
        raise InvalidArguments(
            "Nothing in the source says how to start it.", hint='Give --run, for instance --run "{python} app.py".'
        )
    port = wanted.port or found.port or _free_port(config)
    options: JsonObject = {"source": source, "port": port}
    if run:
        options["run"] = list(run)
    if build := _words("build", wanted.build) or found.build:
        options["build"] = list(build)
    if wanted.subdirectory:
        options["subdirectory"] = wanted.subdirectory
    binding = parsed(
        Binding,
        service=wanted.name or _name_from(source),
        environment=wanted.environment,
        provider="local",
        risk=wanted.risk,
        options=options,
        env=_pairs("env", wanted.env),
        secrets=_pairs("secret", wanted.secrets),
        health={"probe": _probe(wanted, found, source)},
    )
    local.parse(binding)
    return binding


def _probe(wanted: Wanted, found: Proposal, source: str) -> JsonObject:
    if wanted.tcp:
        return {"kind": "tcp"}
    path = wanted.health or found.health_path or ("/health" if source == local.SAMPLE else None)
    return {"kind": "http", "path": path} if path else {"kind": "tcp"}


def _words(option: str, given: str | None) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(given or ""))
    except ValueError as error:
        raise InvalidArguments(
            f"--{option} has an open quotation.", hint="Quote arguments as in a shell; no shell runs them."
        ) from error


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if bad := [name for name, equals, _ in pairs if not (name and equals)]:
        raise InvalidArguments(f"--{option} takes NAME=VALUE.", hint=f"{len(bad)} of them have no '=' or no name.")
    return {name: value for name, _, value in pairs}


def _free_port(config: Config) -> int:
    """The first port that no binding here has."""
    taken = [b.options.get("port") for b in config.bindings]
    return next(port for port in range(FIRST_PORT, 65536) if port not in taken)


def _name_from(source: str) -> str:
    last = source.rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1].removesuffix(".git")
    return re.sub(r"[^a-z0-9-]+", "-", last.lower()).strip("-")[:63]


def _write(config: Config, binding: Binding, *, replace: bool) -> Path:
    present = [b for b in config.bindings if b.service == binding.service]
    others = [b for b in present if b.environment != binding.environment]
    if len(others) != len(present) and not replace:
        raise Conflict(f"{binding.service} is bound in {binding.environment} already.", hint="Give --replace, or another --name.")
    return _store(config, binding.service, [*others, binding])


def _store(config: Config, service: str, bindings: list[Binding]) -> Path:
    """Write the service's file in one step, or remove it with its last binding. Read back, so that nothing unusable stays."""
    file = config.config_dir / "services" / f"{service}.toml"
    if not bindings:
        file.unlink()
        return file
    make_private_directory(file.parent)
    before = file.read_text(encoding="utf-8") if file.exists() else None
    write_private(file, tomli_w.dumps({b.environment: _table(b) for b in sorted(bindings, key=lambda b: b.environment)}))
    if before is not None and not {b.digest for b in bindings} <= {b.digest for b in read_bindings(config.config_dir)}:
        write_private(file, before)
        raise Conflict(f"{file} could not be written faithfully.", hint="Edit it by hand; see docs/providers/local.md.")
    return file


def _table(binding: Binding) -> JsonObject:
    """A binding without what its file's name and table already say, and without defaults."""
    plain = binding.model_dump(mode="json", exclude={"service", "environment"}, exclude_defaults=True, exclude_none=True)
    health = binding.health
    if "health" in plain:
        plain["health"]["probe"] = {"kind": health.probe.kind, **health.probe.model_dump(mode="json", exclude_defaults=True)}
    return plain


def _told(binding: Binding, found: Proposal, file: Path) -> str:
    options = local.parse(binding)
    probe = binding.health.probe
    how = f"GET {probe.path}" if probe.kind == "http" else probe.kind
    return "\n".join(
        (
            f"{binding.service} in {binding.environment}: {file}",
            f"  source  {options.source}",
            f"  run     {shlex.join(options.run) or 'the sample'}" + (f"   (from {found.because})" if found.because else ""),
            f"  build   {shlex.join(options.build) or 'nothing'}",
            f"  port    {options.port}",
            f"  health  {how}",
        )
    )


def _row(binding: Binding) -> tuple[str, ...]:
    source, port = cell(binding.options.get("source")), cell(binding.options.get("port"))
    return binding.service, binding.environment, binding.provider, source, port, binding.risk
