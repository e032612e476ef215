"""Samples of one series in one block of time as bytes: milliseconds from the block's start, then the values, bit by bit."""

import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

RECENT_MS = 600_000
"""How long a block of samples is that are as they came: short, because each new sample writes its block again."""

THINNED_MS = 21_600_000
"""How long a block of thinned-out samples is."""

_OFFSET, _SAMPLE = 4, 12
_FOREIGN = sys.byteorder != "little"


class Samples(NamedTuple):
    """Moments in milliseconds since 1970, strictly rising, and as many values."""

    times: Sequence[int]
    values: Sequence[float]


def packed(start_ms: int, samples: Samples) -> bytes:
    """All of them lie within the block that starts there."""
    offsets, values = array("I", [at - start_ms for at in samples.times]), array("d", samples.values)
    if _FOREIGN:
        offsets.byteswap()
        values.byteswap()
    return offsets.tobytes() + values.tobytes()


def unpacked(start_ms: int, data: bytes) -> tuple[list[int], "array[float]"]:
    middle = len(data) // _SAMPLE * _OFFSET
    offsets, values = array("I"), array("d")
    offsets.frombytes(data[:middle])
    values.frombytes(data[middle:])
    if _FOREIGN:
        offsets.byteswap()
        values.byteswap()
    return [start_ms + offset for offset in offsets], values


def grown(start_ms: int, data: bytes, more: Mapping[int, float]) -> bytes:
    """The block with these samples, of which each replaces the one of its moment. One that is merely later is appended."""
    if not data:
        times = sorted(more)
        return packed(start_ms, Samples(times, [more[at] for at in times]))
    count = len(data) // _SAMPLE
    middle = count * _OFFSET
    (last,) = struct.unpack_from("<I", data, middle - _OFFSET)
    if len(more) == 1:
        ((at, value),) = more.items()
        if at - start_ms > last:
            return data[:middle] + struct.pack("<I", at - start_ms) + data[middle:] + struct.pack("<d", value)
    times, values = unpacked(start_ms, data)
    return grown(start_ms, b"", {**dict(zip(times, values, strict=True)), **more})
