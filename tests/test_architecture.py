"""Invariants of the whole source tree that neither the type checker nor the linter holds. No rule has an exemption list."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "ops_mcp"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted(p for p in (ROOT / "tests").rglob("*.py") if p != Path(__file__))
TEXTS = sorted(
    p
    for pattern in (
        "src/**/*",
        "tests/**/*",
        "docs/**/*",
        "sandbox/**/*",
        "bench/**/*",
        "prompts/**/*",
        "*.md",
        "*.toml",
        "*.txt",
        "Makefile",
        ".ci/run",
    )
    for p in ROOT.glob(pattern)
    if p.is_file() and p != Path(__file__) and p.suffix not in {".pyc", ".db"} and "__pycache__" not in p.parts
)

LOGIC_ROOMS = ("domain", "governance", "deploying", "alerting", "metrics", "logs", "jobs", "triage", "operations", "tools")
MAKERS_OF_TIME_AND_IDS = ("cli", "startup.py", "worker.py", "server.py", "client")
READERS_OF_THE_ENVIRONMENT = ("config.py", "cli", "worker.py", "client", "sample")
IMPORTERS_OF_MCP = (
    "server.py",
    "resources.py",
    "prompts.py",
    "pipes.py",
    "stdio.py",
    "framing.py",
    "replies.py",
    "web.py",
    "web",
    "bridge.py",
    "client",
)

MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(root|work|home/[a-z]+|Users/[A-Za-z]+|opt/(pypi|wheels))/\w")
REGISTRY_HOSTS = re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs\.org|proxy\.golang\.org", re.IGNORECASE)


def room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0]


def name_of(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree_of(module)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def imported(module: Path) -> set[str]:
    """Top-level names of everything `module` imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def calls(module: Path) -> set[str]:
    return {ast.unparse(n.func) for n in ast.walk(tree_of(module)) if isinstance(n, ast.Call)}


def code_lines(module: Path) -> int:
    """Lines that hold code: comments, blank lines and docstrings are not counted."""
    with module.open("rb") as file:
        kinds = {
            tokenize.COMMENT,
            tokenize.NL,
            tokenize.NEWLINE,
            tokenize.ENCODING,
            tokenize.ENDMARKER,
            tokenize.INDENT,
            tokenize.DEDENT,
        }
        tokens = [t for t in tokenize.tokenize(file.readline) if t.type not in kinds]
    prose = {n.value.lineno for n in ast.walk(tree_of(module)) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    return len({t.start[0] for t in tokens} - prose)


def test_no_module_is_longer_than_400_lines() -> None:
    long = {name_of(m): n for m in MODULES if (n := len(m.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long


def test_no_function_is_longer_than_40_lines() -> None:
    long = {
        f"{name_of(m)}:{f.lineno} {f.name}": length
        for m in MODULES
        for f in functions(m)
        if (length := (f.end_lineno or f.lineno) - f.lineno + 1) > 40
    }
    assert not long


def test_every_module_says_what_it_is() -> None:
    silent = [name_of(m) for m in MODULES if m.read_text(encoding="utf-8").strip() and not ast.get_docstring(tree_of(m))]
    assert not silent


def test_package_files_are_no_facades() -> None:
    long = {name_of(m): n for m in MODULES if m.name == "__init__.py" and (n := code_lines(m)) > 20}
    assert not long


def test_names_carry_the_domain_and_not_the_pattern() -> None:
    pattern_word = re.compile(r"(Manager|Service|Helper|Handler|Engine|Factory|Utils)$")
    classes = [
        f"{name_of(m)} {n.name}"
        for m in MODULES
        for n in ast.walk(tree_of(m))
        if isinstance(n, ast.ClassDef) and pattern_word.search(n.name)
    ]
    modules = [name_of(m) for m in MODULES if m.stem in {"utils", "util", "helpers", "common", "misc", "manager"}]
    assert not classes
    assert not modules


def test_every_port_has_at_most_five_methods() -> None:
    ports = [
        n
        for n in ast.walk(tree_of(PACKAGE / "ports.py"))
        if isinstance(n, ast.ClassDef) and "Protocol" in map(ast.unparse, n.bases)
    ]
    assert ports
    wide = {p.name: n for p in ports if (n := sum(isinstance(b, ast.FunctionDef | ast.AsyncFunctionDef) for b in p.body)) > 5}
    assert not wide


@pytest.mark.parametrize(
    "made", ["datetime.now", "uuid4", "uuid.uuid4", "random.random", "time.time", "secrets.token_urlsafe", "secrets.token_bytes"]
)
def test_logic_takes_time_ids_and_chance_as_arguments(made: str) -> None:
    makers = [name_of(m) for m in MODULES if room(m) in LOGIC_ROOMS and made in calls(m)]
    assert not makers


def test_pure_rooms_import_neither_clock_nor_world() -> None:
    pure = [m for m in MODULES if room(m) in LOGIC_ROOMS[:8]]
    outside = {
        "anyio",
        "asyncio",
        "aiosqlite",
        "sqlite3",
        "httpx2",
        "mcp",
        "os",
        "time",
        "random",
        "uuid",
        "secrets",
        "subprocess",
        "socket",
        "psutil",
    }
    assert pure
    assert not {name_of(m): sorted(found) for m in pure if (found := imported(m) & outside)}


def test_only_the_rooms_that_speak_the_protocol_import_mcp() -> None:
    importers = {room(m) for m in MODULES if imported(m) & {"mcp", "mcp_types"}}
    assert importers <= set(IMPORTERS_OF_MCP)


def test_only_the_edge_reads_the_environment() -> None:
    reads = re.compile(r"\bos\.(environ|getenv)\b")
    readers = {
        name_of(m) for m in MODULES if room(m) not in READERS_OF_THE_ENVIRONMENT and reads.search(m.read_text(encoding="utf-8"))
    }
    assert not readers


def test_nothing_prints_but_the_terminal_the_sample_and_the_auditors_program() -> None:
    programs = {PACKAGE / "store" / "verify.py"}
    printers = [
        name_of(m)
        for m in MODULES
        if room(m) not in {"cli", "sample"} and m not in programs and calls(m) & {"print", "sys.stdout.write"}
    ]
    assert not printers


def test_nothing_runs_a_shell() -> None:
    shells = [
        f"{name_of(m)}:{n.lineno}"
        for m in MODULES
        for n in ast.walk(tree_of(m))
        if isinstance(n, ast.Call)
        and (
            ast.unparse(n.func) in {"os.system", "os.popen", "asyncio.create_subprocess_shell", "subprocess.getoutput"}
            or any(k.arg == "shell" for k in n.keywords)
        )
    ]
    assert not shells


def test_nothing_swallows_what_it_did_not_expect() -> None:
    """A wide `except` raises again, hands the error on by name, or logs it whole, as the worker's loop does."""
    swallowing = [
        f"{name_of(m)}:{n.lineno}"
        for m in MODULES
        for n in ast.walk(tree_of(m))
        if isinstance(n, ast.ExceptHandler)
        and (n.type is None or ast.unparse(n.type) in {"Exception", "BaseException"})
        and not _passes_on(n)
    ]
    assert not swallowing


def _passes_on(handler: ast.ExceptHandler) -> bool:
    inside = [n for statement in handler.body for n in ast.walk(statement)]
    raises = any(isinstance(n, ast.Raise) for n in inside)
    hands_on = any(isinstance(n, ast.Name) and n.id == handler.name for n in inside)
    logs = any(isinstance(n, ast.Call) and ast.unparse(n.func).endswith(".exception") for n in inside)
    return raises or hands_on or logs


def test_the_source_does_not_know_sandbox_tests_or_bench() -> None:
    outside = {name_of(m): sorted(found) for m in MODULES if (found := imported(m) & {"sandbox", "tests", "bench"})}
    assert not outside


@pytest.mark.parametrize("forbidden", ["monkeypatch.setattr", "unittest.mock", "from unittest import mock"])
def test_tests_patch_nothing(forbidden: str) -> None:
    assert not [name_of(t) for t in TESTS if forbidden in t.read_text(encoding="utf-8")]


def test_tests_wait_for_events_and_not_for_time() -> None:
    """A poll's own pause is `anyio.sleep` inside a loop with a deadline; the one name for it is `tests.waiting.until`."""
    sleepers = [
        f"{name_of(t)}:{n.lineno}"
        for t in TESTS
        for n in ast.walk(tree_of(t))
        if isinstance(n, ast.Call) and ast.unparse(n.func) in {"time.sleep", "asyncio.sleep", "sleep"}
    ]
    assert not sleepers


def test_no_text_names_a_machine_or_a_package_host() -> None:
    found = [
        f"{name_of(t)}: {match.group(0)}"
        for t in TEXTS
        for pattern in (MACHINE_PATHS, REGISTRY_HOSTS)
        for match in pattern.finditer(t.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


def test_a_machine_path_would_be_found() -> None:
    assert MACHINE_PATHS.search("open('" + "/ro" + "ot/x')")
    assert not MACHINE_PATHS.search("$HOME/work and refs/heads/root")
