"""No planted secret survives, in any writing, anywhere in text or JSON; what is no secret stays as it is."""

import base64
import json
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ops_mcp.governance.redaction import Redactor, plain
from ops_mcp.values import Json, Secret

KEY = b"k" * 32
KNOWN = {"DATABASE_PASSWORD": 'correct horse/"battery"+staple', "API": "0123456789", "UNICODE": "pässwörd-übung"}
REDACTOR = Redactor({name: Secret(value) for name, value in KNOWN.items()}, KEY)
MIXED = "aB3dE6gH9jK2mN5pQ8sT1vW4xY7zA0cD3fG6hJ9k"

TOKENS = (
    "opsmcp_" + MIXED,
    "ghp_" + MIXED[:36],
    "github_pat_" + MIXED,
    "glpat-" + MIXED[:20],
    "xoxb-123456789012-123456789012-" + MIXED[:24],
    "xapp-1-A01B2C3D4E5-1234509876123-" + MIXED[:20].lower(),
    "sk_live_" + MIXED[:24],
    "sk-proj-" + MIXED,
    "sk-ant-api03-" + MIXED,
    "AIza" + MIXED[:35],
    "AKIA234567ABCDEFGH7J",
    "npm_" + MIXED[:36],
    "pypi-AgEIcHlwaS5vcmc" + MIXED * 2,
    "vcp_" + MIXED[:24],
    "vck_" + MIXED[:24],
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + MIXED,
    "hvs." + MIXED * 3,
)
SAID = (
    ("password=hunter2", "hunter2"),
    ('password: "two words"', "two words"),
    ("PGPASSWORD=x9", "x9"),
    ("RAILWAY_TOKEN=0b1c2d3e-4f50", "0b1c2d3e-4f50"),
    ("MAILTRAP_API_KEY: 9f8e7d6c5b", "9f8e7d6c5b"),
    ('{"client_secret": "abcdef12"}', "abcdef12"),
    ('{\\"client_secret\\": \\"abcdef12\\"}', "abcdef12"),
    ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
    ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("postgres://user:pa:ss@db:5432/x", "pa:ss"),
    ("https://0123456789abcdef01234567@host/path", "0123456789abcdef01234567"),
    ("curl -u admin:letmein https://x", "letmein"),
    ("<password>tiger</password>", "tiger"),
    ("api_key => 'k-9xw2'", "k-9xw2"),
)
PRIVATE_KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBf\nabc+/=\n-----END EC PRIVATE KEY-----"
HARMLESS = (
    "tokens: 400 of 100000 left",
    "the idempotency_key=deploy-web-1",
    "author: Jane Doe",
    "Basic authentication is on",
    "sha256:" + "9f86d081884c7d659a2feaa0c55ad015" * 2,
    "2d9cbeef0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "https://example.com/a/b?c=d#e",
    "dep_01JD3K5Y6Z7X8W9V0T1S2R3Q4P",
    "the public_key of ann",
    "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "src/ops_mcp/governance/secret_shapes.py:10: in rule",
)


def writings(value: str) -> tuple[str, ...]:
    raw = value.encode()
    padded = [base64.b64encode(b"x" * n + raw + b"yz").decode() for n in range(3)]
    return (
        value,
        json.dumps(value)[1:-1],
        quote(value, safe=""),
        quote_plus(value),
        quote(value, safe="").replace("%2F", "%2f").replace("%C3", "%c3"),
        "".join(f"%{byte:02x}" for byte in raw),
        raw.hex(),
        raw.hex().upper(),
        *padded,
        *(text.replace("+", "-").replace("/", "_").rstrip("=") for text in padded),
    )


def survives(value: str, text: str) -> bool:
    """Whether `value` is in `text` in any writing; of base64, the part that depends on the value alone."""
    raw = value.encode()
    plainly = value in text or json.dumps(value)[1:-1] in text or raw.hex() in text.lower() or value in unquote(text)
    return plainly or any(core in text.replace("-", "+").replace("_", "/") for core in cores(raw))


def cores(raw: bytes) -> list[str]:
    return [base64.b64encode(b"x" * n + raw).decode()[n * 2 : len(base64.b64encode(b"x" * n + raw)) - 4] for n in range(3)]


@pytest.mark.parametrize("name", KNOWN)
def test_a_configured_secret_is_replaced_in_every_writing_by_its_name(name: str) -> None:
    for written in writings(KNOWN[name]):
        for text in (written, f"before{written}after", f"a {written} b {written} c"):
            clean = REDACTOR.text(text)
            assert not survives(KNOWN[name], clean), (text, clean)
            assert f"[REDACTED:{name}:" in clean


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_of_a_known_form_is_replaced_alone_glued_encoded_and_in_json(token: str) -> None:
    encoded = base64.b64encode(f"token is {token} ok".encode()).decode()
    for text in (token, f"x{token}", f"see {token}, or", f'{{"a":"{token}"}}', f"https://x/?q={token}&r=1"):
        assert token not in REDACTOR.text(text), text
    for text in (
        encoded,
        f"data={encoded};",
        encoded.rstrip("="),
        quote(f"a {token}/b"),
        f"?x={quote(json.dumps({'t': token}))}",
    ):
        clean = REDACTOR.text(text)
        assert "[REDACTED:" in clean, text
        assert token not in unquote(clean)
        assert encoded[40:60] not in clean


@pytest.mark.parametrize(("text", "secret"), SAID)
def test_a_value_is_replaced_where_its_name_says_what_it_is(text: str, secret: str) -> None:
    clean = REDACTOR.text(text)

    assert secret not in clean
    assert clean.split("[REDACTED", maxsplit=1)[0] == text[: text.index(secret)][: clean.index("[REDACTED")]


def test_a_private_key_is_replaced_whole_cut_off_and_in_json() -> None:
    for text in (
        f"a {PRIVATE_KEY} b",
        PRIVATE_KEY[:60],
        json.dumps({"a": PRIVATE_KEY}),
        base64.b64encode(PRIVATE_KEY.encode()).decode(),
    ):
        assert "MHcCAQEE" not in REDACTOR.text(text)
        assert "[REDACTED:" in REDACTOR.text(text)
        assert base64.b64encode(b"MHcCAQEEI").decode()[2:-2] not in REDACTOR.text(text)
    assert REDACTOR.text(f"a {PRIVATE_KEY} b").endswith(" b")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_is_left_as_it_is(text: str) -> None:
    assert REDACTOR.text(text) == text


def test_json_is_redacted_in_keys_values_numbers_and_under_secret_names() -> None:
    value: Json = {
        "apiKey": "x",
        "db_password": ["a", 12345, {"note": "kept"}],
        KNOWN["API"]: True,
        "port": 123456789012,
        "n": int("1" + KNOWN["API"]),
        "tokens": 5,
        "token": 77,
        "deep": [[{"Authorization": "Bearer abcdefghijklmnopqrst"}]],
        "secrets": {"DB": "file:db"},
        "flag": None,
    }
    clean = json.dumps(REDACTOR.value(value))

    assert all(secret not in clean for secret in ('"x"', '"a"', "12345,", KNOWN["API"], "77", "abcdefghijkl"))
    assert '"port": 123456789012' in clean
    assert '"tokens": 5' in clean
    assert '"note": "kept"' in clean
    assert '"DB": "file:db"' in clean


def test_two_keys_that_hold_the_same_secret_both_stay_in_the_object() -> None:
    clean = REDACTOR.value({KNOWN["API"]: 1, KNOWN["API"].encode().hex(): 2})

    assert isinstance(clean, dict)
    assert sorted(str(number) for number in clean.values()) == ["1", "2"]


def test_equal_secrets_get_equal_marks_and_only_under_the_same_key() -> None:
    other = Redactor({name: Secret(value) for name, value in KNOWN.items()}, b"o" * 32)

    assert REDACTOR.text(KNOWN["API"]) == REDACTOR.text(KNOWN["API"].encode().hex())
    assert REDACTOR.text(KNOWN["API"]) != other.text(KNOWN["API"])
    assert REDACTOR.text("password=a") != REDACTOR.text("password=b")


def test_secrets_too_short_to_be_looked_for_are_named() -> None:
    assert Redactor({"PIN": Secret("1234"), "LONG": Secret("12345678")}, KEY).too_short == ("PIN",)


def test_nesting_without_end_is_cut_and_not_followed() -> None:
    value: Json = "ghp_" + MIXED
    for _ in range(500):
        value = [value]

    assert "ghp_" not in json.dumps(REDACTOR.value(value))


alphabet = st.characters(codec="utf-8", exclude_categories=["Cs"])
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), min_size=8, max_size=40)
noise = st.text(alphabet, max_size=30)
checked = settings(max_examples=150, deadline=None)


@checked
@given(secrets, st.data(), noise, noise)
def test_no_planted_secret_survives_between_any_other_text(secret: str, data: st.DataObject, before: str, after: str) -> None:
    assume(secret not in "[REDACTED:planted:0123456789abcdef]")
    redactor = Redactor({"planted": Secret(secret)}, KEY)
    written = data.draw(st.sampled_from(writings(secret)))

    assert not survives(secret, redactor.text(f"{before}{written}{after}"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | noise,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(noise, inner, max_size=3),
    max_leaves=8,
)


@checked
@given(secrets, st.sampled_from(range(14)), json_values, noise)
def test_no_planted_secret_survives_in_json(secret: str, way: int, value: Json, beside: str) -> None:
    assume(secret not in "[REDACTED:planted:0123456789abcdef]")
    redactor = Redactor({"planted": Secret(secret)}, KEY)
    written = writings(secret)[way]
    planted: Json = {"list": [value, {beside + written: value}, {"text": written + beside}], written: [[written]]}
    clean = json.dumps(redactor.value(planted), ensure_ascii=False)

    assert written not in clean
    assert json.dumps(written)[1:-1] not in clean


@checked
@given(
    st.text(alphabet, max_size=200) | st.lists(st.sampled_from([*TOKENS, *(text for text, _ in SAID), *HARMLESS])).map(" ".join)
)
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = REDACTOR.text(text)

    assert REDACTOR.text(once) == once


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07x \x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\ \x9b1mz", "red x link z"),
        ("a\x00b\x07c\x08d\x7fe", "abcde"),
        ("keep\ttabs\nand lines\r\nall\rof them\u2028too", "keep\ttabs\nand lines\nall\nof them\ntoo"),
        ("\u202eevil\u202c \u2066x\u2069 \u200e\u061c", "evil x "),
        ("z\u200be\u200cr\u200do\ufeff w\u2060i\u00add\u034fth", "zero width"),
        ("tag\U000e0041\U000e007f s\ufe0fe\U000e0101l \u3164\u115f\ue000", "tag sel "),
        ("héllo wörld 你好 مرحبا 🚀", "héllo wörld 你好 مرحبا 🚀"),
        ("lone \ud800 surrogate", "lone  surrogate"),
    ],
)
def test_text_from_strangers_keeps_what_can_be_read_and_nothing_else(text: str, shown: str) -> None:
    assert plain(text, 1000) == shown


@given(st.text(st.characters(), max_size=300), st.integers(1, 100))
def test_plain_text_is_bounded_and_stays_as_it_is_when_made_plain_again(text: str, limit: int) -> None:
    once = plain(text, limit)

    assert len(once) <= limit
    assert plain(once, limit) == once
    assert not any(ord(c) < 32 and c not in "\n\t" for c in once)


def test_what_is_cut_says_so() -> None:
    assert plain("abcdef", 4) == "abc…"
    assert plain("abcd", 4) == "abcd"
