"""The secret store on real files."""

import stat
from pathlib import Path

import pytest

from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound
from ops_mcp.secrets import Secrets
from ops_mcp.values import Secret


def test_a_secret_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    Secrets(tmp_path).put("db-password", Secret("hunter2"))
    file = tmp_path / "secrets" / "db-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert Secrets(tmp_path).read("db-password").get_secret_value() == "hunter2"
    assert [f.name for f in file.parent.iterdir()] == ["db-password"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_reach_is_refused_even_after_it_was_read_once(tmp_path: Path, mode: int) -> None:
    secrets = Secrets(tmp_path)
    secrets.put("token", Secret("hunter2"))
    assert secrets.read("token").get_secret_value() == "hunter2"
    (tmp_path / "secrets" / "token").chmod(mode)
    with pytest.raises(NotConfigured) as refused:
        secrets.read("token")
    assert "chmod 600" in refused.value.hint
    assert "hunter2" not in refused.value.message


def test_an_open_directory_is_refused(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    secrets.put("token", Secret("hunter2"))
    (tmp_path / "secrets").chmod(0o755)
    with pytest.raises(NotConfigured) as refused:
        secrets.read("token")
    assert "chmod 700" in refused.value.hint


def test_the_last_good_value_serves_while_the_file_is_empty(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    secrets.put("token", Secret("first"))
    secrets.read("token")
    (tmp_path / "secrets" / "token").write_text("", encoding="utf-8")
    assert secrets.read("token").get_secret_value() == "first"
    secrets.put("token", Secret("second"))
    assert secrets.read("token").get_secret_value() == "second"


def test_a_removed_secret_is_gone_at_once(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    secrets.put("token", Secret("first"))
    secrets.read("token")
    Secrets(tmp_path).remove("token")
    with pytest.raises(NotConfigured):
        secrets.read("token")
    with pytest.raises(NotFound):
        secrets.remove("token")


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    secrets.put("token", Secret("first"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("stolen", encoding="utf-8")
    elsewhere.chmod(0o600)
    (tmp_path / "secrets" / "linked").symlink_to(elsewhere)
    with pytest.raises(NotConfigured):
        secrets.read("linked")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "-rf", "a b", "x" * 64, "a\n"])
def test_names_that_could_leave_the_directory_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArguments):
        Secrets(tmp_path).put(name, Secret("value"))


def test_summaries_show_digests_and_never_values(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    secrets.put("good", Secret("hunter2"))
    secrets.put("open", Secret("hunter3"))
    (tmp_path / "secrets" / "open").chmod(0o644)
    shown = [s.json_value() for s in secrets.summaries()]
    assert shown[0] == {"name": "good", "digest": "sha256:f52fbd32b2b3", "trouble": ""}
    assert "readable by others" in str(shown[1]["trouble"])
    assert "hunter" not in str(shown)
