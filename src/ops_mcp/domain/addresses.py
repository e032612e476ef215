"""Where a team's database is: a PostgreSQL by its URL. An embedded one is a file, and its place is a `Path`."""

import re
from typing import Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from ops_mcp.errors import NotConfigured
from ops_mcp.values import Secret, Value

_HINT = "Write postgresql://USER:PASSWORD@HOST:5432/DATABASE, with ?schema=NAME for another schema than `public`."
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Address(Value):
    """`url` is for the driver alone; `shown` is for everybody: it has no password and none of the URL's options."""

    url: Secret
    shown: str
    database: str
    room: str = "public"
    """The schema that all tables are in."""

    @property
    def name(self) -> str:
        """What tells one installation from another on the same server, whatever that is called from here."""
        return f"{self.database}/{self.room}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises `NotConfigured`, without quoting what may hold a password."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise NotConfigured("The database's URL cannot be read.", hint=_HINT) from error
        if parts.scheme not in {"postgresql", "postgres"}:
            raise NotConfigured("The database's URL is none of PostgreSQL.", hint=_HINT)
        options = dict(parse_qsl(parts.query))
        room, database = options.pop("schema", "public"), unquote(parts.path.lstrip("/"))
        if not database or not (host or "host" in options):
            raise NotConfigured("The database's URL names no host or no database.", hint=_HINT)
        if not _NAME.fullmatch(room) or room.startswith("pg_"):
            raise NotConfigured("The database's URL names a schema that cannot be one.", hint=_HINT)
        at = f"{parts.username}@" if parts.username else ""
        shown_host = f"[{host}]" if host and ":" in host else host or options.get("host", "")
        shown = f"postgresql://{at}{shown_host}{f':{port}' if port else ''}/{database}"
        bare = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(options), ""))
        return cls(url=Secret(bare), shown=shown if room == "public" else f"{shown}?schema={room}", database=database, room=room)
