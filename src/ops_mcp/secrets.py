"""Named secret values in files that only their owner can read. Bindings hold names; values are read when used, never listed."""

import hashlib
import os
import re
import stat
from pathlib import Path

from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound
from ops_mcp.values import Secret, Value

NAME_OF_A_SECRET = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"  # noqa: S105  # a pattern for names
LARGEST_SECRET_BYTES = 65_536
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class SecretSummary(Value):
    """A secret as it may be shown: its name, a digest to compare by, and what is wrong with its file, if anything."""

    name: str
    digest: str = ""
    trouble: str = ""


class Secrets:
    """The secrets of one installation. Remembers each value it read well, and goes on with it while a newer file cannot be used.

    A file that others can read is refused even then: what it holds may already be known to somebody else.
    """

    def __init__(self, config_dir: Path) -> None:
        self.directory = config_dir / "secrets"
        self._last_good: dict[str, Secret] = {}

    def read(self, name: str) -> Secret:
        """The value now. Raises `NotConfigured` naming the file and how to mend it."""
        file = self._file(name)
        try:
            value = _read_private(file)
        except FileNotFoundError as error:
            self._last_good.pop(name, None)
            raise NotConfigured(f"The secret {name!r} is not set.", hint=f"Run: ops-mcp secret set {name}") from error
        except (OSError, UnicodeDecodeError, _Unusable) as error:
            if name in self._last_good:
                return self._last_good[name]
            raise NotConfigured(
                f"The secret {name!r} cannot be read: {_words(error)}.", hint=f"Run: ops-mcp secret set {name}"
            ) from error
        self._last_good[name] = value
        return value

    def put(self, name: str, value: Secret) -> SecretSummary:
        """Store a value, replacing the file in one step, so that no reader meets half of it."""
        file = self._file(name)
        text = value.get_secret_value()
        if not text or len(text.encode()) > LARGEST_SECRET_BYTES:
            raise InvalidArguments(f"A secret has 1 to {LARGEST_SECRET_BYTES} bytes.", hint="Give the value on standard input.")
        make_private_directory(self.directory)
        write_private(file, text)
        return SecretSummary(name=name, digest=_short_digest(value))

    def remove(self, name: str) -> None:
        file = self._file(name)
        if not file.exists():
            raise NotFound(f"There is no secret {name!r}.", hint=_known(self.names()))
        file.unlink()
        self._last_good.pop(name, None)

    def names(self) -> tuple[str, ...]:
        """Names of stored secrets; files whose name no secret can have are passed over."""
        if not self.directory.is_dir():
            return ()
        return tuple(sorted(f.name for f in self.directory.iterdir() if re.fullmatch(NAME_OF_A_SECRET, f.name)))

    def summaries(self) -> tuple[SecretSummary, ...]:
        """Every secret with its digest; one that cannot be read says why instead."""
        return tuple(self._summary(name) for name in self.names())

    def _summary(self, name: str) -> SecretSummary:
        try:
            return SecretSummary(name=name, digest=_short_digest(_read_private(self._file(name))))
        except (OSError, UnicodeDecodeError, NotConfigured, _Unusable) as error:
            return SecretSummary(name=name, trouble=_words(error))

    def _file(self, name: str) -> Path:
        if not re.fullmatch(NAME_OF_A_SECRET, name):
            raise InvalidArguments(
                "This cannot be the name of a secret.",
                hint="Use letters, digits, '_' and '-', at most 63, beginning with a letter or digit.",
            )
        return self.directory / name


def make_private_directory(directory: Path) -> None:
    """Make `directory` (and its parents) for its owner alone. Tightens one that exists."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)


def write_private(file: Path, text: str) -> None:
    """Replace `file` in one step by one that only its owner can read, durable before the name points to it."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)


def others_may_read(file: Path) -> bool:
    """Whether somebody besides the owner has any right on `file`."""
    return bool(stat.S_IMODE(file.stat().st_mode) & _OTHERS)


class _Unusable(Exception):
    """The file was read, and its content cannot be a secret."""


def _read_private(file: Path) -> Secret:
    if others_may_read(file.parent):
        raise NotConfigured(f"{file.parent} is open to others.", hint=f"Run: chmod 700 {file.parent}")
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as source:
        _require_private(os.fstat(source.fileno()), file)
        raw = source.read(LARGEST_SECRET_BYTES + 2)
    text = raw.decode().removesuffix("\n").removesuffix("\r")
    if not text or len(raw) > LARGEST_SECRET_BYTES + 1:
        raise _Unusable("it is empty or too large")
    return Secret(text)


def _require_private(found: os.stat_result, file: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _Unusable("it is not a file")
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        raise NotConfigured(
            f"{file} is readable by others, so it is not used.", hint=f"Run: chmod 600 {file}, then change the value."
        )
    if found.st_uid != os.geteuid():
        raise NotConfigured(
            f"{file} belongs to another user, so it is not used.",
            hint=f"Set it again as yourself: ops-mcp secret set {file.name}",
        )


def _short_digest(value: Secret) -> str:
    return "sha256:" + hashlib.sha256(value.get_secret_value().encode()).hexdigest()[:12]


def _words(error: Exception) -> str:
    if isinstance(error, NotConfigured):
        return error.message.rstrip(".")
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _known(names: tuple[str, ...]) -> str:
    return f"Set are: {', '.join(names)}." if names else "No secret is set yet."
