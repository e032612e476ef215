"""`ops-mcp page`: an operator's key opens the approval page of a server, here or elsewhere."""

import webbrowser
from urllib.parse import urlsplit

import click

from ops_mcp.cli.app import command
from ops_mcp.cli.desk import Desk
from ops_mcp.cli.paint import Reply
from ops_mcp.config import Http
from ops_mcp.errors import InvalidArguments
from ops_mcp.governance import tickets
from ops_mcp.governance.attesting import Delegation, delegated
from ops_mcp.store import keys


@command("page", signed=True)
@click.option("--url", help="The server's address, such as https://ops.example.com; from [http], unless given.")
@click.option("--open", "in_browser", is_flag=True, help="Open it in this machine's browser.")
def page_command(desk: Desk, *, url: str | None, in_browser: bool) -> Reply:
    """Print an address that unlocks the approval page for you, once, within five minutes; for half an hour then."""
    by, key = desk.signer()
    base = _base(url) if url else _served_at(desk.config().settings.http)
    until = (desk.now() + tickets.SESSION).replace(microsecond=0)
    word = Delegation(operator=by, session=desk.around.new_secret(), until=until)
    ticket = tickets.written(word.evolve(signature=keys.operator_signature(key, delegated(word))))
    address = f"{base}/page/unlock?ticket={ticket}"
    if in_browser:
        webbrowser.open(address)
    text = f"{address}\n\nIt works once, within five minutes, and only where you open it: whoever has it first is you."
    return Reply({"url": address, "operator": by, "until": until.isoformat()}, (text,))


def _base(url: str) -> str:
    """An address that a ticket may travel to: encrypted, or of this machine."""
    found = urlsplit(url.rstrip("/"))
    is_here = found.hostname in ("127.0.0.1", "localhost", "::1")
    if not (found.hostname and (found.scheme == "https" or (found.scheme == "http" and is_here))) or found.query:
        raise InvalidArguments("url: an https address is wanted, or one of this machine.", hint="Such as https://ops.example.com")
    return f"{found.scheme}://{found.netloc}{found.path}"


def _served_at(http: Http) -> str:
    if http.tls and http.allowed_hosts:
        return f"https://{http.allowed_hosts[0]}"
    host = f"[{http.host}]" if ":" in http.host else http.host
    return f"http://{host}:{http.port}"
