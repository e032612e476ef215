"""Where an agent's token may be sent: the one judgement about a server elsewhere that the bridge and the client library share."""

import ipaddress
from urllib.parse import urlsplit

from ops_mcp.errors import NotConfigured
from ops_mcp.values import Secret


def usable_token(url: str, token: Secret | None) -> str:
    """The token's text. Raises `NotConfigured` when it would travel unencrypted, or when there is none."""
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in ("https", "http") or parts.username is not None:
        raise NotConfigured(
            "The remote URL cannot be used.", hint="Give one like https://ops.example.com/mcp, without a password."
        )
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise NotConfigured(f"The token would travel to {parts.hostname} unencrypted.", hint="Use https:// for another machine.")
    return token_text(token)


def token_text(token: Secret | None) -> str:
    """What a token looks like, if it is one. Raises `NotConfigured` for none, or for a placeholder nobody filled in."""
    secret = token.get_secret_value() if token is not None else ""
    if not secret or not secret.isascii() or not secret.isprintable() or secret.startswith("${"):
        raise NotConfigured(
            "OPS_MCP_TOKEN is not set to a token.", hint="Put the token that `ops-mcp agent add` printed into the client's `env`."
        )
    return secret


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
