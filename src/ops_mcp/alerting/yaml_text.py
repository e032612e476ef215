"""YAML as far as rule files need it: mappings, lists and plain text, nothing that makes objects or grows while it is read.

The library's events are read, not its objects: a scalar stays the text that was written (`1.10` and `on` too), and anchors,
aliases, tags, repeated keys and second documents are refused.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from ops_mcp.errors import InvalidArguments, NotConfigured

if TYPE_CHECKING:
    from types import ModuleType

    from yaml.events import Event

MOST_BYTES = 1_048_576
DEEPEST = 8
MOST_NODES = 200_000

Node: TypeAlias = "str | list[Node] | dict[str, Node] | None"


def read_yaml(text: str) -> Node:
    """The one document in `text`; None where there is none. Raises `InvalidArguments` with the line."""
    if len(text.encode(errors="surrogatepass")) > MOST_BYTES:
        raise InvalidArguments(f"The file is larger than {MOST_BYTES:,} bytes.", hint="Split it into several files.")
    yaml = _library()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Reader(yaml, yaml.parse(text, Loader=loader)).document()
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidArguments(f"The file is not YAML{where}.", hint="`promtool check rules FILE` says more.") from error


def write_yaml(node: Node) -> str:
    """`node` as block YAML, keys in their own order. Raises `InvalidArguments` for more than could be read again."""
    yaml = _library()
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(node, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
    if len(text.encode()) > MOST_BYTES:
        raise InvalidArguments(f"The file would be larger than {MOST_BYTES:,} bytes.", hint="Export fewer rules at a time.")
    return text


def _library() -> "ModuleType":
    try:
        import yaml  # only files need it, and start-up has a bar
    except ImportError as error:
        raise NotConfigured("Rule files need the package pyyaml.", hint="Install it: `pip install pyyaml`.") from error
    return yaml


class _Reader:
    """Builds nodes from events, recursively to `DEEPEST`."""

    def __init__(self, yaml: "ModuleType", events: "Iterator[Event]") -> None:
        self._yaml = yaml
        self._events = events
        self._nodes = 0

    def document(self) -> Node:
        kinds = self._yaml.events
        found: Node = None
        documents = 0
        for event in self._events:
            if isinstance(event, kinds.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _refused("a second document", event)
                found = self._node(next(self._events), 0)
        return found

    def _node(self, event: "Event", depth: int) -> Node:
        kinds = self._yaml.events
        self._nodes += 1
        if depth > DEEPEST:
            raise _refused(f"more than {DEEPEST} levels", event)
        if self._nodes > MOST_NODES:
            raise _refused(f"more than {MOST_NODES:,} entries", event)
        self._refuse_marks(event)
        if isinstance(event, kinds.ScalarEvent):
            return _scalar(event)
        if isinstance(event, kinds.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(inner := next(self._events), kinds.SequenceEndEvent):
                items.append(self._node(inner, depth + 1))
            return items
        return self._mapping(depth)

    def _mapping(self, depth: int) -> dict[str, Node]:
        kinds = self._yaml.events
        pairs: dict[str, Node] = {}
        while not isinstance(event := next(self._events), kinds.MappingEndEvent):
            self._refuse_marks(event)
            if not isinstance(event, kinds.ScalarEvent):
                raise _refused("a key that is no text", event)
            key = str(getattr(event, "value", ""))
            if key in pairs:
                raise _refused("a key twice in one mapping", event)
            pairs[key] = self._node(next(self._events), depth + 1)
        return pairs

    def _refuse_marks(self, event: "Event") -> None:
        if isinstance(event, self._yaml.events.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refused("an anchor or alias", event)
        if getattr(event, "tag", None) is not None:
            raise _refused("a tag", event)


def _scalar(event: "Event") -> str | None:
    value = str(getattr(event, "value", ""))
    is_plain = not getattr(event, "style", None)  # neither quoted nor a block
    return None if is_plain and value in ("", "~", "null", "Null", "NULL") else value


def _refused(what: str, event: "Event") -> InvalidArguments:
    mark = getattr(event, "start_mark", None)
    where = f" at line {mark.line + 1}" if mark is not None else ""
    return InvalidArguments(f"The file has {what}{where}, which is not supported.", hint="Write it out, once.")
