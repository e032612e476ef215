"""What is said about credentials that lie on the wrong side of the boundary."""

from pathlib import Path

import pytest

from ops_mcp.config import load

PROD = 'provider = "vercel"\n[production.options]\nproject = "web"\ntarget = "production"\n'


def configured(home: Path, *, settings: str = "", binding: str) -> Path:
    (home / "services").mkdir()
    (home / "config.toml").write_text(settings, encoding="utf-8")
    (home / "services" / "web.toml").write_text(binding, encoding="utf-8")
    return home


@pytest.mark.parametrize(
    ("settings", "binding", "said"),
    [
        ("", f"[production]\n{PROD}", False),
        ('[providers.vercel.tokens]\nproduction = "vercel"\n', f"[production]\n{PROD}", True),
        ('[providers.vercel.tokens]\nstaging = "vercel"\n', f"[production]\n{PROD}", False),
        ("", f'[production]\nsecrets = {{ KEY = "web-key" }}\n{PROD}', True),
        ("", '[staging]\nprovider = "local"\nsecrets = { KEY = "web-key" }\n', False),
    ],
    ids=[
        "no credential",
        "the provider's token",
        "another environment's token",
        "a secret of the service",
        "a secret in staging",
    ],
)
def test_a_credential_for_prod_beside_the_agent_is_said_and_elsewhere_is_not(
    tmp_path: Path, settings: str, binding: str, *, said: bool
) -> None:
    config = load({}, config_dir=configured(tmp_path, settings=settings, binding=binding), state_dir=tmp_path)
    assert any("web in production" in caution for caution in config.cautions) is said
    assert not any("web in production" in caution for caution in config.evolve(served=True).cautions)
