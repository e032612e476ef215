"""What a deployment's processes use, measured on real ones."""

import anyio
import pytest

from ops_mcp.ports import Metrics
from tests.providers.local.fakes import NOW, World, at

pytestmark = pytest.mark.anyio

BUSY = """
import subprocess, sys
held = bytearray(64 << 20)
subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"])
subprocess.Popen([sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"])
while True: pass
"""


async def test_memory_processor_and_processes_of_the_whole_tree_are_measured_without_the_keeper(anywhere: World) -> None:
    binding = anywhere.binding(anywhere.repository({"app.py": BUSY}), port=None)
    await anywhere.deploy(binding, "dep_1")
    assert isinstance(anywhere.local, Metrics)
    with anyio.fail_after(20):
        while await anywhere.texts(binding, "dep_1") != ["ready"]:
            await anyio.sleep(0.02)
    found = {sample.name: sample for sample in await anywhere.local.measure(at(binding, "dep_1"))}
    assert {sample.at for sample in found.values()} == {NOW}
    assert found["memory_bytes"].value > 64 << 20
    assert found["processes"].value == len(anywhere.tree("dep_1")) - 1
    assert found["cpu_percent"].value > 10
    later = {sample.name: sample for sample in await anywhere.local.measure(at(binding, "dep_1"))}
    assert later["cpu_seconds"].value > found["cpu_seconds"].value > 0.02


async def test_processor_time_of_children_that_have_ended_counts(plain: World) -> None:
    code = (
        "import subprocess, sys, time\n"
        "subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 1: pass'])\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    binding = plain.binding(plain.repository({"app.py": code}), port=None)
    await plain.deploy(binding, "dep_1")
    with anyio.fail_after(30):
        while await plain.texts(binding, "dep_1") != ["ready"]:
            await anyio.sleep(0.02)
    found = {sample.name: sample.value for sample in await plain.local.measure(at(binding, "dep_1"))}
    assert found["cpu_seconds"] >= 1
    assert found["cpu_percent"] < 50


async def test_a_clock_that_jumps_measures_no_percentage(plain: World) -> None:
    async def at_once(seconds: float) -> None:
        """Let the time pass."""

    plain.local.sleep = at_once
    binding = plain.binding("sample", run=[])
    await plain.up(binding, "dep_1")
    names = {sample.name for sample in await plain.local.measure(at(binding, "dep_1"))}
    assert names == {"cpu_seconds", "memory_bytes", "open_files", "processes", "started_at", "threads"}


async def test_what_does_not_run_has_no_measurements(plain: World) -> None:
    binding = plain.binding("sample", run=[])
    assert await plain.local.measure(at(binding, "dep_1")) == ()
    await plain.up(binding, "dep_1")
    await plain.local.stop(at(binding, "dep_1"))
    assert await plain.local.measure(at(binding, "dep_1")) == ()
