"""Where a service's code comes from, as an operator names it in a binding: parsed, looked at, never run."""

from pathlib import Path
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator

from ops_mcp.errors import NotConfigured
from ops_mcp.values import Value

FORMS = ("https://…", "ssh://user@host/path", "file:///path", "/path")


class GitSource(Value):
    """A repository to mirror. `url` is what git is given."""

    url: str


class DirectorySource(Value):
    """A directory that is copied as it is."""

    path: Path


Source: TypeAlias = GitSource | DirectorySource


def parse_source(given: str, *, option: str = "source", forms: tuple[str, ...] = FORMS) -> Source:
    """What `options.<option>` names. Looks at the file system only for paths. Raises `NotConfigured`, never with the value."""
    if "://" in given:
        return GitSource(url=_checked(given, option))
    if given.startswith("/"):
        path = Path(given)
        return GitSource(url=given) if _is_repository(path) else DirectorySource(path=path)
    raise NotConfigured(f"options.{option} is neither a git URL nor an absolute path.", hint=f"Valid forms: {', '.join(forms)}.")


def parse_repository(given: str, *, option: str = "repository") -> GitSource:
    """The same where only a git repository will do."""
    source = parse_source(given, option=option)
    if isinstance(source, GitSource):
        return source
    raise NotConfigured(f"options.{option} is a directory without a git repository.", hint=f"Valid forms: {', '.join(FORMS)}.")


def _only_branches_and_tags(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if value is not None and not all(ref.startswith(("refs/heads/", "refs/tags/")) for ref in value):
        raise ValueError("must be patterns below refs/heads/ or refs/tags/")
    return value


def _only_inside(value: str) -> str:
    parts = Path(value).parts
    if value and (Path(value).is_absolute() or ".." in parts or any(ord(c) < 32 for c in value)):
        raise ValueError("must be a relative path without ..")
    return value


AllowedRefs: TypeAlias = Annotated[tuple[str, ...] | None, AfterValidator(_only_branches_and_tags)]
"""Patterns of the branches and tags whose commits may be deployed; None leaves it to the setting `allowed_refs`."""

Subdirectory: TypeAlias = Annotated[str, AfterValidator(_only_inside)]
"""A directory inside the source; empty for its root."""


def _checked(url: str, option: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "ssh", "file"):
        raise NotConfigured(f"options.{option} uses a transport that is not allowed.", hint="Allowed are https, ssh and file.")
    if parts.password is not None or (parts.scheme == "https" and parts.username):
        raise NotConfigured(
            f"options.{option} carries a credential.", hint="Use ssh with a key, or a URL that needs no credential."
        )
    if (parts.hostname or "").startswith("-") or (parts.username or "").startswith("-") or any(ord(c) <= 32 for c in url):
        raise NotConfigured(f"options.{option} is not a plain URL.", hint="Remove blanks, control characters and leading dashes.")
    return url


def _is_repository(path: Path) -> bool:
    return (path / ".git").exists() or ((path / "HEAD").is_file() and (path / "objects").is_dir())
