"""Meters that count joules, and how they lie."""

import pytest

from ortolan_bench.sensors import EnergyCounter, Machine, read, usage
from ortolan_bench.sensors.energy import counted


def package(joules, range_j=262143.0):
    return (EnergyCounter("package-0", joules, range_j),)


def test_joules_between_readings():
    """Meters of one machine are summed."""
    before = (EnergyCounter("package-0", 10.0, 100.0), EnergyCounter("dram 0", 1.0, 100.0))
    after = (EnergyCounter("package-0", 13.0, 100.0), EnergyCounter("dram 0", 1.5, 100.0))
    assert counted(before, after, 1.0) == pytest.approx(3.5)


def test_a_counter_that_wrapped():
    """It starts again from zero where it says."""
    assert counted(package(262140.0), package(2.0), 1.0) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("before", "after", "seconds"),
    [
        (package(10.0, None), package(3.0, None), 1.0),  # went back without saying where it wraps
        (package(10.0), package(10.0), 1.0),  # stands still
        (package(10.0), package(20010.0), 1.0),  # 20 kW
        (package(200000.0), package(100000.0), 1.0),  # reset: taken for a wrap, it would be 162 kW
        (package(10.0, 5.0), package(2.0, 5.0), 1.0),  # wraps below what it showed
        (package(10.0), (), 1.0),  # gone
        ((), package(10.0), 1.0),  # has only just come
        ((EnergyCounter("package-1", 1.0, None),), package(10.0), 1.0),  # another one
    ],
)
def test_a_lying_meter_is_not_believed(before, after, seconds):
    """Its energy is unknown, not wrong."""
    assert counted(before, after, seconds) is None


def test_a_counter_may_rest_for_a_moment():
    """It counts in steps of about a millisecond."""
    assert counted(package(10.0), package(10.0), 0.001) == 0.0


@pytest.mark.parametrize("shown", ["-5", "", "x", "999999999999999", None])
def test_a_package_that_shows_nonsense_hides_all(computer, shown):
    """Half of the energy would look like a good figure. Text, negatives and what is beyond its range do not count."""
    assert read(computer("x86-laptop", {"sys/class/powercap/intel-rapl:0/energy_uj": shown})).energy == ()


def test_a_second_package_that_cannot_be_read_hides_the_first(computer):
    """Two sockets: the run may have been on either."""
    second = "sys/class/powercap/intel-rapl:2"
    reading = read(computer("x86-laptop", {f"{second}/name": "package-1\n"}))
    assert reading.energy == ()


def test_memory_that_cannot_be_read_is_left_out(computer):
    """The package alone is a figure of its own, and the meter's name says so."""
    reading = read(computer("x86-laptop", {"sys/class/powercap/intel-rapl:0:2/energy_uj": None}))
    assert [meter.name for meter in reading.energy] == ["package-0"]


def test_without_a_range_a_wrap_is_unknown(computer):
    """Zero and nonsense are no range."""
    home = "sys/class/powercap/intel-rapl:0"
    reading = read(computer("x86-laptop", {f"{home}/max_energy_range_uj": "0\n"}))
    assert reading.energy[0].range_j is None


def test_a_counter_only_root_may_read_is_no_meter(computer):
    """Energy is unknown, and there is something to do about it."""
    root = computer("x86-laptop")
    assert Machine(root).advice() is None
    counter = root / "sys/class/powercap/intel-rapl:0/energy_uj"
    counter.unlink()
    counter.mkdir()  # it is there and cannot be read, for root too
    assert Machine(root).read().energy == ()
    assert Machine(root).advice() == (
        "energy is not measured: only root may read /sys/class/powercap/intel-rapl:0/energy_uj; run as root, or allow "
        "it until the next start with sudo chmod a+r /sys/class/powercap/*/energy_uj"
    )


@pytest.mark.parametrize("name", ["container", "vm", "pi-4", "orin-nano"])
def test_no_advice_where_there_is_no_counter(computer, name):
    """Masked or absent: nothing that a command would change."""
    assert Machine(computer(name)).advice() is None


def test_energy_of_a_block_and_its_meter(computer):
    """Joules, mean watts, and what was metered."""
    before = Machine(computer("x86-laptop"), clock=lambda: 1.0).read()
    changes = {
        "sys/class/powercap/intel-rapl:0/energy_uj": "26993529117\n",
        "sys/class/powercap/intel-rapl:0:2/energy_uj": "4002000000\n",
    }
    found = usage(before, Machine(computer("x86-laptop", changes), clock=lambda: 3.0).read(), 0.0)
    assert (found.energy_j, found.power_w) == (pytest.approx(32.0), pytest.approx(16.0))
    assert found.meter == "RAPL package-0 + dram 0"


def test_a_block_whose_meter_lied_spoils_the_sum(computer):
    """The energy of the others would be too little for all the runs."""
    reading = Machine(computer("x86-laptop"), clock=lambda: 1.0).read()
    stuck = usage(reading, Machine(computer("x86-laptop"), clock=lambda: 2.0).read(), 0.0)
    changes = {"sys/class/powercap/intel-rapl:0/energy_uj": "26993529117\n"}
    changes["sys/class/powercap/intel-rapl:0:2/energy_uj"] = "4002000000\n"
    good = usage(reading, Machine(computer("x86-laptop", changes), clock=lambda: 3.0).read(), 0.0)
    assert (stuck.energy_j, (good + stuck).energy_j, (good + good).energy_j) == (None, None, pytest.approx(64.0))
