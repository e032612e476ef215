"""Real services on real ports: deployed, replaced, rolled back, restarted, stopped, watched."""

import hashlib
import os
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from ops_mcp.config import Isolation
from ops_mcp.domain.places import CommandProbe
from ops_mcp.domain.releases import DeploymentId, Presence
from ops_mcp.errors import DeadlineExceeded, InvalidArguments, LeaseLost, NotConfigured, NotFound, ProviderError
from ops_mcp.providers._waiting import until
from ops_mcp.providers.local.lines import tail
from ops_mcp.providers.local.place import in_silence
from tests.providers.local.fakes import SERVICE, World, alive, at, commit, git, placed

pytestmark = pytest.mark.anyio

ONE, TWO = DeploymentId("dep_1"), DeploymentId("dep_2")


def fetched(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return answer.read().decode()


async def test_a_deployed_release_answers_on_its_port(everywhere: World) -> None:
    binding = everywhere.binding(everywhere.repository())
    observed = await everywhere.up(binding, ONE)
    assert observed.presence is Presence.running
    assert observed.url == f"http://127.0.0.1:{everywhere.port}"
    assert fetched(everywhere.port) == "one"
    assert await until(lambda: "serving one" in tail(everywhere.logs(ONE), 10), seconds=10)


async def test_a_second_release_replaces_the_first_on_the_same_port(everywhere: World) -> None:
    repository = everywhere.repository()
    binding = everywhere.binding(repository)
    await everywhere.up(binding, ONE)
    commit(repository, {"app.py": SERVICE.format(word="two")}, "the second")
    await everywhere.up(binding, TWO, replaces=ONE)
    assert fetched(everywhere.port) == "two"
    first = await everywhere.local.status(at(binding, ONE))
    assert (first.presence, first.answers) == (Presence.exited, False)
    assert len(everywhere.living()) == 1


async def test_deploying_the_same_id_again_starts_nothing_twice(anywhere: World) -> None:
    binding = anywhere.binding(anywhere.repository())
    await anywhere.up(binding, ONE)
    before = anywhere.living()
    again = await anywhere.deploy(binding, ONE)
    assert again.presence is Presence.running
    assert anywhere.living() == before


async def test_a_service_that_ended_is_not_started_again_by_repeating_its_deployment(plain: World) -> None:
    binding = plain.binding(plain.repository({"app.py": "print('once', flush=True)\nraise SystemExit(7)\n"}))
    await plain.deploy(binding, ONE)
    observed = await plain.seen(binding, ONE, lambda o: o.presence is Presence.exited)
    assert (observed.exit_code, observed.signal, observed.untrusted_tail) == (7, None, ("once",))
    await plain.deploy(binding, ONE)
    assert await plain.texts(binding, ONE) == ["once"]


async def test_a_service_killed_by_a_signal_is_seen_as_such(anywhere: World) -> None:
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    binding = anywhere.binding(anywhere.repository({"app.py": code}))
    await anywhere.deploy(binding, ONE)
    observed = await anywhere.seen(binding, ONE, lambda o: o.presence is Presence.exited)
    assert (observed.exit_code, observed.signal) == (None, signal.SIGKILL)


async def test_a_program_that_is_not_there_is_an_exit_with_a_line_that_says_so(anywhere: World) -> None:
    binding = anywhere.binding(anywhere.repository(), run=["no-such-program"])
    await anywhere.deploy(binding, ONE)
    observed = await anywhere.seen(binding, ONE, lambda o: o.presence is Presence.exited)
    assert observed.exit_code not in (0, None)
    assert "no-such-program" in "".join(observed.untrusted_tail) or "could not start" in "".join(observed.untrusted_tail)


async def test_a_port_held_by_an_alien_is_refused_by_its_pid_and_nothing_is_started(plain: World) -> None:
    binding = plain.binding(plain.repository())
    with socket.socket() as alien:
        alien.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alien.bind(("127.0.0.1", plain.port))
        alien.listen()
        with pytest.raises(ProviderError, match=f"taken by process {os.getpid()}"):
            await plain.deploy(binding, ONE)
    assert plain.living() == []
    observed = await plain.up(binding, ONE)
    assert observed.answers is True


async def test_a_port_that_an_alien_answers_is_never_taken_for_the_new_release(anywhere: World) -> None:
    binding = anywhere.binding("sample", run=[], env={"SAMPLE_SILENT": "1"})
    await anywhere.deploy(binding, ONE)
    with socket.socket() as alien:
        alien.bind(("127.0.0.1", anywhere.port))
        alien.listen()
        observed = await anywhere.local.status(at(binding, ONE))
    assert (observed.presence, observed.answers) == (Presence.running, False)


async def test_going_back_uses_what_was_kept_and_neither_source_nor_build(anywhere: World) -> None:
    repository = anywhere.repository()
    built = anywhere.binding(repository, build=["{python}", "-c", "open('built', 'w').write('x')"])
    old = await anywhere.release(built)
    await anywhere.up(built, ONE)
    commit(repository, {"app.py": SERVICE.format(word="two")}, "the second")
    await anywhere.up(built, TWO, replaces=ONE)
    repository.rename(repository.with_name("gone"))
    await anywhere.local.rollback(placed(old, "dep_3"), restores=placed(old, ONE), ends=placed(old, TWO), tell=in_silence)
    await anywhere.seen(built, "dep_3", lambda o: o.answers is True)
    assert fetched(anywhere.port) == "one"


async def test_an_undo_puts_a_release_back_under_its_own_old_id(anywhere: World) -> None:
    repository = anywhere.repository()
    binding = anywhere.binding(repository)
    one = await anywhere.placement(binding, ONE)
    await anywhere.up(binding, ONE)
    commit(repository, {"app.py": SERVICE.format(word="two")}, "the second")
    await anywhere.up(binding, TWO, replaces=ONE)
    await anywhere.local.rollback(one, restores=one, ends=at(binding, TWO), tell=in_silence)
    await anywhere.seen(binding, ONE, lambda o: o.answers is True)
    assert fetched(anywhere.port) == "one"
    assert (await anywhere.local.status(at(binding, TWO))).presence is Presence.exited
    before = anywhere.living()
    await anywhere.local.rollback(one, restores=one, ends=at(binding, TWO), tell=in_silence)
    assert anywhere.living() == before


async def test_whoever_waits_is_told_each_stage_and_its_seconds_of_building_once(plain: World) -> None:
    told: list[str] = []

    async def tell(doing: str, *, handle: str = "") -> None:
        told.append(doing)

    repository = plain.repository()
    binding = plain.binding(repository, build=["{python}", "-c", "import time; time.sleep(0.2)"])
    await plain.up(binding, ONE)
    commit(repository, {"app.py": SERVICE.format(word="two")}, "the second")
    two = await plain.placement(binding, TWO)
    first = await plain.local.deploy(two, replaces=at(binding, ONE), tell=tell)
    again = await plain.local.deploy(two, replaces=at(binding, ONE), tell=tell)
    assert told == ["mirroring", "building", "stopping", "starting", "started"]
    assert 0.2 <= first.usage.build_seconds < 10
    assert again.usage.build_seconds == 0


@pytest.mark.parametrize("stage", ["mirroring", "building", "stopping"])
async def test_a_worker_that_has_lost_its_lease_leaves_what_serves_alone(plain: World, stage: str) -> None:
    async def tell(doing: str, *, handle: str = "") -> None:
        if doing == stage:
            raise LeaseLost("Another worker has taken over.")

    repository = plain.repository()
    binding = plain.binding(repository)
    await plain.up(binding, ONE)
    commit(repository, {"app.py": SERVICE.format(word="two")}, "the second")
    with pytest.raises(LeaseLost):
        await plain.local.deploy(await plain.placement(binding, TWO), replaces=at(binding, ONE), tell=tell)
    assert fetched(plain.port) == "one"
    assert list(plain.root.glob("**/releases/.partial-*")) == []


async def test_going_back_to_a_release_that_is_not_kept_is_refused_before_anything_is_stopped(plain: World) -> None:
    binding = plain.binding(plain.repository())
    await plain.up(binding, ONE)
    lost = (await plain.release(binding)).model_copy(
        update={"content": (await plain.release(binding)).content.model_copy(update={"identity": "f" * 40})}
    )
    with pytest.raises(ProviderError, match="no longer kept"):
        await plain.local.rollback(placed(lost, TWO), restores=placed(lost, TWO), ends=at(binding, ONE), tell=in_silence)
    assert fetched(plain.port) == "one"


async def test_a_restart_keeps_the_id_and_the_data_and_changes_the_process(anywhere: World) -> None:
    counting = "import os\nopen(os.environ['HOME'] + '/starts', 'a').write('x')\n" + SERVICE.format(word="one")
    counting = counting.replace("WORD.encode()", "open(os.environ['HOME'] + '/starts').read().encode()")
    binding = anywhere.binding(anywhere.repository({"app.py": counting}))
    await anywhere.up(binding, ONE)
    before = anywhere.living()
    await anywhere.local.restart(await anywhere.placement(binding, ONE))
    await anywhere.seen(binding, ONE, lambda o: o.answers is True)
    assert anywhere.living() != before
    assert fetched(anywhere.port) == "xx"


async def test_stopping_ends_children_that_left_the_session_and_ignore_term(anywhere: World) -> None:
    stubborn = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "code = 'import signal, time; signal.signal(15, signal.SIG_IGN); print(\"child\", flush=True); time.sleep(600)'\n"
        "subprocess.Popen([sys.executable, '-c', code], start_new_session=True)\n"
        "print('parent', flush=True)\n"
        "time.sleep(600)\n"
    )
    binding = anywhere.binding(anywhere.repository({"app.py": stubborn}), port=None, grace_seconds=0.3)
    await anywhere.deploy(binding, ONE)
    assert await until(lambda: set(tail(anywhere.logs(ONE), 5)) == {"parent", "child"}, seconds=10)
    tree = anywhere.tree(ONE)
    assert len(tree) >= 3
    stopped = await anywhere.local.stop(at(binding, ONE))
    assert (stopped.presence, stopped.detail) == (Presence.exited, "It was stopped.")
    assert alive(tree) == []


async def test_a_service_gets_term_and_its_grace_before_it_is_killed(anywhere: World) -> None:
    polite = (
        "import signal, sys, time\n"
        "def leave(*_):\n    print('goodbye', flush=True)\n    sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, leave)\nprint('ready', flush=True)\n"
        "while True: time.sleep(600)\n"
    )
    binding = anywhere.binding(anywhere.repository({"app.py": polite}), port=None)
    await anywhere.deploy(binding, ONE)
    assert await until(lambda: tail(anywhere.logs(ONE), 5) == ["ready"], seconds=10)
    stopped = await anywhere.local.stop(at(binding, ONE))
    assert (stopped.exit_code, stopped.untrusted_tail) == (5, ("ready", "goodbye"))


async def test_stopping_what_never_was_or_is_gone_is_fine(plain: World) -> None:
    binding = plain.binding(plain.repository())
    assert (await plain.local.stop(at(binding, ONE))).presence is Presence.absent
    await plain.up(binding, ONE)
    await plain.local.stop(at(binding, ONE))
    assert (await plain.local.stop(at(binding, ONE))).presence is Presence.exited


async def test_what_outlived_a_killed_keeper_is_still_found_and_ended(anywhere: World) -> None:
    binding = anywhere.binding(anywhere.repository())
    await anywhere.up(binding, ONE)
    keeper, *below = anywhere.tree(ONE)
    os.kill(keeper, signal.SIGKILL)
    await anywhere.local.stop(at(binding, ONE))
    assert await until(lambda: alive([keeper, *below]) == [], seconds=10)  # the kernel takes a moment to bury them


async def test_a_build_runs_before_the_old_release_is_ended_and_its_failure_leaves_it_serving(anywhere: World) -> None:
    repository = anywhere.repository()
    await anywhere.up(anywhere.binding(repository), ONE)
    broken = anywhere.binding(repository, build=["{python}", "-c", "print('it broke'); raise SystemExit(9)"])
    with pytest.raises(ProviderError, match="failed with code 9") as caught:
        await anywhere.deploy(broken, TWO, replaces=ONE)
    assert caught.value.details == {"untrusted_output": ["it broke"]}
    assert fetched(anywhere.port) == "one"
    assert list(anywhere.root.glob("**/releases/.partial-*")) == []


async def test_a_build_that_does_not_end_is_ended_with_all_it_started(anywhere: World) -> None:
    marker = str(600_000 + anywhere.port)
    code = f"import subprocess, time; subprocess.Popen(['sleep', '{marker}'], start_new_session=True); time.sleep(600)"
    slow = anywhere.binding(anywhere.repository(), build=["{python}", "-c", code], build_seconds=1.0)
    with pytest.raises(DeadlineExceeded, match="did not end within 1 s"):
        await anywhere.deploy(slow, ONE)
    assert await until(lambda: alive(anywhere.processes_of(marker)) == [], seconds=5)


async def test_a_release_cannot_be_changed_by_its_own_service(confined: World) -> None:
    code = "try:\n    open('app.py', 'a').write('#')\nexcept OSError as error:\n    print(type(error).__name__, flush=True)\n"
    binding = confined.binding(confined.repository({"app.py": code}), port=None)
    await confined.deploy(binding, ONE)
    observed = await confined.seen(binding, ONE, lambda o: o.presence is Presence.exited)
    assert observed.untrusted_tail in (("OSError",), ("PermissionError",))


async def test_secrets_reach_the_service_and_no_argument_list_log_or_state_file(anywhere: World) -> None:
    anywhere.secrets["key"] = "hunter-planted-secret"
    code = "import hashlib, os\nWANT = hashlib.sha256(os.environ['API_KEY'].encode()).hexdigest()\n" + SERVICE.format(
        word="x"
    ).replace("WORD.encode()", "WANT.encode()")
    binding = anywhere.binding(anywhere.repository({"app.py": code}), secrets={"API_KEY": "key"})
    await anywhere.up(binding, ONE)
    assert fetched(anywhere.port) == hashlib.sha256(b"hunter-planted-secret").hexdigest()
    assert anywhere.processes_of("hunter-planted") == []
    for file in [p for p in (*anywhere.root.rglob("*"), *anywhere.runs.rglob("*")) if p.is_file()]:
        assert b"hunter-planted" not in file.read_bytes(), file
    keeper = anywhere.living()[0]
    assert b"hunter-planted" not in Path(f"/proc/{keeper}/environ").read_bytes()


async def test_without_isolation_nothing_starts_beside_a_credential_for_more_than_the_sandbox(plain: World) -> None:
    plain.beside = True
    binding = plain.binding(plain.repository(), build=["touch", "built"])
    one = await plain.placement(binding, ONE)
    for start in (
        plain.local.deploy(one, replaces=None, tell=in_silence),
        plain.local.rollback(one, restores=one, ends=None, tell=in_silence),
    ):
        with pytest.raises(NotConfigured, match="without isolation") as caught:
            await start
        assert "bubblewrap" in caught.value.hint
    with pytest.raises(NotConfigured, match="without isolation"):
        await plain.local.restart(one)
    assert plain.living() == []
    assert list(plain.root.glob("**/releases/*")) == []


async def test_a_build_that_is_to_have_no_network_does_not_run_with_one_where_bubblewrap_is_missing(plain: World) -> None:
    plain.local.isolation = Isolation(mode="none", build_network=False)
    binding = plain.binding(plain.repository(), build=["touch", "built"])
    with pytest.raises(NotConfigured, match="build_network is false") as caught:
        await plain.deploy(binding, ONE)
    assert "bubblewrap" in caught.value.hint
    assert list(plain.root.glob("**/built")) == []
    await plain.up(plain.binding(plain.root / "repository"), TWO)


async def test_the_longest_unused_releases_are_removed_and_never_one_that_runs(plain: World) -> None:
    repository = plain.repository()
    binding = plain.binding(repository, keep_releases=2)
    await plain.up(binding, "dep_0")
    for number in range(1, 5):
        commit(repository, {"app.py": SERVICE.format(word=str(number))}, f"number {number}")
        await plain.up(binding, f"dep_{number}", replaces=f"dep_{number - 1}")
    kept = list(plain.root.glob("**/releases/*"))
    assert len(kept) == 2
    assert any(git(repository, "rev-parse", "HEAD") in path.name for path in kept)


async def test_a_command_probe_runs_as_the_service_does_and_has_a_deadline(anywhere: World) -> None:
    binding = anywhere.binding(anywhere.repository({"app.py": SERVICE.format(word="one"), "ok": ""}))
    await anywhere.up(binding, ONE)
    one = await anywhere.placement(binding, ONE)
    good = await anywhere.local.probe_command(one, CommandProbe(argv=("test", "-e", "ok")))
    bad = await anywhere.local.probe_command(one, CommandProbe(argv=("test", "-e", "missing")))
    marker = str(600_000 + anywhere.port)
    slow = await anywhere.local.probe_command(one, CommandProbe(argv=("sleep", marker), timeout_seconds=0.3))
    assert (good.healthy, good.evidence) == (True, "exit code 0")
    assert (bad.healthy, bad.evidence) == (False, "exit code 1")
    assert (slow.healthy, slow.evidence) == (False, "did not end in time")
    assert await until(lambda: alive(anywhere.processes_of(marker)) == [], seconds=5)
    with pytest.raises(NotFound):
        await anywhere.local.probe_command(at(binding, TWO), CommandProbe(argv=("true",)))


async def test_a_plain_directory_is_its_content_and_a_change_after_planning_is_refused(plain: World) -> None:
    source = plain.root / "site"
    source.mkdir()
    (source / "app.py").write_text(SERVICE.format(word="plain"), encoding="utf-8")
    binding = plain.binding(source)
    release = await plain.release(binding)
    assert release.content.identity.startswith("sha256:")
    await plain.up(binding, ONE)
    assert fetched(plain.port) == "plain"
    with pytest.raises(InvalidArguments, match="no refs"):
        await plain.local.resolve(binding, "main")
    (source / "app.py").write_text("changed", encoding="utf-8")
    stale = release.model_copy(update={"content": release.content.model_copy(update={"identity": "sha256:" + "0" * 64})})
    with pytest.raises(Exception, match="changed after it was planned"):
        await plain.local.deploy(placed(stale, TWO), replaces=at(binding, ONE), tell=in_silence)
    assert fetched(plain.port) == "plain"


async def test_odd_deployment_ids_never_become_paths(plain: World) -> None:
    binding = plain.binding(plain.repository())
    for odd in ("../x", "", ".", "..", "a/b", "a\0b", "-x"):
        with pytest.raises(InvalidArguments):
            await plain.local.status(at(binding, odd))
