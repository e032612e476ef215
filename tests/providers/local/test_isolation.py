"""The argument lists that confine, as values; that they hold is proven in test_hostile."""

from itertools import pairwise
from pathlib import Path

import pytest

from ops_mcp.config import Isolation
from ops_mcp.errors import NotConfigured
from ops_mcp.providers.local.isolation import (
    Confinement,
    Mode,
    Room,
    choose,
    confined,
    interpreter_prefixes,
    refuse_unconfined,
    uid_for,
)

BWRAP = Confinement(mode=Mode.bubblewrap, bwrap="/usr/bin/bwrap")
HIDDEN = (Path("/srv/ops/state"), Path("/srv/ops/config"))


def room(**changes: object) -> Room:
    return Room.model_validate(
        {"release": "/srv/ops/state/local/r", "data": "/srv/ops/state/local/d", "hidden": HIDDEN, **changes}
    )


def test_no_value_of_the_environment_is_in_an_argument_list() -> None:
    command = confined(BWRAP, room(), ["web"], {"KEY": "planted"})
    assert command.argv == ("/usr/bin/bwrap", "--args", "3", "--", "web")
    assert "planted" not in str(command.env)
    assert "planted" in command.options


def test_a_service_sees_its_release_read_only_its_data_and_nothing_else_of_ours() -> None:
    options = list(confined(BWRAP, room(), ["web"], {}).options)
    bound = {source: option for option, source in pairwise(options) if option in ("--bind", "--ro-bind", "--ro-bind-try")}
    assert bound["/srv/ops/state/local/r"] == "--ro-bind"
    assert bound["/srv/ops/state/local/d"] == "--bind"
    others = [path for path in bound if not path.startswith(("/usr", "/bin", "/sbin", "/lib", "/etc/"))]
    assert sorted(others) == ["/srv/ops/state/local/d", "/srv/ops/state/local/r"]
    assert not {"/etc", "/etc/shadow", "/", "/proc", "/run", "/var", "/home"} & set(bound)
    assert {"--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--new-session", "--clearenv"} <= set(options)
    assert options[options.index("--proc") + 1] == "/proc"


def test_a_build_may_write_its_release_has_no_data_and_loses_the_network_when_told() -> None:
    options = confined(BWRAP, room(data=None, writable=True, network=False), ["make"], {}).options
    assert ("--bind", "/srv/ops/state/local/r", "/app") in zip(options, options[1:], options[2:], strict=False)
    assert "--unshare-net" in options
    assert "/srv/ops/state/local/d" not in options
    assert "--unshare-net" not in confined(BWRAP, room(), ["web"], {}).options


@pytest.mark.parametrize("mode", [Mode.uid, Mode.none])
def test_a_build_without_network_is_refused_where_the_network_cannot_be_taken_away(mode: Mode) -> None:
    elsewhere = Confinement(mode=mode)
    with pytest.raises(NotConfigured, match="build_network is false"):
        confined(elsewhere, room(data=None, writable=True, network=False), ["make"], {})
    assert confined(elsewhere, room(), ["web"], {}).argv == ("web",)


def test_another_uid_is_taken_inside_bubblewrap_by_root_only() -> None:
    as_root = BWRAP.model_copy(update={"drops_uid": True, "setpriv": "/usr/bin/setpriv"})
    command = confined(as_root, room(uid=210_007), ["web"], {})
    assert command.argv[4:7] == ("/usr/bin/setpriv", "--reuid=210007", "--regid=210007")
    assert "CAP_SETUID" in command.options
    assert "--cap-add" not in confined(BWRAP, room(uid=None), ["web"], {}).options


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        ("web", ()),
        ("/usr/bin/python3", ()),
        ("/app/web", ()),
        ("/opt/python/bin/python3", ("/opt/python",)),
        ("/home/someone/.pyenv/versions/3.12/bin/python", ("/home/someone/.pyenv/versions/3.12",)),
        ("/opt/tool/run", ("/opt/tool",)),
        ("/srv/bin/web", ("/srv/bin/web",)),
        ("/var/bin/web", ("/var/bin/web",)),
        ("/nix/store/abc-python/bin/python", ("/nix/store",)),
    ],
)
def test_an_interpreter_shows_its_own_prefix_and_never_what_is_around_us(program: str, shown: tuple[str, ...]) -> None:
    assert interpreter_prefixes(program, hidden=HIDDEN) == tuple(map(Path, shown))


@pytest.mark.parametrize("program", ["/srv/ops/state/bin/x", "/srv/ops/config/secrets/bin/x", "/srv/ops/state/x"])
def test_a_program_inside_our_own_directories_is_refused(program: str) -> None:
    with pytest.raises(NotConfigured, match="inside ops-mcp's own"):
        interpreter_prefixes(program, hidden=HIDDEN)


def test_services_get_different_uids_unless_the_operator_chose_one() -> None:
    def uid(service: str, environment: str) -> int:
        return uid_for(Isolation(), service=service, environment=environment)

    assert len({uid("web", "staging"), uid("web", "production"), uid("api", "staging")}) == 3
    assert uid("web", "staging") == uid("web", "staging") >= 210_000
    assert uid_for(Isolation(uid=1234), service="web", environment="staging") == 1234


def test_nothing_starts_without_isolation_beside_a_credential() -> None:
    unconfined = Confinement(mode=Mode.none, why_not="bubblewrap is not installed")
    refuse_unconfined(unconfined, beside=False)
    refuse_unconfined(BWRAP, beside=True)
    with pytest.raises(NotConfigured, match="bubblewrap is not installed"):
        refuse_unconfined(unconfined, beside=True)


@pytest.mark.anyio
async def test_a_chosen_confinement_is_tried_and_none_is_only_ever_chosen_aloud_or_for_lack() -> None:
    assert (await choose(Isolation(mode="none"))).why_not == "isolation.mode is none"
    automatic = await choose(Isolation())
    assert automatic.mode is not Mode.none or automatic.why_not
