"""What a source tree says about how to run it. A proposal with its reason, never a decision; reads only what `read` gives."""

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from ops_mcp.values import Json, JsonObject

Read: TypeAlias = Callable[[str], str | None]
"""The text of a file in the tree, by its name; None when there is none."""

_SHELL = set("|&;<>$`(){}*?[]~#")
_PYTHON_FILES = ("service.py", "server.py", "app.py", "main.py", "__main__.py")
_HEALTH = re.compile(r"""["'](/(?:health|healthz|api/health|ping|status))["'/?]""")


class Proposal(NamedTuple):
    """How the tree could be run. Empty `run` means that nothing was found; `because` names the file that said so."""

    run: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    port: int | None = None
    health_path: str | None = None
    because: str = ""


def detect(read: Read) -> Proposal:
    """The first of Procfile, Dockerfile, package.json, pyproject.toml and plain Python that says how to start."""
    for look in (_procfile, _dockerfile, _package_json, _pyproject, _plain_python):
        found = look(read)
        if found.run:
            return found._replace(health_path=_health_path(read), port=found.port or _exposed_port(read))
    return Proposal()


def _procfile(read: Read) -> Proposal:
    line = re.search(r"^web:\s*(.+)$", read("Procfile") or "", re.MULTILINE)
    if line is None:
        return Proposal()
    words = line[1].replace("${PORT}", "{port}").replace("$PORT", "{port}")
    return Proposal(run=_argv(words), because="Procfile: web")


def _dockerfile(read: Read) -> Proposal:
    """The exec form only: the shell form would need a shell."""
    text = read("Dockerfile") or ""
    entry, command = _exec_form(text, "ENTRYPOINT"), _exec_form(text, "CMD")
    run = _python_first((*entry, *command))
    return Proposal(run=run, because="Dockerfile: ENTRYPOINT and CMD") if run else Proposal()


def _package_json(read: Read) -> Proposal:
    package = _json(read("package.json"))
    scripts = package.get("scripts")
    if not isinstance(scripts, dict) or "start" not in scripts:
        return Proposal()
    install = "ci" if read("package-lock.json") is not None else "install"
    return Proposal(run=("npm", "start"), build=("npm", install), because="package.json: scripts.start")


def _pyproject(read: Read) -> Proposal:
    """A package that can be run as a module, by the name of the project."""
    try:
        document: JsonObject = tomllib.loads(read("pyproject.toml") or "")
    except tomllib.TOMLDecodeError:
        return Proposal()
    project = document.get("project")
    name = project.get("name") if isinstance(project, dict) else None
    if not isinstance(name, str):
        return Proposal()
    package = re.sub(r"[^a-z0-9_]", "_", name.lower())
    if read(f"{package}/__main__.py") is None:
        return Proposal()
    return Proposal(run=("{python}", "-m", package), because=f"pyproject.toml and {package}/__main__.py")


def _plain_python(read: Read) -> Proposal:
    for file in _PYTHON_FILES:
        if read(file) is not None:
            return Proposal(run=("{python}", file), because=file)
    return Proposal()


def _argv(words: str) -> tuple[str, ...]:
    """`words` as an argument list; nothing where only a shell could run them."""
    try:
        argv = shlex.split(words)
    except ValueError:
        return ()
    bare = words.replace("{port}", "")
    return () if _SHELL & set(bare) or "=" in argv[0] else _python_first(tuple(argv))


def _python_first(argv: tuple[str, ...]) -> tuple[str, ...]:
    return ("{python}", *argv[1:]) if argv and argv[0] in ("python", "python3") else argv


def _exec_form(text: str, word: str) -> tuple[str, ...]:
    found: list[str] = re.findall(rf"^{word}\s+(\[.*\])\s*$", text, re.MULTILINE | re.IGNORECASE)
    if not found:
        return ()
    try:
        words: Json = json.loads(found[-1])
    except ValueError:
        return ()
    return tuple(word for word in words if isinstance(word, str)) if isinstance(words, list) else ()


def _exposed_port(read: Read) -> int | None:
    exposed = re.search(r"^EXPOSE\s+(\d{1,5})", read("Dockerfile") or "", re.MULTILINE | re.IGNORECASE)
    return int(exposed[1]) if exposed and 0 < int(exposed[1]) < 65536 else None


def _health_path(read: Read) -> str | None:
    """A health route that one of the usual files mentions."""
    for file in (*_PYTHON_FILES, "index.js", "server.js", "app.js", "src/index.js", "src/server.js"):
        if mentioned := _HEALTH.search(read(file) or ""):
            return mentioned[1]
    return None


def _json(text: str | None) -> dict[str, Json]:
    try:
        value: Json = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
