"""Meters that only show watts, and the thread that samples them."""

import threading

import pytest

from ortolan_bench.sensors import Machine, PowerSamples, Reading, Usage, usage
from ortolan_bench.sensors.power import PowerMeter, PowerSampler, find_power_meter, find_vcgencmd, pmic_watts
from ortolan_bench.sensors.usage import MIN_POWER_SAMPLES

HWMON = "sys/class/hwmon"


def test_orin_nano_is_metered_at_its_input(computer):
    """VDD_IN holds the other rails: adding them would count twice."""
    meter = find_power_meter(str(computer("orin-nano")), None)
    assert meter.name == "INA3221 VDD_IN"
    assert meter.watts() == pytest.approx(4.952 * 0.944)


def test_agx_orin_has_no_input_rail(computer):
    """Its three supply rails are added, over two monitors of which one has channels switched off."""
    changes = {f"{HWMON}/hwmon1/{name}_label": None for name in ("in1", "in2", "in3")}
    rails = [("hwmon1", 1, "VDD_GPU_SOC", 19000, 200), ("hwmon1", 2, "VDD_CPU_CV", 19000, 40)]
    for chip, channel, label, millivolts, milliamperes in [*rails, ("hwmon5", 2, "VIN_SYS_5V0", 5000, 600)]:
        home = f"{HWMON}/{chip}"
        changes |= {f"{home}/in{channel}_label": label, f"{home}/in{channel}_input": str(millivolts)}
        changes |= {f"{home}/name": "ina3221\n", f"{home}/curr{channel}_input": str(milliamperes)}
    meter = find_power_meter(str(computer("orin-nano", changes)), None)
    assert meter.name == "INA3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    assert meter.watts() == pytest.approx(3.8 + 0.76 + 3.0)


@pytest.mark.parametrize(
    "changes",
    [
        {f"{HWMON}/hwmon1/curr1_input": "-12\n"},
        {f"{HWMON}/hwmon1/curr1_input": "0\n"},
        {f"{HWMON}/hwmon1/in1_input": None},
        {f"{HWMON}/hwmon1/in1_input": "50000000\n"},
        {f"{HWMON}/hwmon1/in1_label": None},
        {f"{HWMON}/hwmon1/name": "ina219\n"},
    ],
)
def test_a_monitor_that_shows_nonsense_is_no_meter(computer, changes):
    """Negative, zero, missing or absurd figures, no known rail, another chip."""
    assert find_power_meter(str(computer("orin-nano", changes)), None) is None


def test_pi_5_adds_the_rails_that_have_both_figures(computer, vcgencmd):
    """Twelve rails; the input and the battery have no current. The sum was checked with awk."""
    meter = find_power_meter(str(computer("pi-5")), vcgencmd)
    assert meter.name.startswith("PMIC rails")
    assert meter.watts() == pytest.approx(7.23982, abs=1e-5)


@pytest.mark.parametrize(
    "shown",
    [
        "",
        'error=1 error_msg="Command not registered"\n',
        "VDD_CORE_A current(7)=1.0A\nEXT5V_V volt(24)=5.0V\n",
        "VDD_CORE_A current(7)=0.0A\nVDD_CORE_V volt(15)=0.9V\n",
        "VDD_CORE_A current(7)=-1.0A\nVDD_CORE_V volt(15)=0.9V\n",
        "VDD_CORE_A current(7)=nanA\nVDD_CORE_V volt(15)=0.9V\n",
        "VDD_CORE_A current(7)=999999.0A\nVDD_CORE_V volt(15)=0.9V\n",
    ],
)
def test_pmic_without_watts(shown):
    """A Pi 4 does not know the command; unpaired, zero, negative and absurd figures are no power."""
    assert pmic_watts(shown) is None


def test_the_shorter_form_of_the_pmic():
    """Without channel numbers it reads the same."""
    assert pmic_watts("VDD_CORE_A=2.0A\nVDD_CORE_V=0.8V\n") == pytest.approx(1.6)


def test_a_laptop_needs_no_sampling(computer, vcgencmd):
    """What counts is better than what is sampled."""
    with Machine(computer("x86-laptop"), vcgencmd=vcgencmd) as machine:
        assert machine.read().power is None
    assert "pmic_read_adc" not in vcgencmd.asked


def test_samples_are_taken_in_the_background_until_closed(computer):
    """The thread ends with the context; without it nothing is sampled."""
    machine = Machine(computer("orin-nano"))
    assert machine.read().power is None
    with machine:
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "power sampler"]
        assert machine.read().power.meter == "INA3221 VDD_IN"
    assert not thread.is_alive()
    assert machine.read().power is None


def test_nonsense_among_the_samples_is_left_out():
    """The mean is over what the meter really showed."""
    shown, taken = [5.0, None, 7.0], threading.Event()

    def watts():
        if not shown:
            taken.set()
            return None
        return shown.pop(0)

    sampler = PowerSampler(PowerMeter("rail", watts, 0.001))
    try:
        assert taken.wait(30)
        assert sampler.samples() == PowerSamples("rail", 12.0, 2)
    finally:
        sampler.close()


def reading(moment_s, sum_w, count):
    power = PowerSamples("rail", sum_w, count)
    return Reading(
        total_s=None,
        busy_s=None,
        stolen_s=None,
        swapped_pages=None,
        own_s=0.0,
        began_s=moment_s,
        ended_s=moment_s,
        power=power,
    )


def test_energy_is_the_mean_power_over_the_timed_seconds():
    """Samples between the blocks, when the machine is idle, do not count."""
    first = usage(reading(0.0, 0.0, 0), reading(2.0, 60.0, 6), 0.0)
    second = usage(reading(5.0, 70.0, 9), reading(7.0, 130.0, 15), 0.0)
    total = Usage() + first + second
    assert (total.power_samples, total.sampled_w, total.seconds) == (12, 120.0, 4.0)
    assert (total.energy_j, total.power_w, total.meter) == (pytest.approx(40.0), pytest.approx(10.0), "rail")


def test_a_block_between_two_samples_does_not_spoil_the_sum():
    """It is shorter than the sampling interval; the others speak for it."""
    first = usage(reading(0.0, 0.0, 0), reading(2.0, 120.0, 12), 0.0)
    short = usage(reading(3.0, 130.0, 13), reading(3.05, 130.0, 13), 0.0)
    assert (first + short).power_w == pytest.approx(10.0)


def test_few_samples_are_no_figure():
    """The meter is named, the energy unknown."""
    found = usage(reading(0.0, 0.0, 0), reading(1.0, 5.0, MIN_POWER_SAMPLES - 1), 0.0)
    assert (found.meter, found.energy_j) == ("rail", None)


def test_vcgencmd_that_fails_shows_nothing(tmp_path, monkeypatch):
    """A status, a crash or a hang is an empty answer; without the program there is none to ask."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_vcgencmd() is None
    program = tmp_path / "vcgencmd"
    program.write_text("#!/bin/sh\necho throttled=0x0\n[ $1 = get_throttled ]\n")
    program.chmod(0o755)
    ask = find_vcgencmd()
    assert (ask("get_throttled"), ask("pmic_read_adc")) == ("throttled=0x0\n", "")
    program.write_text("no program at all")
    assert ask("get_throttled") == ""
