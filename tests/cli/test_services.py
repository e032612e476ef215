"""Bindings from the terminal, and what a source tree says about how to run it."""

import stat
import tomllib
from pathlib import Path

import pytest

from ops_mcp.cli.detect import Proposal, detect
from ops_mcp.config import read_bindings
from tests.cli.conftest import Terminal

PYTHON = ("{python}", "app.py")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, Proposal()),
        ({"app.py": "x = '/health'"}, Proposal(PYTHON, health_path="/health", because="app.py")),
        ({"Procfile": "web: python app.py --port $PORT\n"}, Proposal((*PYTHON, "--port", "{port}"), because="Procfile: web")),
        ({"Procfile": "web: A=1 python app.py", "app.py": ""}, Proposal(PYTHON, because="app.py")),
        ({"Procfile": "web: python app.py | tee log", "app.py": ""}, Proposal(PYTHON, because="app.py")),
        (
            {"Dockerfile": 'FROM x\nEXPOSE 9000/tcp\nENTRYPOINT ["python3"]\nCMD ["app.py"]\n'},
            Proposal(PYTHON, port=9000, because="Dockerfile: ENTRYPOINT and CMD"),
        ),
        ({"Dockerfile": "CMD python app.py\n", "main.py": ""}, Proposal(("{python}", "main.py"), because="main.py")),
        (
            {"package.json": '{"scripts": {"start": "node index.js"}}', "index.js": "app.get('/healthz', ok)"},
            Proposal(("npm", "start"), ("npm", "install"), health_path="/healthz", because="package.json: scripts.start"),
        ),
        (
            {"package.json": '{"scripts": {"start": "x"}}', "package-lock.json": "{}"},
            Proposal(("npm", "start"), ("npm", "ci"), because="package.json: scripts.start"),
        ),
        ({"package.json": "not json", "pyproject.toml": "not = [toml"}, Proposal()),
        (
            {"pyproject.toml": '[project]\nname = "Web-Shop"\n', "web_shop/__main__.py": ""},
            Proposal(("{python}", "-m", "web_shop"), because="pyproject.toml and web_shop/__main__.py"),
        ),
    ],
)  # fmt: skip
def test_a_tree_proposes_how_it_is_run_and_says_why(files: dict[str, str], expected: Proposal) -> None:
    assert detect(files.get) == expected


def test_a_directory_is_bound_with_what_was_detected(terminal: Terminal) -> None:
    source = tree(terminal, "Web.Shop", **{"app.py": "HEALTH = '/health'"})
    told = terminal("service", "add", str(source), "-e", "staging", "--json")
    assert told.code == 0
    file = terminal.config_dir / "services" / "web-shop.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tomllib.loads(file.read_text(encoding="utf-8")) == {
        "staging": {"provider": "local", "options": {"source": str(source), "port": 8101, "run": ["{python}", "app.py"]}}
    }
    assert told.data["detected"] == "app.py"


def test_what_is_given_wins_over_what_is_detected(terminal: Terminal) -> None:
    source = tree(terminal, "shop", **{"app.py": ""})
    line = [
        "--run",
        "{python} other.py --name 'a b'",
        "--port",
        "9000",
        "--tcp",
        "--risk",
        "low",
        "--env",
        "A=b=c",
        "--secret",
        "DB=db",
    ]
    assert terminal("service", "add", str(source), "-e", "production", *line).code == 0
    [binding] = read_bindings(terminal.config_dir)
    assert binding.options["run"] == ["{python}", "other.py", "--name", "a b"]
    assert (binding.options["port"], binding.health.probe.kind, binding.risk) == (9000, "tcp", "low")
    assert (binding.env, binding.secrets) == ({"A": "b=c"}, {"DB": "db"})
    assert "not set" in terminal("secret", "list").out


def test_ports_do_not_meet(terminal: Terminal) -> None:
    source = tree(terminal, "shop", **{"app.py": ""})
    for environment in ("sandbox", "staging"):
        terminal("service", "add", str(source), "-e", environment)
    assert sorted(str(b.options["port"]) for b in read_bindings(terminal.config_dir)) == ["8101", "8102"]


def test_a_binding_is_replaced_only_when_it_is_said(terminal: Terminal) -> None:
    source = tree(terminal, "shop", **{"app.py": ""})
    assert terminal("service", "add", str(source), "-e", "staging").code == 0
    assert terminal("service", "add", str(source), "-e", "staging", "--port", "9000").code == 1
    assert terminal("service", "add", str(source), "-e", "staging", "--port", "9000", "--replace").code == 0
    assert [b.options["port"] for b in read_bindings(terminal.config_dir)] == [9000]


def test_the_sample_and_urls_need_no_directory(terminal: Terminal) -> None:
    assert terminal("service", "add", "sample", "-e", "sandbox").code == 0
    url = "https://git.example.com/team/shop.git"
    assert terminal("service", "add", url, "-e", "staging").code == 2
    assert terminal("service", "add", url, "-e", "staging", "--run", "{python} app.py").code == 0
    assert [b.service for b in read_bindings(terminal.config_dir)] == ["sample", "shop"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["nowhere", "-e", "staging"], 4),
        (["sample", "-e", "prod"], 4),
        (["sample", "-e", "sandbox", "--name", "../x"], 2),
        (["sample", "-e", "sandbox", "--env", "novalue"], 2),
        (["sample", "-e", "sandbox", "--run", "an 'open quotation"], 2),
        (["sample", "-e", "sandbox", "--health", "no-slash"], 2),
        (["sample", "-e", "sandbox", "--subdirectory", "../up"], 7),
    ],
)
def test_what_cannot_be_a_binding_is_refused_and_leaves_no_file(terminal: Terminal, line: list[str], code: int) -> None:
    assert terminal("service", "add", *line).code == code
    assert list((terminal.config_dir / "services").iterdir()) == []


def test_a_binding_is_removed_by_environment_and_its_file_with_the_last(terminal: Terminal) -> None:
    source = tree(terminal, "shop", **{"app.py": ""})
    for environment in ("sandbox", "staging"):
        terminal("service", "add", str(source), "-e", environment)
    assert terminal("service", "remove", "shop", "-e", "staging").code == 0
    assert [b.environment for b in read_bindings(terminal.config_dir)] == ["sandbox"]
    assert terminal("service", "remove", "shop").code == 0
    assert list((terminal.config_dir / "services").iterdir()) == []
    assert terminal("service", "remove", "shop", "--json").problem["hint"] == "Nothing is bound."


def tree(terminal: Terminal, name: str, **files: str) -> Path:
    root = terminal.root / name
    root.mkdir()
    for file, text in files.items():
        (root / file).write_text(text, encoding="utf-8")
    return root
