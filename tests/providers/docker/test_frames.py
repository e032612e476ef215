"""Log bytes into lines, however the engine cut them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.providers.docker.frames import Framed, Line, NoFrames, Raw, moment_of, nanoseconds_of

STAMP = "2026-11-24T22:36:22.123456789Z"
NANOSECONDS = nanoseconds_of(datetime(2026, 11, 24, 22, 36, 22, tzinfo=UTC)) + 123_456_789
TEXTS = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=60)


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def fed(decoder: Framed | Raw, pieces: list[bytes]) -> list[Line]:
    return [line for piece in pieces for line in decoder.feed(piece)] + list(decoder.end())


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@given(lines=st.lists(st.tuples(st.sampled_from([1, 2]), TEXTS), max_size=12), size=st.integers(1, 40))
def test_lines_of_two_streams_come_out_whole_however_the_bytes_arrive(lines: list[tuple[int, str]], size: int) -> None:
    data = b"".join(frame(stream, f"{STAMP} {text}\n".encode()) for stream, text in lines)
    names = {1: "stdout", 2: "stderr"}
    expected = [Line(NANOSECONDS, names[stream], text.removesuffix("\r")) for stream, text in lines]
    assert fed(Framed(), cut(data, size)) == expected


@given(text=TEXTS.filter(bool), at=st.integers(1, 200), size=st.integers(1, 30))
def test_a_line_that_was_cut_inside_a_character_is_joined_while_the_other_stream_goes_on(text: str, at: int, size: int) -> None:
    raw = text.encode()
    first, second = raw[: at % len(raw)], raw[at % len(raw) :]
    stamp = f"{STAMP} ".encode()
    data = frame(1, stamp + first) + frame(2, stamp + b"between\n") + frame(1, stamp + second + b"\n")
    found = fed(Framed(), cut(data, size))
    assert sorted(found) == sorted([Line(NANOSECONDS, "stderr", "between"), Line(NANOSECONDS, "stdout", text.removesuffix("\r"))])


@given(lines=st.lists(TEXTS.map(lambda t: t.replace("\r", "")), max_size=10), size=st.integers(1, 40))
def test_a_terminal_has_no_frames_and_lines_that_end_in_carriage_return_and_newline(lines: list[str], size: int) -> None:
    data = "".join(f"{STAMP} {text}\r\n" for text in lines).encode()
    assert fed(Raw(), cut(data, size)) == [Line(NANOSECONDS, "stdout", text) for text in lines]


@pytest.mark.parametrize(
    ("payloads", "expected"),
    [
        ([b"2026-11-24T22:36:22Z no fraction\n"], [Line(NANOSECONDS - 123_456_789, "stdout", "no fraction")]),
        ([b"2026-11-24T23:36:22.123456789+01:00 zone\n"], [Line(NANOSECONDS, "stdout", "zone")]),
        ([b"2026-99-99T99:99:99Z no time\n"], [Line(None, "stdout", "2026-99-99T99:99:99Z no time")]),
        ([b"no stamp\n"], [Line(None, "stdout", "no stamp")]),
        ([f"{STAMP} no end".encode()], [Line(NANOSECONDS, "stdout", "no end")]),
        ([f"{STAMP} \n".encode()], [Line(NANOSECONDS, "stdout", "")]),
        ([f"{STAMP} a\rb\n".encode()], [Line(NANOSECONDS, "stdout", "a\rb")]),
        ([b""], []),
        ([f"{STAMP} \xff\n".encode("latin-1")], [Line(NANOSECONDS, "stdout", "�")]),
    ],
)
def test_odd_payloads_lose_nothing(payloads: list[bytes], expected: list[Line]) -> None:
    assert fed(Framed(), [frame(1, payload) for payload in payloads]) == expected


def test_a_line_is_cut_at_32_kib() -> None:
    found = fed(Framed(), [frame(1, f"{STAMP} ".encode() + b"x" * 10_000)] * 5 + [frame(1, f"{STAMP} end\n".encode())])
    assert [len(line.text) for line in found] == [32_768]


def test_messages_are_counted_as_the_engine_counts_them() -> None:
    decoder = Framed()
    fed(decoder, [frame(1, b"a"), frame(1, b"b\n"), frame(2, b"c\n")])
    assert decoder.messages == 3


@pytest.mark.parametrize(
    "data", [b"plain text that is long enough", b"\x01\x00\x00\x01\x00\x00\x00\x00", b"\x01\0\0\0\xff\xff\xff\xff"]
)
def test_what_is_no_frame_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(NoFrames):
        list(Framed().feed(data))


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_a_moment_survives_its_nanoseconds(moment: datetime) -> None:
    assert moment_of(nanoseconds_of(moment.replace(tzinfo=UTC))) == moment.replace(tzinfo=UTC)
