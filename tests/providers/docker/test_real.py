"""The docker provider on a real engine: everything below is a container that really ran."""

import json
import socket
from pathlib import Path

import anyio
import pytest

from ops_mcp.domain.observations import LogQuery, Severity
from ops_mcp.domain.places import CommandProbe
from ops_mcp.domain.releases import Placement, Presence
from ops_mcp.errors import InvalidArguments, NotConfigured, NotFound, OpsError, ProviderError, Unsupported
from ops_mcp.providers.docker.place import Docker
from ops_mcp.values import Json
from tests.providers.docker.worlds import IMAGE, SPEC, World, body_of, by_hand, world

pytestmark = [pytest.mark.docker, pytest.mark.anyio]


async def test_a_deployed_image_answers_at_the_address_that_is_observed(here: World) -> None:
    placed = await here.up("v1")
    observed = await here.docker.status(placed)
    assert observed.presence is Presence.running
    assert observed.answers is True
    assert observed.url is not None
    assert observed.url.startswith("http://127.0.0.1:")
    assert await body_of(observed.url) == "v1"


async def test_a_tag_is_pinned_to_the_engines_own_image_where_no_registry_answers_and_it_is_said(here: World) -> None:
    content = await here.docker.resolve(here.binding(), "v1")
    with by_hand(here.host) as client:
        assert content.identity == client.get(f"/images/{IMAGE}:v1/json").json()["Id"]
    assert content.ref == "v1"
    assert "the engine's own image" in content.summary


async def test_a_tag_that_neither_registry_nor_engine_has_is_not_found(here: World) -> None:
    with pytest.raises(NotFound, match="Neither a registry nor the engine"):
        await here.docker.resolve(here.binding(), "v99")


async def test_a_moved_tag_does_not_change_what_a_planned_release_runs(here: World) -> None:
    release = await here.release(here.binding(), "v1")
    with by_hand(here.host) as client:
        client.post(f"/images/{IMAGE}:v1/tag", params={"repo": IMAGE, "tag": "moving"})
        moving = await here.release(here.binding(), "moving")
        client.post(f"/images/{IMAGE}:v2/tag", params={"repo": IMAGE, "tag": "moving"})
    assert moving.content.identity == release.content.identity
    placed = here.placement(moving)
    observed = await here.docker.deploy(placed, replaces=None, tell=here.tell)
    assert await body_of(observed.url or "") == "v1"
    with by_hand(here.host) as client:
        client.delete(f"/images/{IMAGE}:moving")


async def test_a_deployment_repeated_starts_nothing_twice(here: World) -> None:
    placed = await here.up("v1")
    started = here.of(placed)[0]["State"]["StartedAt"]
    again = await here.provider().deploy(placed, replaces=None, tell=here.tell)
    assert again.presence is Presence.running
    assert [c["State"]["StartedAt"] for c in here.containers()] == [started]


async def test_two_callers_with_the_same_deployment_end_with_one_container(here: World) -> None:
    placed = here.placement(await here.release(here.binding(), "v1"))
    async with anyio.create_task_group() as group:
        for provider in (here.provider(), here.provider(), here.docker):
            group.start_soon(_deploy, provider, placed, here)
    assert here.running() == [placed.deployment]


async def _deploy(provider: Docker, placed: Placement, here: World) -> None:
    await provider.deploy(placed, replaces=None, tell=here.tell)


async def test_the_new_release_is_started_beside_the_old_one_which_ends_only_when_it_answers(here: World) -> None:
    first = await here.up("v1")
    both: list[list[str]] = []

    async def look(doing: str) -> None:
        if doing == "waiting until it answers":
            both.append(here.running())

    here.on_tell = look
    second = await here.up("v2", replaces=first)
    assert sorted(both[0]) == sorted([first.deployment, second.deployment])
    assert here.running() == [second.deployment]
    assert [c["State"]["Status"] for c in here.of(first)] == ["exited"]


async def test_a_release_that_answers_500_does_not_take_over_and_the_old_one_serves_on(here: World) -> None:
    first = await here.up("v1")
    third = here.placement(await here.release(here.binding(), "v3"))
    with pytest.raises(ProviderError, match=r"did not take over.*HTTP 500"):
        await here.docker.deploy(third, replaces=first, tell=here.tell)
    assert set(here.running()) == {first.deployment, third.deployment}
    restored = await here.docker.rollback(first, restores=first, ends=third, tell=here.tell)
    assert restored.presence is Presence.running
    assert here.running() == [first.deployment]


async def test_a_release_that_crashes_at_once_is_seen_to_have_ended_and_the_old_one_serves_on(here: World) -> None:
    first = await here.up("v1")
    crash = here.placement(await here.release(here.binding(), "crash"))
    observed = await here.docker.deploy(crash, replaces=first, tell=here.tell)
    assert (observed.presence, observed.exit_code, observed.signal) == (Presence.exited, 3, None)
    assert "exit code 3" in observed.detail
    assert observed.untrusted_tail == ("cannot go on",)
    assert here.running() == [first.deployment]


async def test_running_out_of_memory_is_told_apart_from_a_crash_and_from_a_kill(here: World) -> None:
    oom = await here.up("oom", memory_bytes=8 << 20)
    ended = await here.seen(oom, lambda o: o.presence is Presence.exited)
    assert "out of memory" in ended.detail
    assert ended.signal == 9
    alive = await here.up("v1")
    with by_hand(here.host) as client:
        client.post(f"/containers/{here.of(alive)[0]['Id']}/kill", params={"signal": "KILL"})
    killed = await here.seen(alive, lambda o: o.presence is Presence.exited)
    assert (killed.exit_code, killed.signal) == (137, 9)
    assert "signal 9 (KILL)" in killed.detail
    assert "out of memory" not in killed.detail


async def test_a_process_killed_for_memory_inside_a_running_container_is_told(here: World) -> None:
    command: Json = ["sh", "-c", "sleep 0.3; tail /dev/zero; echo survived; sleep 60"]
    placed = await here.up("v1", command=command, memory_bytes=12 << 20, port=None)
    observed = await here.seen(placed, lambda o: "want of memory" in o.detail)
    assert observed.presence is Presence.running


async def test_ends_that_repeat_are_told_as_such_and_a_stop_is_not(here: World) -> None:
    placed = await here.up("crash", port=None)
    for _ in range(3):
        await here.docker.restart(placed)
        await here.seen(placed, lambda o: o.presence is Presence.exited)
    assert "times in 10 minutes" in (await here.docker.status(placed)).detail
    calm = await here.up("v1")
    stopped = await here.docker.stop(calm)
    assert stopped.presence is Presence.exited
    assert "it was stopped" in stopped.detail


async def test_a_container_that_somebody_set_to_restart_by_itself_is_seen_to_loop(here: World) -> None:
    placed = await here.up("v1", command=["sh", "-c", "sleep 0.5; exit 7"], port=None)
    with by_hand(here.host) as client:
        body = {"RestartPolicy": {"Name": "always"}}
        client.post(f"/containers/{here.of(placed)[0]['Id']}/update", json=body)
    await here.docker.restart(placed)
    await here.seen(placed, lambda o: "again" in o.detail)


async def test_a_fixed_port_passes_from_the_old_release_to_the_new_one(here: World) -> None:
    port = free_port()
    first = await here.up("v1", host_port=port)
    second = await here.up("v2", replaces=first, host_port=port)
    observed = await here.docker.status(second)
    assert observed.url == f"http://127.0.0.1:{port}"
    assert await body_of(observed.url) == "v2"
    back = await here.docker.rollback(first, restores=first, ends=second, tell=here.tell)
    assert back.url == f"http://127.0.0.1:{port}"
    assert await body_of(back.url) == "v1"


async def test_a_port_that_an_alien_holds_is_refused_and_can_be_tried_again(here: World) -> None:
    with socket.socket() as alien:
        alien.bind(("127.0.0.1", 0))
        alien.listen()
        port = alien.getsockname()[1]
        placed = here.placement(await here.release(here.binding(host_port=port), "v1"))
        with pytest.raises(ProviderError, match="port of the host is taken"):
            await here.docker.deploy(placed, replaces=None, tell=here.tell)
        assert (await here.docker.status(placed)).presence is Presence.building
    observed = await here.docker.deploy(placed, replaces=None, tell=here.tell)
    assert observed.presence is Presence.running


async def test_a_rollback_runs_the_old_image_with_the_old_configuration_under_its_own_id(here: World) -> None:
    first = await here.up("v1", user="65534", memory_bytes=64 << 20, cpus=0.5)
    second = await here.up("v2", replaces=first)
    third = here.placement(first.release)
    observed = await here.docker.rollback(third, restores=first, ends=second, tell=here.tell)
    assert observed.deployment == third.deployment
    assert await body_of(observed.url or "") == "v1"
    old, new = here.of(first)[0], here.of(third)[0]
    assert new["Image"] == old["Image"]
    assert _configuration(new) == _configuration(old)
    assert here.running() == [third.deployment]


async def test_a_rollback_of_a_rollback_puts_the_newer_release_back(here: World) -> None:
    first = await here.up("v1")
    second = await here.up("v2", replaces=first)
    third, fourth = here.placement(first.release), here.placement(second.release)
    await here.docker.rollback(third, restores=first, ends=second, tell=here.tell)
    observed = await here.docker.rollback(fourth, restores=second, ends=third, tell=here.tell)
    assert await body_of(observed.url or "") == "v2"
    assert here.running() == [fourth.deployment]


async def test_an_undo_starts_the_very_containers_that_were_kept(here: World) -> None:
    first = await here.up("v1")
    identity = here.of(first)[0]["Id"]
    second = await here.up("v2", replaces=first)
    observed = await here.docker.rollback(first, restores=first, ends=second, tell=here.tell)
    assert observed.presence is Presence.running
    assert [c["Id"] for c in here.of(first)] == [identity]
    assert here.running() == [first.deployment]


async def test_an_undo_ends_what_failed_whatever_the_old_release_answers(here: World) -> None:
    binding = here.binding(port=None)
    well = binding.health.evolve(probe=CommandProbe(argv=("sh", "-c", "test ! -e /tmp/ill")), verify_seconds=3)
    first = here.placement(await here.release(binding.evolve(health=well), "v1"))
    await here.docker.deploy(first, replaces=None, tell=here.tell)
    assert (await here.docker.probe_command(first, CommandProbe(argv=("touch", "/tmp/ill")))).healthy
    second = await here.up("v2", replaces=first)
    await here.docker.rollback(first, restores=first, ends=second, tell=here.tell)
    assert here.running() == [first.deployment]


async def test_an_undo_makes_the_containers_anew_when_somebody_removed_them(here: World) -> None:
    first = await here.up("v1")
    second = await here.up("v2", replaces=first)
    with by_hand(here.host) as client:
        client.delete(f"/containers/{here.of(first)[0]['Id']}")
    observed = await here.docker.rollback(first, restores=first, ends=second, tell=here.tell)
    assert await body_of(observed.url or "") == "v1"


async def test_going_back_without_image_or_container_says_that_neither_is_kept(here: World) -> None:
    first = await here.up("v1")
    gone = first.release.evolve(content=first.release.content.evolve(identity="sha256:" + "0" * 64))
    third, never = here.placement(gone), here.placement(gone)
    with pytest.raises(ProviderError, match="no longer kept"):
        await here.docker.rollback(third, restores=never, ends=first, tell=here.tell)
    assert here.running() == [first.deployment]


async def test_a_restart_is_a_new_process_in_the_same_container(here: World) -> None:
    placed = await here.up("v1")
    before = here.of(placed)[0]
    observed = await here.docker.restart(placed)
    after = here.of(placed)[0]
    assert observed.presence is Presence.running
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] > before["State"]["StartedAt"]


async def test_a_stopped_deployment_is_kept_and_can_be_stopped_again(here: World) -> None:
    placed = await here.up("v1")
    assert (await here.docker.stop(placed)).presence is Presence.exited
    assert (await here.docker.stop(placed)).presence is Presence.exited
    assert len(here.of(placed)) == 1


async def test_stopping_and_looking_at_what_was_never_there_is_fine(here: World) -> None:
    placed = here.placement(await here.release(here.binding(), "v1"))
    assert (await here.docker.status(placed)).presence is Presence.absent
    assert (await here.docker.stop(placed)).presence is Presence.absent


async def test_a_container_that_was_made_and_not_started_is_started_by_the_repeat_and_removed_by_a_stop(here: World) -> None:
    placed = here.placement(await here.release(here.binding(), "v1"))

    async def fall(doing: str) -> None:
        if doing == "starting":
            raise _Killed

    here.on_tell = fall
    with pytest.raises(_Killed):
        await here.docker.deploy(placed, replaces=None, tell=here.tell)
    here.on_tell = None
    assert (await here.docker.status(placed)).presence is Presence.building
    assert (await here.docker.deploy(placed, replaces=None, tell=here.tell)).presence is Presence.running
    other = here.placement(placed.release)
    here.on_tell = fall
    with pytest.raises(_Killed):
        await here.docker.deploy(other, replaces=None, tell=here.tell)
    assert (await here.docker.stop(other)).presence is Presence.absent


class _Killed(Exception):
    """The worker is gone at this point."""


async def test_replicas_are_made_and_taken_away_and_go_on_under_the_new_id(here: World) -> None:
    one = await here.up("v1")
    kept = here.of(one)[0]["Id"]
    three = here.placement(one.release.evolve(replicas=3))
    observed = await here.docker.scale(three, restores=one, tell=here.tell)
    assert here.handles == [one.deployment]
    assert observed.presence is Presence.running
    three = three.evolve(handle=observed.handle)
    assert len(here.running()) == 3
    two = here.placement(one.release.evolve(replicas=2))
    observed = await here.docker.scale(two, restores=three, tell=here.tell)
    assert len(here.running()) == 2
    two = two.evolve(handle=observed.handle)
    assert (await here.docker.status(two)).presence is Presence.running
    undone = await here.docker.rollback(one, restores=one, ends=two, tell=here.tell)
    assert undone.presence is Presence.running
    assert [c["Id"] for c in here.containers() if c["State"]["Running"]] == [kept]


async def test_a_replica_that_ends_is_seen_and_one_that_is_missing_too(here: World) -> None:
    placed = await here.up("v1", replicas=3)
    with by_hand(here.host) as client:
        client.delete(f"/containers/{here.of(placed)[0]['Id']}", params={"force": "1"})
        observed = await here.docker.status(placed)
        assert observed.presence is Presence.building
        assert "2 of 3 replicas run" in observed.detail
        client.post(f"/containers/{here.of(placed)[0]['Id']}/kill")
    observed = await here.docker.status(placed)
    assert observed.presence is Presence.exited
    assert (await here.docker.restart(placed)).presence is Presence.running
    assert len(here.running()) == 3


async def test_replicas_cannot_share_a_fixed_port_but_can_share_a_name_on_a_network(here: World) -> None:
    port = free_port()
    alone = await here.up("v1", host_port=port)
    with pytest.raises(Unsupported, match="Only one container"):
        await here.docker.scale(here.placement(alone.release.evolve(replicas=2)), restores=alone, tell=here.tell)
    await here.docker.stop(alone)
    name = f"net-{here.installation}"
    with by_hand(here.host) as client:
        client.post("/networks/create", json={"Name": name}).raise_for_status()
        try:
            placed = await here.up("v2", host_port=port, network=name, replicas=2)
            url = (await here.docker.status(placed)).url
            assert url == f"http://127.0.0.1:{port}"
            probe = CommandProbe(argv=("sh", "-c", f"test $(nslookup {here.service} | grep -c '^Address: 1') = 2"))
            assert (await here.docker.probe_command(placed, probe)).healthy
            here.clear()
        finally:
            client.delete(f"/networks/{name}")


async def test_a_network_that_is_not_there_is_named_as_the_cause(here: World) -> None:
    placed = here.placement(await here.release(here.binding(network="nowhere-at-all"), "v1"))
    with pytest.raises(NotConfigured, match="no network of the name"):
        await here.docker.deploy(placed, replaces=None, tell=here.tell)


async def test_a_command_that_the_image_has_not_is_named_as_the_cause(here: World) -> None:
    placed = here.placement(await here.release(here.binding(command=["/no/such/program"]), "v1"))
    with pytest.raises(ProviderError, match="no program that its command names"):
        await here.docker.deploy(placed, replaces=None, tell=here.tell)


async def test_the_images_own_health_check_is_reflected_and_waited_for(here: World) -> None:
    first = await here.up("checked")
    assert "has not passed yet" in (await here.docker.status(first)).detail
    await here.seen(first, lambda o: not o.detail)
    second = await here.up("checked", replaces=first)
    assert (await here.docker.status(second)).detail == ""
    sick = here.placement(await here.release(here.binding(), "sick"))
    with pytest.raises(ProviderError, match="own health check says unhealthy"):
        await here.docker.deploy(sick, replaces=second, tell=here.tell)
    observed = await here.docker.status(sick)
    assert "unhealthy" in observed.detail
    assert any("500" in line for line in observed.untrusted_tail)
    assert second.deployment in here.running()


async def test_ended_releases_are_cleared_away_by_policy_and_those_of_others_never(here: World, tmp_path: Path) -> None:
    with world(here.host, tmp_path / "other") as other:
        foreign = await other.up("v1", keep_containers=1)
        await other.docker.stop(foreign)
        placed = await here.up("v1", keep_containers=2)
        history = [placed]
        for _ in range(4):
            placed = await here.up("v1", replaces=placed, keep_containers=2)
            history.append(placed)
        kept = {c["Config"]["Labels"]["dev.ops-mcp.deployment"] for c in here.containers()}
        assert kept == {p.deployment for p in history[-3:]}
        assert len(other.containers()) == 1


async def test_a_container_of_somebody_else_under_our_name_is_neither_taken_nor_touched(here: World) -> None:
    placed = here.placement(await here.release(here.binding(), "v1"))
    name = f"ops-mcp-{here.service}-staging-{placed.deployment}-1"
    with by_hand(here.host) as client:
        body = {"Image": f"{IMAGE}:v1", "Labels": {"mine": "yes"}}
        alien = client.post("/containers/create", params={"name": name}, json=body).json()["Id"]
        try:
            with pytest.raises(OpsError, match="conflicts"):
                await here.docker.deploy(placed, replaces=None, tell=here.tell)
            await here.docker.stop(placed)
            assert client.get(f"/containers/{alien}/json").json()["State"]["Status"] == "created"
        finally:
            client.delete(f"/containers/{alien}", params={"force": "1"})


async def test_a_paused_container_does_not_answer_and_can_be_stopped(here: World) -> None:
    placed = await here.up("v1")
    with by_hand(here.host) as client:
        client.post(f"/containers/{here.of(placed)[0]['Id']}/pause")
    observed = await here.docker.status(placed)
    assert (observed.answers, observed.detail) == (False, "it is paused")
    assert (await here.docker.stop(placed)).presence is Presence.exited


async def test_a_container_is_confined_as_promised(here: World) -> None:
    placed = await here.up("v1", read_only=True)
    host = here.of(placed)[0]["HostConfig"]
    assert host["Privileged"] is False
    assert not host["CapAdd"]
    assert host["RestartPolicy"]["Name"] == "no"
    script = "grep -q '^NoNewPrivs:.1' /proc/self/status && grep -q '^CapEff:.00000000000004eb$' /proc/self/status"
    assert (await here.docker.probe_command(placed, CommandProbe(argv=("sh", "-c", script)))).healthy
    writes = CommandProbe(argv=("sh", "-c", "touch /tmp/here && ! touch /www/here 2>/dev/null"))
    assert (await here.docker.probe_command(placed, writes)).healthy
    other = await here.up("v1", user="65534:65534")
    script = "grep -q '^CapEff:.0000000000000000$' /proc/self/status && test $(id -u) = 65534"
    assert (await here.docker.probe_command(other, CommandProbe(argv=("sh", "-c", script)))).healthy


async def test_only_listed_paths_are_mounted_and_read_only_unless_listed_so(host: str, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "word").write_text("hello", encoding="utf-8")
    with world(host, tmp_path / "state", settings={"mounts": [str(shared)]}) as here:
        placed = await here.up("v1", mounts=[f"{shared}:/mnt"])
        argv = ("sh", "-c", "test $(cat /mnt/word) = hello && ! touch /mnt/new 2>/dev/null")
        assert (await here.docker.probe_command(placed, CommandProbe(argv=argv))).healthy
        for mounts in ([f"{shared}:/mnt:rw"], [f"{shared}/below:/mnt"], ["/etc:/mnt"]):
            refused = here.placement(await here.release(here.binding(mounts=mounts), "v1"))
            with pytest.raises(NotConfigured, match="mounts"):
                await here.docker.deploy(refused, replaces=None, tell=here.tell)


async def test_a_command_probe_runs_inside_and_is_judged_by_its_exit_code(here: World) -> None:
    placed = await here.up("v1")
    good = await here.docker.probe_command(placed, CommandProbe(argv=("sh", "-c", 'test "$VERSION" = v1; echo much; exit $?')))
    assert (good.healthy, good.evidence) == (True, "exit code 0")
    bad = await here.docker.probe_command(placed, CommandProbe(argv=("sh", "-c", "exit 4")))
    assert (bad.healthy, bad.evidence) == (False, "exit code 4")
    missing = await here.docker.probe_command(placed, CommandProbe(argv=("/no/such/thing",)))
    assert missing.healthy is False
    slow = await here.docker.probe_command(placed, CommandProbe(argv=("sleep", "30"), timeout_seconds=0.5))
    assert (slow.healthy, slow.evidence) == (False, "did not end in time")
    await here.docker.stop(placed)
    with pytest.raises(NotFound, match="runs"):
        await here.docker.probe_command(placed, CommandProbe(argv=("true",)))


async def test_a_binding_without_port_is_probed_by_its_command_before_it_takes_over(here: World) -> None:
    binding = here.binding(port=None)
    health = binding.health.evolve(probe=CommandProbe(argv=("sh", "-c", "test $VERSION = v1")), verify_seconds=2)
    binding = binding.evolve(health=health)
    first = here.placement(await here.release(binding, "v1"))
    await here.docker.deploy(first, replaces=None, tell=here.tell)
    second = here.placement(await here.release(binding, "v2"))
    with pytest.raises(ProviderError, match=r"did not take over.*exit code 1"):
        await here.docker.deploy(second, replaces=first, tell=here.tell)
    assert (await here.docker.status(first)).answers is None


async def test_secrets_reach_the_container_and_nothing_that_is_told(here: World) -> None:
    here.secrets["key"] = "s3cret-value-of-the-key"
    binding = here.binding(env={"PLAIN": "yes"}, secrets={"KEY": "key"}, command=["/no/such/program/s3cret-value-of-the-key"])
    refused = here.placement(await here.release(binding, "v1"))
    with pytest.raises(ProviderError) as caught:
        await here.docker.deploy(refused, replaces=None, tell=here.tell)
    said = json.dumps([caught.value.message, caught.value.hint, caught.value.details, here.told])
    assert "s3cret" not in said
    fine = here.binding(env={"PLAIN": "yes"}, secrets={"KEY": "key"})
    placed = here.placement(await here.release(fine, "v1"))
    observed = await here.docker.deploy(placed, replaces=None, tell=here.tell)
    assert "s3cret" not in observed.model_dump_json() + placed.model_dump_json()
    assert "KEY=s3cret-value-of-the-key" in here.of(placed)[0]["Config"]["Env"]
    assert "s3cret" not in json.dumps(here.of(placed)[0]["Config"]["Labels"])


async def test_a_secret_that_is_missing_is_said_before_anything_is_made_and_does_not_hinder_an_undo(here: World) -> None:
    here.secrets["key"] = "value-of-the-key"
    binding = here.binding(secrets={"KEY": "key"})
    first = here.placement(await here.release(binding, "v1"))
    await here.docker.deploy(first, replaces=None, tell=here.tell)
    second = await here.up("v2", replaces=first)
    here.secrets.clear()
    with pytest.raises(NotConfigured, match="not set"):
        await here.docker.deploy(here.placement(first.release), replaces=second, tell=here.tell)
    assert len(here.containers()) == 2
    await here.docker.rollback(first, restores=first, ends=second, tell=here.tell)
    assert here.running() == [first.deployment]


async def test_lines_come_newest_first_in_pages_that_lose_and_repeat_nothing(here: World) -> None:
    script = (
        "i=0; while [ $i -lt 1200 ]; do echo line $i; [ $((i % 100)) = 0 ] && echo ERROR bad $i >&2; i=$((i+1)); done; sleep 60"
    )
    placed = await here.up("v1", command=["sh", "-c", script], port=None)
    await _until_logged(here, placed, "line 1199")
    seen: list[str] = []
    query = LogQuery(limit=170)
    while True:
        page = await here.docker.logs(placed, query)
        seen += [line.text for line in page.items]
        times = [line.at for line in page.items if line.at is not None]
        assert times == sorted(times, reverse=True)
        if page.next_cursor is None:
            break
        query = query.evolve(cursor=page.next_cursor)
    plain = [text for text in seen if text.startswith("line")]
    assert plain == [f"line {i}" for i in range(1199, -1, -1)]
    bad = await here.docker.logs(placed, LogQuery(severity=Severity.error))
    assert [(line.text, line.origin) for line in bad.items] == [(f"ERROR bad {i}", "stderr") for i in range(1100, -1, -100)]
    found = await here.docker.logs(placed, LogQuery(text="LINE 77", limit=5))
    assert [line.text for line in found.items] == ["line 779", "line 778", "line 777", "line 776", "line 775"]
    middle = (await here.docker.logs(placed, LogQuery(text="line 600"))).items[0].at
    assert middle is not None
    until = await here.docker.logs(placed, LogQuery(until=middle, limit=1))
    assert until.items[0].text != "line 600"
    since = await here.docker.logs(placed, LogQuery(since=middle, limit=1000))
    assert "line 600" in [line.text for line in since.items]
    assert "line 500" not in [line.text for line in since.items]
    with pytest.raises(InvalidArguments, match="cursor"):
        await here.docker.logs(placed, LogQuery(cursor="elsewhere"))


async def test_a_line_longer_than_the_engine_keeps_whole_is_joined_again(here: World) -> None:
    script = 'awk \'BEGIN { for (i = 0; i < 10000; i++) printf "abc"; print ""; print "short" }\'; sleep 60'
    placed = await here.up("v1", command=["sh", "-c", script], port=None)
    await _until_logged(here, placed, "short")
    newest, whole = (await here.docker.logs(placed, LogQuery(limit=2))).items
    assert newest.text == "short"
    assert whole.text == "abc" * 10000


async def test_pages_lose_no_long_line_although_the_engine_counts_each_as_several(here: World) -> None:
    script = "awk 'BEGIN { for (i = 0; i < 17000; i++) x = x \"y\"; for (i = 0; i < 300; i++) print x i }'; echo last; sleep 60"
    placed = await here.up("v1", command=["sh", "-c", script], port=None)
    await _until_logged(here, placed, "last")
    seen: list[str] = []
    query = LogQuery(limit=120, text="yy")
    while True:
        page = await here.docker.logs(placed, query)
        seen += [line.text for line in page.items]
        if page.next_cursor is None:
            break
        query = query.evolve(cursor=page.next_cursor)
        assert sum(len(line.text) for line in page.items) <= 1 << 20
    assert seen == ["y" * 17000 + str(i) for i in range(299, -1, -1)]
    found = await here.docker.logs(placed, LogQuery(text="yy5"))
    assert [line.text.strip("y") for line in found.items] == [*map(str, range(59, 49, -1)), "5"]


async def test_lines_of_all_replicas_are_merged_and_say_whose_they_are(here: World) -> None:
    placed = await here.up("v1", replicas=2)
    page = await here.docker.logs(placed, LogQuery())
    assert {line.origin for line in page.items} == {"stdout", "stderr", "stdout of replica 2", "stderr of replica 2"}
    await here.docker.stop(placed)
    assert any(line.text == "ending" for line in (await here.docker.logs(placed, LogQuery())).items)
    with pytest.raises(NotFound, match="lines are gone"):
        await here.docker.logs(here.placement(placed.release), LogQuery())


async def test_what_a_container_uses_is_measured(here: World) -> None:
    placed = await here.up("v1", command=["sh", "-c", "while :; do :; done"], port=None, memory_bytes=32 << 20)
    found = {sample.name: sample.value for sample in await here.docker.measure(placed)}
    assert found["cpu_cores"] > 0.2
    assert found["cpu_percent"] == pytest.approx(found["cpu_cores"] * 100, rel=0.01)
    assert 0 < found["memory_bytes"] < 32 << 20
    assert found["memory_limit_bytes"] == 32 << 20
    assert found["pids"] == 1
    await here.docker.stop(placed)
    assert await here.docker.measure(placed) == ()


async def test_a_release_is_promoted_as_the_very_image_that_runs_elsewhere(here: World) -> None:
    staging = await here.up("v2")
    binding = here.binding().evolve(environment="production")
    release = staging.release.evolve(binding=binding)
    placed = here.placement(release)
    observed = await here.docker.promote(placed, origin=staging, replaces=None, tell=here.tell)
    assert await body_of(observed.url or "") == "v2"
    assert here.of(placed)[0]["Image"] == here.of(staging)[0]["Image"]
    assert set(here.running()) == {staging.deployment, placed.deployment}


async def test_cancelling_a_deployment_leaves_nothing_that_a_stop_does_not_end(here: World) -> None:
    release = await here.release(here.binding(), "v1")
    for after in (0.02, 0.1, 0.3):
        placed = here.placement(release)
        with anyio.move_on_after(after):
            await here.docker.deploy(placed, replaces=None, tell=here.tell)
        await here.docker.stop(placed)
        assert placed.deployment not in here.running()


async def test_an_engine_that_is_not_there_is_a_temporary_error(here: World, tmp_path: Path) -> None:
    with world(here.host, tmp_path / "x") as other:
        placed = await other.up("v1")
        other.settings["host"] = f"unix://{tmp_path}/nobody.sock"
        lost = other.provider()
        with pytest.raises(ProviderError, match="cannot be asked") as caught:
            await lost.stop(placed)
        assert caught.value.temporary


async def test_every_request_was_held_against_the_published_description(here: World) -> None:
    if SPEC is None:
        pytest.skip("the Engine API's description is not beside the project (../shared/specs)")
    before = sum(SPEC.checked.values())
    await here.docker.stop(await here.up("v1"))
    assert sum(SPEC.checked.values()) > before
    assert {"post /containers/create", "post /containers/{id}/start", "get /containers/{id}/json"} <= SPEC.checked.keys()


def _configuration(container: dict[str, object]) -> object:
    """All that was asked for, without what names the deployment."""
    config = dict(container["Config"])  # type: ignore[call-overload]
    labels = {k: v for k, v in config.pop("Labels").items() if k.rpartition(".")[2] not in ("deployment", "group")}
    env = sorted(e for e in config.pop("Env") if not e.startswith("OPS_MCP_DEPLOYMENT="))
    config.pop("Hostname")
    return config, labels, env, container["HostConfig"]


async def _until_logged(here: World, placed: Placement, text: str) -> None:
    ends_at = anyio.current_time() + 20
    while not (await here.docker.logs(placed, LogQuery(text=text, limit=1))).items:
        assert anyio.current_time() < ends_at
        await anyio.sleep(0.1)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def test_the_doctor_is_told_that_the_engine_answers(here: World) -> None:
    assert (await here.docker.reach(here.binding())).startswith("the engine answers, API 1.")
