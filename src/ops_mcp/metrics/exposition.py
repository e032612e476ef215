"""The text in which programs expose their metrics (Prometheus's format 0.0.4): read within bounds, and written."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ops_mcp.errors import ProviderError
from ops_mcp.metrics.labels import NAME, Labels, dropping, labels_of, quoted, value_of
from ops_mcp.metrics.names import Kind

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NAME = re.compile(r"[ \t]*([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*", re.ASCII)
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(,?)', re.ASCII)
_META = re.compile(r"[ \t]*#[ \t]+(HELP|TYPE)[ \t]+([a-zA-Z_:][a-zA-Z0-9_:]*)(?:[ \t]+(.*))?", re.ASCII | re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)", re.ASCII | re.IGNORECASE)
_TIMESTAMP = re.compile(r"[+-]?[0-9]{1,15}", re.ASCII)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_IN_HELP = {"n": "\n", "\\": "\\"}
_IN_LABELS = {**_IN_HELP, '"': '"'}
_SUFFIXES = ("_bucket", "_sum", "_count")
_REASONS_KEPT = 5


class Bounds(NamedTuple):
    """How much of one page is read. A longer page is refused whole; a longer line or label, or one series more, is left out."""

    page: int = 8 * 2**20
    line: int = 16_384
    series: int = 20_000
    labels: int = 48
    name: int = 200
    value: int = 1_024
    help: int = 500


class Exposed(NamedTuple):
    """One sample; `at_ms` is None where the page leaves the time to its reader."""

    labels: Labels
    value: float
    at_ms: int | None = None


class Family(NamedTuple):
    """What a page says of a metric. The series of a histogram have its name and an ending."""

    name: str
    kind: Kind = Kind.untyped
    help: str = ""


class Page(NamedTuple):
    """What was read. `reasons` tells of the first lines that were left out, by number and without their text."""

    samples: tuple[Exposed, ...]
    families: tuple[Family, ...] = ()
    left_out: int = 0
    reasons: tuple[str, ...] = ()


def parsed(page: bytes, *, target: Mapping[str, str] | None = None, bounds: Bounds | None = None) -> Page:
    """The samples of a page, each with the labels of its target.

    A label of the page that its target has too becomes `exported_…`, as Prometheus has it. Lines that are malformed, too long, or
    say the same series again are left out and counted. Raises `ProviderError` for a page that is too long.
    """
    bounds = bounds or Bounds()
    if len(page) > bounds.page:
        raise ProviderError(
            f"The page of metrics is {len(page):,} bytes long; at most {bounds.page:,} are read.", hint="Expose fewer series."
        )
    reading = _Reading(bounds, dict(target or {}))
    for number, line in enumerate(page.split(b"\n"), 1):
        try:
            reading.read(line)
        except _LeftOutError as reason:
            reading.leave_out(number, str(reason))
    return reading.page()


def page_text(page: Page) -> str:
    """The page as text. Series without a family come last, untyped."""
    by_family: dict[str, list[Exposed]] = {family.name: [] for family in page.families}
    alone: dict[str, list[Exposed]] = {}
    for sample in page.samples:
        name = value_of(sample.labels, NAME)
        base = _family_of(name, by_family)
        (by_family[base] if base else alone.setdefault(name, [])).append(sample)
    parts = [_family_text(family, by_family[family.name]) for family in page.families]
    return "".join([*parts, *("".join(map(_sample_text, samples)) for samples in alone.values())])


class _LeftOutError(Exception):
    """Why a line was not read."""


class _Reading:
    """What has been read of one page so far."""

    def __init__(self, bounds: Bounds, target: dict[str, str]) -> None:
        self._bounds = bounds
        self._target = target
        self._samples: dict[tuple[Labels, int | None], Exposed] = {}
        self._families: dict[str, Family] = {}
        self._left_out = 0
        self._reasons: list[str] = []

    def page(self) -> Page:
        return Page(tuple(self._samples.values()), tuple(self._families.values()), self._left_out, tuple(self._reasons))

    def leave_out(self, number: int, reason: str) -> None:
        self._left_out += 1
        if len(self._reasons) < _REASONS_KEPT:
            self._reasons.append(f"line {number}: {reason}")

    def read(self, line: bytes) -> None:
        """One line, with or without a carriage return. Raises `_LeftOutError`."""
        if not line.strip():
            return
        if len(line) > self._bounds.line:
            raise _LeftOutError(f"longer than {self._bounds.line:,} bytes")
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise _LeftOutError("no UTF-8") from None
        if text.lstrip(" \t").startswith("#"):
            self._read_meta(text)
            return
        sample = self._sample(text)
        key = (sample.labels, sample.at_ms)
        if key in self._samples:
            raise _LeftOutError("the series is there already")
        if len(self._samples) >= self._bounds.series:
            raise _LeftOutError(f"more than {self._bounds.series:,} series")
        self._samples[key] = sample

    def _read_meta(self, text: str) -> None:
        found = _META.fullmatch(text)
        if found is None or len(found[2]) > self._bounds.name or len(self._families) >= self._bounds.series:
            return  # a comment
        what, name, rest = found[1], found[2], found[3] or ""
        family = self._families.get(name, Family(name))
        if what == "HELP":
            self._families[name] = family._replace(help=_unescaped(rest, _IN_HELP)[: self._bounds.help])
        elif rest.strip() in set(Kind):
            self._families[name] = family._replace(kind=Kind(rest.strip()))

    def _sample(self, text: str) -> Exposed:
        found = _NAME.match(text)
        if found is None:
            raise _LeftOutError("begins with no metric's name")
        name, at = found[1], found.end()
        labels: dict[str, str] = {}
        if text.startswith("{", at):
            labels, at = self._labels(text, at + 1)
        fields = text[at:].split()
        if not 1 <= len(fields) <= 2 or not _NUMBER.fullmatch(fields[0]):
            raise _LeftOutError("no value, or more than a value and a time")
        if len(fields) == 2 and not _TIMESTAMP.fullmatch(fields[1]):
            raise _LeftOutError("its time is no whole number of milliseconds")
        if len(name) > self._bounds.name:
            raise _LeftOutError(f"a name is longer than {self._bounds.name}")
        return Exposed(self._with_target(name, labels), float(fields[0]), int(fields[1]) if len(fields) == 2 else None)

    def _labels(self, text: str, at: int) -> tuple[dict[str, str], int]:
        """The labels up to `}`, and where it ends."""
        labels: dict[str, str] = {}
        more = True
        while more and (found := _LABEL.match(text, at)) is not None:
            name, value = found[1], _unescaped(found[2], _IN_LABELS)
            self._check_label(name, value, labels)
            labels[name] = value
            at, more = found.end(), bool(found[3])
        rest = text[at:].lstrip(" \t")
        if not rest.startswith("}"):
            raise _LeftOutError("its labels are malformed")
        return labels, len(text) - len(rest) + 1

    def _check_label(self, name: str, value: str, before: Mapping[str, str]) -> None:
        if name in before or name == NAME:
            raise _LeftOutError("a label is there twice")
        if len(name) > self._bounds.name or len(value) > self._bounds.value:
            raise _LeftOutError("a label is too long")
        if len(before) >= self._bounds.labels:
            raise _LeftOutError(f"more than {self._bounds.labels} labels")

    def _with_target(self, name: str, labels: dict[str, str]) -> Labels:
        kept = {(f"exported_{label}" if label in self._target else label): value for label, value in labels.items()}
        return labels_of({**kept, **self._target}, name=name)


def _unescaped(text: str, escapes: Mapping[str, str]) -> str:
    """An escape that is none stays as it is written."""
    return _ESCAPE.sub(lambda found: escapes.get(found[1], found[0]), text)


def _family_of(name: str, families: Mapping[str, list[Exposed]]) -> str:
    if name in families:
        return name
    return next((base for end in _SUFFIXES if name.endswith(end) and (base := name.removesuffix(end)) in families), "")


def _family_text(family: Family, samples: Iterable[Exposed]) -> str:
    said = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    about = f"# HELP {family.name} {said}\n" if said else ""
    return f"{about}# TYPE {family.name} {family.kind}\n" + "".join(map(_sample_text, samples))


def _sample_text(sample: Exposed) -> str:
    inside = ",".join(f"{name}={quoted(value)}" for name, value in dropping(sample.labels, frozenset({NAME})))
    when = "" if sample.at_ms is None else f" {sample.at_ms}"
    return f"{value_of(sample.labels, NAME)}{f'{{{inside}}}' if inside else ''} {_number(sample.value)}{when}\n"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
