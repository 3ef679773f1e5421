"""What happened between readings: waits, faults, heat, clocks and throttling."""

import dataclasses

import pytest

from ortolan.errors import ManifestError
from ortolan_bench.sensors import Machine, Reading, Usage, read, usage, usage_from_json, usage_to_json
from ortolan_bench.sensors.thermal import COOLING

THERMAL = "sys/class/thermal"


def reading(**changes):
    values = {"total_s": 0.0, "busy_s": 0.0, "stolen_s": 0.0, "swapped_pages": 0, "own_s": 0.0}
    return Reading(**{**values, **changes})


def between(before, after):
    return usage(reading(**before), reading(**after), 0.0)


def test_waits_and_faults_of_the_worker(computer, worker):
    """All its threads together, since the reading before."""
    before = read(computer("pi-4"), worker)
    changes = {
        f"proc/{worker}/task/{worker + 1}/schedstat": "2000000000 60000000 99\n",
        f"proc/{worker}/stat": f"{worker} (python3) S 1 1 1 0 -1 0 5100 0 7 0 100 20\n",
    }
    found = usage(before, read(computer("pi-4", changes), worker), 1.0)
    assert (found.waited_s, found.major_faults, found.minor_faults) == (pytest.approx(0.05), 4, 100)


@pytest.mark.parametrize(
    ("cgroup", "path", "rows"),
    [
        ("0::/\n", "sys/fs/cgroup/cpu.stat", "usage_usec 9\nnr_throttled 3\nthrottled_usec {micro}\n"),
        ("3:cpu,cpuacct:/\n", "sys/fs/cgroup/cpu,cpuacct/cpu.stat", "nr_periods 9\nthrottled_time {micro}000\n"),
    ],
)
def test_a_quota_that_is_used_up(computer, cgroup, path, rows):
    """Both versions of control groups count the time a container was stopped for it."""
    before = read(computer("container", {"proc/self/cgroup": cgroup, path: rows.format(micro=100_000)}))
    after = read(computer("container", {path: rows.format(micro=350_000)}))
    assert usage(before, after, 0.0).stopped_s == pytest.approx(0.25)
    assert read(computer("container", {path: "nr_throttled\nthrottled_usec x\n"})).stopped_s is None


@pytest.mark.parametrize("changes", [{"schedstat": "x y z\n"}, {"schedstat": ""}])
def test_a_kernel_without_schedstat(computer, worker, changes):
    """The wait is unknown."""
    files = {f"proc/{worker}/task/{number}/schedstat": changes["schedstat"] for number in (worker, worker + 1)}
    assert read(computer("pi-4", files), worker).waited_s is None


def test_a_process_that_is_gone(computer):
    """Nothing is known of it."""
    found = read(computer("pi-4"), 9999)
    assert (found.waited_s, found.major_faults) == (None, None)


def test_temperature_before_during_and_after():
    """The first, the highest at any end, the last."""
    first = between({"temperature_c": 45.0}, {"temperature_c": 80.0})
    second = between({"temperature_c": 75.0}, {"temperature_c": 70.0})
    total = Usage() + first + second + between({}, {})
    assert (total.temperature_first_c, total.temperature_highest_c, total.temperature_last_c) == (45.0, 80.0, 70.0)


def test_clock_of_the_fastest_core_at_each_blocks_end():
    """The other clusters may idle; before a block all may."""
    blocks = [
        between({"clocks_hz": (600_000_000,)}, {"clocks_hz": (600_000_000, 1_800_000_000)}),
        between({}, {"clocks_hz": (1_200_000_000,)}),
        between({}, {}),
    ]
    assert sum(blocks, Usage()).clocks_hz == (1_800_000_000, 1_200_000_000)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"throttling": frozenset()}, {"throttling": frozenset({"throttled"})}, ("throttled",)),
        ({"throttling": frozenset({"clock capped"})}, {"throttling": frozenset()}, ("clock capped",)),
        (
            {},
            {"latched_throttling": frozenset({"throttled"})},
            ("throttled",),
        ),
        (
            {"throttle_events": (("thermal throttling", 5),)},
            {"throttle_events": (("thermal throttling", 6),)},
            ("thermal throttling",),
        ),
    ],
)
def test_throttling_at_either_end_or_remembered(before, after, expected):
    """Firmware bits and counts remember what came and went between the readings."""
    known = {"throttling": frozenset()}
    assert between({**known, **before}, {**known, **after}).throttling == expected


def test_the_readings_themselves_are_not_timed():
    """From the end of one to the beginning of the next."""
    found = between({"began_s": 1.0, "ended_s": 1.5}, {"began_s": 3.5, "ended_s": 9.0})
    assert found.seconds == 2.0


def test_throttling_long_ago_is_not_of_this_block():
    """Bits latched and events counted before the block say nothing about it."""
    old = {
        "throttling": frozenset(),
        "latched_throttling": frozenset({"throttled"}),
        "throttle_events": (("thermal throttling", 95),),
    }
    assert between(old, old).throttling == ()


def test_firmware_word_is_read_as_hexadecimal(computer):
    """0x50005: under-voltage and throttled, now and since the start."""
    root = computer("pi-4", {"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n"})
    found = read(root)
    assert found.throttling == found.latched_throttling == {"under-voltage", "throttled"}


def test_the_alarm_of_the_supply_counts_without_the_firmware_word(computer):
    """Mainline kernels have the alarm only."""
    changes = {"sys/devices/platform/soc/soc:firmware/get_throttled": None}
    root = computer("pi-4", {**changes, "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"})
    assert read(root).throttling == {"under-voltage"}


def test_a_clock_lowered_by_the_kernel_for_heat(computer):
    """The cpufreq cooling device is at work."""
    assert read(computer("pi-4", {f"{THERMAL}/cooling_device0/cur_state": "1\n"})).throttling == {COOLING}


def test_passive_cooling_of_acpi(computer):
    """A laptop's kernel lowers the clock through a device called Processor; offsets and fans are none."""
    assert read(computer("x86-laptop", {f"{THERMAL}/cooling_device0/cur_state": "2\n"})).throttling == {COOLING}


def test_cooling_devices_that_say_nothing_of_the_processor(computer):
    """In a container that hides the throttle counts the state is unknown, not good."""
    files = {f"{THERMAL}/cooling_device8/type": "TCC Offset\n", f"{THERMAL}/cooling_device8/cur_state": "10\n"}
    assert read(computer("container", files)).throttling is None


@pytest.mark.parametrize("answer", ["", "throttled=\n", "throttled=0xZZ\n", "VCHI initialization failed\n"])
def test_vcgencmd_that_says_nonsense(computer, vcgencmd, answer):
    """The word is unknown; the alarm still tells."""
    vcgencmd.answers["get_throttled"] = answer
    assert Machine(computer("pi-5"), vcgencmd=vcgencmd).read().throttling == frozenset()


@pytest.mark.parametrize("shown", ["0\n", "-5\n", "99999999999\n", "<unknown>\n"])
def test_a_clock_that_cannot_be(computer, shown):
    """cpufreq shows <unknown> where the driver cannot tell; zero and ten terahertz are lies."""
    assert read(computer("pi-4", {"sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": shown})).clocks_hz == ()


def test_json_and_back(computer, worker):
    """Every field survives."""
    before = Machine(computer("x86-laptop"), clock=lambda: 1.0).read(worker)
    changes = {
        "sys/class/powercap/intel-rapl:0/energy_uj": "26993529117\n",
        "sys/class/powercap/intel-rapl:0:2/energy_uj": "4002000000\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
    }
    found = usage(before, Machine(computer("x86-laptop", changes), clock=lambda: 3.0).read(worker), 1.5)
    value = usage_to_json(found)
    assert value["energy"]["joules"] == pytest.approx(32.0)
    assert value["throttling"] == ["thermal throttling"]
    assert usage_from_json(value, "conditions") == found


@pytest.mark.parametrize("empty", [Usage(), Usage(seconds=1.0, counted_j=None), Usage(meter="rail", power_samples=3)])
def test_json_of_the_unknown_and_back(empty):
    """No block, no meter, a meter with too few samples."""
    assert usage_from_json(usage_to_json(empty), "conditions") == empty


def test_every_field_of_a_usage_is_in_the_json():
    """None was forgotten: a usage that differs in one field differs in JSON."""
    for field in dataclasses.fields(Usage):
        other = {"clocks_hz": (5,), "throttling": ("throttled",), "meter": "rail"}.get(field.name, 3)
        base = Usage(meter="meter", seconds=1.0)
        assert usage_to_json(dataclasses.replace(base, **{field.name: other})) != usage_to_json(base), field.name


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("seconds",), -1, "conditions.seconds: expected 0 to 1e+12, got -1"),
        (("seconds",), float("inf"), "conditions.seconds: expected 0 to 1e+12, got inf"),
        (("seconds",), float("nan"), "conditions.seconds: expected 0 to 1e+12, got nan"),
        (("seconds",), "5", "conditions.seconds: expected number, got str"),
        (("cpu_s", "total"), True, "conditions.cpu_s.total: expected number, got bool"),
        (("cpu_s",), [], "conditions.cpu_s: expected object, got array"),
        (("energy", "counted_j"), -3.0, "conditions.energy.counted_j: expected 0 to 1e+12, got -3"),
        (("energy", "joules"), 1.0, "conditions.energy.joules: expected 32.0 as metered, got 1.0: changed by hand"),
        (("energy", "watts"), None, "conditions.energy.watts: expected 16.0 as metered, got None: changed by hand"),
        (("temperature_c", "last"), -300, "conditions.temperature_c.last: expected -273.15 to 1000, got -300"),
        (("clocks_hz",), [0], "conditions.clocks_hz[0]: expected 1 to 9007199254740992, got 0"),
        (("throttling",), [3], "conditions.throttling[0]: expected str, got int"),
        (("swapped_pages",), 1.5, "conditions.swapped_pages: expected int, got float"),
        (("more",), 1, "conditions.more: unknown key"),
    ],
)
def test_conditions_changed_by_hand_are_refused(path, value, message):
    """The error names the place."""
    found = usage_to_json(Usage(seconds=2.0, counted_j=32.0, meter="RAPL package-0"))
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ManifestError) as caught:
        usage_from_json(found, "conditions")
    assert message in str(caught.value)


def test_missing_conditions_are_refused():
    """A key that is gone is named."""
    found = usage_to_json(Usage())
    del found["load_highest"]
    with pytest.raises(ManifestError, match=r"conditions\.load_highest: missing"):
        usage_from_json(found, "conditions")
