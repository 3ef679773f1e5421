"""The record that lets somebody else repeat a run."""

import json
from datetime import datetime, timezone

import pytest

from ortolan.hardware.probe import probe, probe_state
from ortolan_bench.environment import libraries, record


def environment(root, **changes):
    values = {
        "hardware": probe(root),
        "state": probe_state(root),
        "runtime_id": "onnxruntime 1.32.0",
        "numpy_version": "2.0.0",
        "command": ["ortolan", "bench", "x.bundle"],
        "started": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        "root": root,
    }
    return record(**{**values, **changes})


def test_orin_nano(computer):
    """Board, power mode, clocks of processor, GPU and memory, L4T and CUDA."""
    found = environment(computer("orin-nano"), variants={"int8": "d" * 64})
    assert found["hardware"]["board"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found["hardware"]["drivers"] == {"l4t": "36.4.3"}
    assert (found["power"]["mode"], found["power"]["jetson_clocks"], found["cuda"]) == ("15W", False, "12.6.11")
    assert found["clocks"][1] == {
        "cores": [4, 5],
        "governor": "schedutil",
        "driver": "tegra194",
        "energy_preference": None,
        "min_hz": 729_600_000,
        "max_hz": 1_510_400_000,
    }
    assert found["device_clocks"] == [
        {
            "device": "17000000.gpu",
            "governor": "nvhost_podgov",
            "min_hz": 306_000_000,
            "max_hz": 624_750_000,
            "cur_hz": 306_000_000,
            "highest_hz": 624_750_000,
        },
        {
            "device": "emc",
            "governor": "free",
            "min_hz": 204_000_000,
            "max_hz": 2_133_000_000,
            "cur_hz": 665_600_000,
            "highest_hz": None,
        },
    ]
    assert found["variants"] == {"int8": "d" * 64}


def test_jetson_clocks_holds_every_clock_at_its_limit(computer):
    """That is how it shows; a GPU that is free to slow down means it is off."""
    held = {f"sys/devices/system/cpu/cpufreq/policy{number}/scaling_min_freq": "1510400\n" for number in (0, 4)}
    gpu = {"sys/class/devfreq/17000000.gpu/min_freq": "624750000\n"}
    assert environment(computer("orin-nano", {**held, **gpu}))["power"]["jetson_clocks"] is True
    gpu = {"sys/class/devfreq/17000000.gpu/min_freq": "306000000\n"}
    assert environment(computer("orin-nano", {**held, **gpu}))["power"]["jetson_clocks"] is False


def test_memory_cap_that_everybody_may_read(computer):
    """The firmware's debug files are root's; nvpmodel's cap is not."""
    debug = "sys/kernel/debug/bpmp/debug/clk/emc"
    hidden = {f"{debug}/{name}": None for name in ("rate", "min_rate", "max_rate", "mrq_rate_locked")}
    root = computer("orin-nano", {**hidden, "sys/kernel/nvpmodel_clk_cap/emc": "2133000000\n"})
    emc = environment(root)["device_clocks"][-1]
    assert (emc["device"], emc["max_hz"], emc["cur_hz"], emc["governor"]) == ("emc", 2_133_000_000, None, None)


def test_x86_laptop(computer):
    """Turbo, profile, battery, hyper-threading and energy preference decide as much as the governor does."""
    found = environment(computer("x86-laptop"))
    assert found["power"] == {
        "mode": None,
        "jetson_clocks": None,
        "turbo": True,
        "profile": "balanced",
        "mains": False,
        "smt": True,
    }
    assert found["clocks"][0]["energy_preference"] == "balance_performance"
    assert (found["hypervisor"], found["container"]) == (None, None)
    assert found["memory"] == {"swap_bytes": 102396 * 1024, "swappiness": 60, "transparent_hugepages": "madvise"}


@pytest.mark.parametrize(("boost", "turbo"), [("1\n", True), ("0\n", False)])
def test_turbo_of_other_drivers(computer, boost, turbo):
    """acpi-cpufreq and AMD call it boost."""
    assert environment(computer("pi-4", {"sys/devices/system/cpu/cpufreq/boost": boost}))["power"]["turbo"] is turbo


def test_pi_4(computer):
    """Board, governor, system."""
    found = environment(computer("pi-4"))
    assert found["hardware"]["board"] == "Raspberry Pi 4 Model B Rev 1.5"
    assert (found["clocks"][0]["governor"], found["clocks"][0]["cores"]) == ("ondemand", [0, 1, 2, 3])
    assert found["system"] == "Debian GNU/Linux 12 (bookworm)"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({}, None),
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"run/systemd/container": "lxc\n"}, "lxc"),
    ],
)
def test_containers(computer, files, name):
    """An empty mark is enough."""
    assert environment(computer("pi-4", files))["container"] == name


def test_virtual_machine(computer):
    """The firmware's vendor, or at least that there is one."""
    assert environment(computer("vm"))["hypervisor"] == "QEMU"
    assert environment(computer("vm", {"sys/class/dmi/id/sys_vendor": None}))["hypervisor"] == "unknown"


def test_variables_that_matter_and_no_others(computer, monkeypatch):
    """What changes the libraries is recorded; secrets in the environment are nobody's business."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("API_TOKEN", "secret")
    found = environment(computer("pi-4"))
    assert found["variables"]["OMP_NUM_THREADS"] == "1"
    assert "secret" not in json.dumps(found)


def test_versions_of_this_python_or_of_a_worker(computer):
    """A worker in another environment says its own."""
    assert libraries(["numpy", "no-such-distribution"]).keys() == {"numpy"}
    assert environment(computer("pi-4"))["libraries"]["numpy"]
    assert environment(computer("pi-4"), versions={"numpy": "1.0"})["libraries"] == {"numpy": "1.0"}


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"cuda": {"version": 12}}', '{"cuda": "12"}'])
def test_cuda_that_does_not_say(computer, content):
    """A damaged file is unknown."""
    assert environment(computer("orin-nano", {"usr/local/cuda/version.json": content}))["cuda"] is None


def test_nothing_at_all(tmp_path):
    """Without /proc and /sys the record is still JSON, and says null."""
    found = environment(tmp_path)
    json.dumps(found, allow_nan=False)
    assert (found["clocks"], found["device_clocks"], found["system"]) == ([], [], None)
    assert found["power"]["turbo"] is None
