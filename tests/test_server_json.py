"""What the registry is told equals what is shipped, and is valid by its released schema (2025-12-11, condensed)."""

import json
import tomllib
from pathlib import Path

import jsonschema

import ops_mcp
from ops_mcp import config

ROOT = Path(__file__).parent.parent
SCHEMA_URL = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
TEXT = {"type": "string"}
INPUT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": TEXT,
        "description": TEXT,
        "isRequired": {"type": "boolean"},
        "isSecret": {"type": "boolean"},
        "format": {"enum": ["string", "number", "boolean", "filepath"]},
        "default": TEXT,
        "value": TEXT,
        "placeholder": TEXT,
        "choices": {"type": "array", "items": TEXT},
    },
}
PACKAGE = {
    "type": "object",
    "required": ["registryType", "identifier", "transport"],
    "properties": {
        "version": {"type": "string", "minLength": 1, "not": {"const": "latest"}},
        "transport": {"type": "object", "required": ["type"]},
        "environmentVariables": {"type": "array", "items": INPUT},
    },
}
SCHEMA = {
    "type": "object",
    "required": ["name", "description", "version"],
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 200, "pattern": "^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$"},
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        "version": {"type": "string", "maxLength": 255},
        "repository": {"type": "object", "required": ["url", "source"]},
        "packages": {"type": "array", "items": PACKAGE},
    },
}

SERVER = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_server_json_is_valid_by_the_released_schema():
    jsonschema.Draft7Validator(SCHEMA).validate(SERVER)
    assert SERVER["$schema"] == SCHEMA_URL


def test_it_names_the_distribution_its_version_and_its_description():
    (package,) = SERVER["packages"]
    assert package["identifier"] == PROJECT["name"]
    assert SERVER["version"] == package["version"] == PROJECT["version"] == ops_mcp.__version__
    assert SERVER["description"] == PROJECT["description"]


def test_every_variable_it_names_is_read_and_what_opens_something_is_secret(tmp_path: Path):
    variables = {v["name"]: v for v in SERVER["packages"][0]["environmentVariables"]}
    database = "postgresql://ops:word@db.example.com/ops"
    given = {
        "OPS_MCP_CONFIG": str(tmp_path / "c"),
        "OPS_MCP_STATE": str(tmp_path / "s"),
        "OPS_MCP_TOKEN": "ops_x",
        "OPS_MCP_DATABASE_URL": database,
    }
    found = config.load(given)
    assert set(variables) == set(given)
    assert (found.config_dir, found.state_dir) == (tmp_path / "c", tmp_path / "s")
    assert found.token is not None
    assert found.settings.database_url is not None
    assert found.settings.database_url.get_secret_value() == database
    assert [name for name, v in variables.items() if v["isSecret"]] == ["OPS_MCP_TOKEN", "OPS_MCP_DATABASE_URL"]


def test_the_readme_carries_the_registrys_mark_of_ownership():
    assert f"mcp-name: {SERVER['name']}" in (ROOT / "README.md").read_text(encoding="utf-8")
