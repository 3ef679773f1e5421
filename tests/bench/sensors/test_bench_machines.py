"""What each kind of machine shows, and what it hides."""

import os
import subprocess
import sys

import pytest

from ortolan_bench.sensors import Machine, read, usage
from ortolan_bench.validity import Evidence, judge


def test_pi_4(computer, worker):
    """Thermometer, clock, firmware word and alarm; no meter."""
    reading = read(computer("pi-4"), worker)
    assert (reading.temperature_c, reading.clocks_hz, reading.load) == (54.5, (1_800_000_000,), 0.31)
    assert reading.throttling == frozenset()
    assert (reading.energy, reading.power) == ((), None)
    assert (reading.major_faults, reading.minor_faults, reading.waited_s) == (3, 5000, pytest.approx(0.03))


def test_pi_5_without_a_file_is_asked_through_vcgencmd(computer, vcgencmd):
    """Its newer kernels have no get_throttled file; the program says the same word."""
    vcgencmd.answers["get_throttled"] = "throttled=0xe0004\n"
    reading = Machine(computer("pi-5"), vcgencmd=vcgencmd).read()
    assert reading.throttling == {"throttled"}
    assert reading.latched_throttling == {"clock capped", "throttled", "soft temperature limit"}
    assert (reading.temperature_c, reading.clocks_hz) == (61.9, (2_400_000_000,))


def test_a_fan_that_turns_does_not_throttle(computer):
    """The Pi 5's fan is a cooling device too; the alarm of the supply tells that throttling is known."""
    assert read(computer("pi-5")).throttling == frozenset()


def test_orin_nano(computer):
    """The hotter processor zone, both clusters, and the over-current events so far."""
    reading = read(computer("orin-nano"))
    assert (reading.temperature_c, reading.clocks_hz) == (48.0, (960_000_000, 729_600_000))
    assert (reading.throttling, reading.throttle_events) == (frozenset(), (("over-current throttling", 3),))


def test_x86_laptop(computer):
    """Package and memory are metered; the zones inside the package and around it, and its mirror, would count twice."""
    reading = read(computer("x86-laptop"))
    assert [(meter.name, meter.joules) for meter in reading.energy] == [
        ("package-0", pytest.approx(26963.529117)),
        ("dram 0", 4000.0),
    ]
    assert reading.energy[0].range_j == pytest.approx(262143.32885)
    assert (reading.temperature_c, reading.throttle_events) == (71.0, (("thermal throttling", 95),))


def test_virtual_machine(computer, worker):
    """Only what the guest's kernel counts itself."""
    reading = read(computer("vm"), worker)
    assert (reading.temperature_c, reading.clocks_hz, reading.throttling, reading.energy) == (None, (), None, ())
    assert reading.stolen_s > 0


def test_container(computer, worker):
    """Masked directories are empty: no energy, no throttle counts, no temperature; the clock is still there."""
    reading = read(computer("container"), worker)
    assert (reading.temperature_c, reading.throttling, reading.energy) == (None, None, ())
    assert reading.clocks_hz == (3_400_000_000,)


def test_nothing_at_all(tmp_path, worker):
    """Without /proc and /sys everything is unknown and nothing fails."""
    reading = read(tmp_path, worker)
    found = usage(reading, reading, worker_s=0.0)
    assert (found.total_s, found.swapped_pages, found.major_faults, found.waited_s) == (None, None, None, None)
    assert (found.energy_j, found.meter, found.temperature_last_c, found.throttling) == (None, None, None, None)


@pytest.mark.parametrize("name", ["pi-4", "pi-5", "orin-nano", "x86-laptop", "vm", "container"])
def test_every_machine_can_be_valid(computer, worker, name):
    """A quiet run on any of them is not unknown for what that machine lacks."""
    root = computer(name)
    before = Machine(root, clock=lambda: 0.0).read(worker)
    times = (root / "proc/stat").read_text().splitlines()[0].split()
    (root / "proc/stat").write_text(f"cpu  {int(times[1]) + 5 * os.sysconf('SC_CLK_TCK')} {' '.join(times[2:])}\n")
    after = Machine(root, clock=lambda: 5.0).read(worker)
    # Five seconds of processor time, all of them the worker's.
    found = usage(before, after, worker_s=5.0)
    evidence = Evidence(usage=found, block_levels_s=[[1.0, 1.01]] * 5, settled=[True] * 5, samples=1000)
    assert judge(evidence) == ("valid", ())


def test_this_machine():
    """The real files of whatever runs the tests: the time of a busy process is its own, and its faults are counted."""
    program = (
        "x = bytearray(64 << 20)\nimport time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)\ninput()"
    )
    with Machine() as machine:
        before = machine.read()
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            process.stdout.readline()
            after = machine.read(process.pid)
        finally:
            process.communicate("\n")
    found = usage(before, after, worker_s=0.3)
    assert found.seconds > 0
    assert found.total_s is None or found.total_s >= 0.28
    assert after.minor_faults is None or after.minor_faults > 1000
    assert after.waited_s is None or after.waited_s >= 0
