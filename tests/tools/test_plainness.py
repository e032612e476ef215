"""Which values may be typed into a call, and which look like secrets."""

import base64
import random
import uuid

import pytest

from ops_mcp.tools.places.plainness import why_secret

PLAIN = (
    "",
    "debug",
    "8080",
    "My nice greeting, dear visitor!",
    "https://api.example.com/v1/users?limit=20",
    "postgres://db.internal:5432/orders",  # an address without a password
    "redis-cluster.0001.use1.cache.amazonaws.com",
    "feature-flag-new-checkout-2024-rollout",
    "checkoutServiceEndpointName",
    "com.example.orders.OrderServiceConfiguration",
    "ghcr.io/acme/web:2024-11-20-3f2a9c1",
    "acme-prod-uploads-eu-west-1",
    "America/Argentina/Buenos_Aires",
    "application/vnd.api+json; charset=utf-8",
    "--max-old-space-size=4096 -Xmx512m",
    "2026-11-20T12:10:00.123456Z",
    "10.0.0.0/8,192.168.0.0/16",
    "12345678901234567890",  # an account's number
    "G-AB12CD34EF",  # too short to be a key
    "*/5 * * * *",
)
SECRET = (
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301",  # a UUID, which some places hand out as tokens
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d",
    "dGhpcyBpcyBhIHNlY3JldCB2YWx1ZQ==",
    "https://hooks.example.com/T024/B89/xQ3vB8kLm2Np7Rt5Ws9Yz",
    "token for you: xQ3vB8kLm2Np7Rt5Ws9Yz",
    "qzxkvjwpbhfgmdnrqzxkvjwpbhfgmd",  # no word is so long
    "plain " * 34,  # longer than 200 characters
)


@pytest.mark.parametrize("value", PLAIN)
def test_words_numbers_and_addresses_are_plain(value: str) -> None:
    assert why_secret("SETTING", value) is None


@pytest.mark.parametrize("value", SECRET)
def test_keys_and_tokens_are_not(value: str) -> None:
    assert why_secret("SETTING", value)


def test_a_name_may_say_that_its_value_is_secret() -> None:
    assert why_secret("DB_PASSWORD", "hunter2")
    assert why_secret("api-key", "abc")
    assert why_secret("USE_TOKEN", "true") is None
    assert why_secret("MAX_TOKEN", "4096") is None


@pytest.mark.parametrize(
    ("alphabet", "length"),
    [
        ("0123456789abcdef", 32),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 20),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 32),
        ("abcdefghijklmnopqrstuvwxyz0123456789", 24),
    ],
)
def test_random_keys_are_hardly_ever_missed(alphabet: str, length: int) -> None:
    chance = random.Random(7)
    missed = sum(why_secret("X", "".join(chance.choices(alphabet, k=length))) is None for _ in range(2000))
    assert missed <= 20


def test_random_uuids_and_base64_are_hardly_ever_missed() -> None:
    chance = random.Random(7)
    made = [str(uuid.UUID(bytes=chance.randbytes(16))) for _ in range(2000)]
    made += [base64.b64encode(chance.randbytes(24)).decode() for _ in range(2000)]
    assert sum(why_secret("X", value) is None for value in made) <= 40
