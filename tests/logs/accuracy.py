"""How well groups of messages agree with their labels."""

from collections.abc import Hashable, Sequence


def grouping_accuracy(found: Sequence[Hashable], labels: Sequence[Hashable]) -> float:
    """The share of messages whose group holds exactly the messages of its label (Zhu et al., ICSE-SEIP 2019)."""
    groups = _members(found)
    right = sum(len(members) for members in _members(labels).values() if groups[found[members[0]]] == members)
    return right / len(labels)


def _members(names: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    members: dict[Hashable, list[int]] = {}
    for number, name in enumerate(names):
        members.setdefault(name, []).append(number)
    return members
