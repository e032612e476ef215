"""The chain and its signatures, against digests and signatures computed from the written format, not by the code under test."""

import copy
import hashlib
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ops_mcp.store import chain
from ops_mcp.store.chain import GENESIS, Head, Signer, SigningKey

# RFC 8032, section 7.1, test 1: the first published Ed25519 key pair.
RFC_SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_a_record_is_hashed_over_the_raw_bytes_of_the_hash_before_it_and_its_whole_body():
    assert chain.chained(GENESIS, b"{}") == hashlib.sha256(bytes(32) + b"{}").hexdigest()
    first = chain.chained(GENESIS, b'{"kind":"a"}')
    assert chain.chained(first, b"{}") == hashlib.sha256(bytes.fromhex(first) + b"{}").hexdigest()


@given(st.binary(), st.binary())
def test_different_bodies_never_share_a_hash(one: bytes, other: bytes):
    assert (chain.chained(GENESIS, one) == chain.chained(GENESIS, other)) == (one == other)


def test_a_head_is_signed_together_with_its_domain_its_ledger_and_its_number():
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(RFC_SECRET))
    head = chain.signed_head(Signer("led_1", key), Head(7, "ab" * 32))
    message = b"ops-mcp ledger head v1\x00led_1\x007\x00" + b"ab" * 32
    assert key.public == RFC_PUBLIC
    assert head.signature == Ed25519PrivateKey.from_private_bytes(RFC_SECRET).sign(message).hex()
    assert head.key == hashlib.sha256(bytes.fromhex(RFC_PUBLIC)).hexdigest()[:16]
    assert chain.head_is_signed(RFC_PUBLIC, head)


@pytest.mark.parametrize(
    "changed", [{"ledger": "led_2"}, {"number": 8}, {"hash": "cd" * 32}, {"signature": "00" * 64}, {"signature": "zz"}]
)
def test_a_head_with_anything_changed_is_not_signed(changed: dict[str, object]):
    head = chain.signed_head(Signer("led_1", SigningKey(Ed25519PrivateKey.from_private_bytes(RFC_SECRET))), Head(7, "ab" * 32))
    assert not chain.head_is_signed(RFC_PUBLIC, head._replace(**changed))


def test_a_signature_under_another_key_or_a_malformed_key_does_not_count():
    head = chain.signed_head(Signer("led_1", SigningKey.generate()), Head(1, GENESIS))
    assert not chain.head_is_signed(RFC_PUBLIC, head)
    assert not chain.head_is_signed("beef", head)


def test_a_signing_key_shows_nothing_and_cannot_be_copied_away():
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(RFC_SECRET))
    assert repr(key) == f"SigningKey({key.fingerprint})"
    assert RFC_SECRET.hex() not in repr(Signer("led_1", key))
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(key)
