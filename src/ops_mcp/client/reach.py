"""How an agent's process reaches ops-mcp, and where it keeps what could not be sent yet."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from ops_mcp.errors import OpsError, Problem
from ops_mcp.remote import token_text, usable_token
from ops_mcp.values import Secret, Value

_HANDED_ON = ("OPS_MCP_", "XDG_")
_OURS = ("OPS_MCP_URL", "OPS_MCP_TASK", "OPS_MCP_SPOOL")


class Reach(Value):
    """A server over HTTP at `url`, or one that is started here over stdio when that is empty. The token says who the agent is.

    `environ` is what a server that is started here is given. `spool` holds a directory for each server and token, so that no line
    is sent in another agent's name.
    """

    url: str = ""
    token: Secret | None = None
    environ: Mapping[str, str] = {}
    spool: Path

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        url: str | None = None,
        state_dir: Path | None = None,
        config_dir: Path | None = None,
    ) -> "Reach":
        """As OPS_MCP_URL and OPS_MCP_TOKEN say; without a URL the server is started here, by OPS_MCP_CONFIG and OPS_MCP_STATE."""
        found = dict(os.environ if environ is None else environ)
        for name, directory in (("OPS_MCP_STATE", state_dir), ("OPS_MCP_CONFIG", config_dir)):
            if directory is not None:
                found[name] = str(directory)
        return cls(
            url=found.get("OPS_MCP_URL", "") if url is None else url,
            token=Secret(found["OPS_MCP_TOKEN"]) if "OPS_MCP_TOKEN" in found else None,
            environ={n: v for n, v in found.items() if n.startswith(_HANDED_ON) and n not in _OURS},
            spool=_spool(found),
        )

    @property
    def trouble(self) -> Problem | None:
        """Why nothing can ever be sent this way: no token, or one that would travel unencrypted."""
        try:
            self.secret()
        except OpsError as error:
            return error.problem
        return None

    def secret(self) -> str:
        """The token's text. Raises `NotConfigured`."""
        return usable_token(self.url, self.token) if self.url else token_text(self.token)

    @property
    def directory(self) -> Path:
        """Where this agent's lines for this server lie."""
        where = self.url or f"stdio {self.environ.get('OPS_MCP_STATE', '')}"
        token = self.token.get_secret_value() if self.token else ""
        return self.spool / hashlib.sha256(f"{where}\n{token}".encode()).hexdigest()[:16]


def _spool(environ: Mapping[str, str]) -> Path:
    if named := environ.get("OPS_MCP_SPOOL"):
        return Path(named)
    if named := environ.get("OPS_MCP_STATE"):
        return Path(named) / "spool"
    state = environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path(environ.get("HOME") or Path.home()) / ".local" / "state") / "ops-mcp" / "spool"
