"""The chain of records and the signatures on its heads: pure functions and the opaque key. Writes nothing and reads nothing.

The format is written down in docs/decisions/ledger-format.md. `verify.py` states it a second time on purpose: the auditor's
program shares no code with the writer that it checks.
"""

from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

GENESIS = "0" * 64
"""The hash before the first record. What ties a chain to its ledger is the ledger's id in every signed head."""

_HEAD = b"ops-mcp ledger head v1\x00"
_STATEMENT = b"ops-mcp ledger statement v1\x00"


class Head(NamedTuple):
    """The newest record as the next one needs it."""

    number: int
    hash: str

    @classmethod
    def genesis(cls) -> "Head":
        return cls(0, GENESIS)


class SignedHead(NamedTuple):
    """A head that the ledger's key vouches for; `key` is the fingerprint of that key."""

    ledger: str
    number: int
    hash: str
    key: str
    signature: str


class SigningKey:
    """A private key that shows only its fingerprint and cannot be pickled or copied into a log."""

    __slots__ = ("_private", "fingerprint", "public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw().hex()
        self.fingerprint = fingerprint(self.public)

    @classmethod
    def generate(cls) -> "SigningKey":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None = None) -> "SigningKey":
        """Raises `ValueError` for what is no Ed25519 key or a wrong passphrase, `TypeError` when a passphrase is missing."""
        private = serialization.load_pem_private_key(pem, passphrase)
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 key")  # noqa: TRY004  # the content is wrong, not the caller's type
        return cls(private)

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        """PKCS #8, encrypted when a passphrase is given. For the one place that writes key files."""
        locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self._private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)

    def sign(self, message: bytes) -> str:
        """The signature as 128 hexadecimal digits."""
        return self._private.sign(message).hex()

    def __repr__(self) -> str:
        return f"SigningKey({self.fingerprint})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key is not copied or stored; write it with keys.create_*")


class Signer(NamedTuple):
    """The ledger's key together with the ledger it signs for."""

    ledger: str
    key: SigningKey


def chained(previous_hash: str, body: bytes) -> str:
    """The hash of a record: SHA-256 over the 32 bytes of the hash before it and its whole body."""
    return sha256(bytes.fromhex(previous_hash) + body).hexdigest()


def signed_head(signer: Signer, head: Head) -> SignedHead:
    signature = signer.key.sign(head_message(signer.ledger, head.number, head.hash))
    return SignedHead(signer.ledger, head.number, head.hash, signer.key.fingerprint, signature)


def head_message(ledger_id: str, number: int, hash: str) -> bytes:
    """What is signed for a head. The fields cannot run into each other: number and hash contain no NUL and come last."""
    return _HEAD + f"{ledger_id}\x00{number}\x00{hash}".encode()


def statement_message(canonical_body: bytes) -> bytes:
    """What is signed for a stub or a manifest: its canonical JSON without the signature."""
    return _STATEMENT + canonical_body


def head_is_signed(public_key: str, head: SignedHead) -> bool:
    """Whether the holder of `public_key` (hexadecimal) signed exactly this head of this ledger."""
    return verify_signature(public_key, head_message(head.ledger, head.number, head.hash), head.signature)


def verify_signature(public_key: str, message: bytes, signature: str) -> bool:
    """False also for keys and signatures that are not well formed."""
    try:
        _public(public_key).verify(bytes.fromhex(signature), message)
    except (ValueError, InvalidSignature):
        return False
    return True


def fingerprint(public_key: str) -> str:
    """A short name for a public key (hexadecimal): 16 digits of its SHA-256."""
    return sha256(bytes.fromhex(public_key)).hexdigest()[:16]


@lru_cache(maxsize=64)
def _public(public_key: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
