"""Canonical JSON: the fast way and the reference encoder agree on everything, and on what has no canonical form."""

import hashlib

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_mcp.values import canonical, digest, text_digest

text = st.text(max_size=12) | st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=0x10FFFF), max_size=6)
numbers = st.integers() | st.integers(-(2**54), 2**54) | st.floats()
anything = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
    max_leaves=20,
)


def outcome(encode, value: object) -> bytes | type[Exception]:
    try:
        return encode(value)
    except ValueError:
        return ValueError
    except rfc8785.CanonicalizationError:
        return ValueError


@settings(max_examples=1000, deadline=None)
@given(anything)
def test_canonical_json_equals_the_reference_encoder_for_arbitrary_values(value: object):
    assert outcome(canonical, value) == outcome(rfc8785.dumps, value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 8785, section 3.2.2: the published sample
        (
            {
                "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
                "literals": [None, True, False],
            },
            (
                '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
                '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
            ),
        ),
        # section 3.2.3: keys are sorted by UTF-16 code units, so the emoji comes before U+FB33
        (
            {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7},
            '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}',
        ),
        ({"b": 1, "a": [True, None, -0.0, 0, 1.0]}, '{"a":[true,null,0,0,1],"b":1}'),
        ("\x7f\x00\u2028é", '"\x7f\\u0000\u2028é"'),
        (2**53 - 1, "9007199254740991"),
    ],
)
def test_canonical_json_is_what_the_rfc_prints(value, expected: str):
    assert canonical(value) == expected.encode()
    assert digest(value) == "sha256:" + hashlib.sha256(expected.encode()).hexdigest()


@pytest.mark.parametrize("value", [2**53, -(2**53), float("nan"), float("inf"), "\ud800", {"k": ["\udfff"]}, {"\ud800": 1}])
def test_what_has_no_canonical_form_is_refused_with_one_kind_of_error(value):
    with pytest.raises(ValueError):
        canonical(value)


def test_the_digest_of_text_keeps_lone_surrogates_apart():
    assert len({text_digest(t) for t in ("\ud800", "\udfff", "?", "", "\ufffd")}) == 5
