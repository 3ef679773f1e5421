"""The machine's counters, read from fixtures of /proc."""

import os

import pytest

from ortolan_bench import sensors
from ortolan_bench.memory import memory_of
from ortolan_bench.sensors import Usage

TICK = os.sysconf("SC_CLK_TCK")


def proc(root, cpu, swapped=(3, 4)):
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text(f"cpu  {' '.join(map(str, cpu))}\ncpu0 1 2 3\nintr 5\n")
    (root / "proc/vmstat").write_text(f"nr_free_pages 12\npswpin {swapped[0]}\npswpout {swapped[1]}\n")


def test_counters_are_read_and_subtracted(tmp_path):
    """Others' time is what was busy beyond the worker and this process; waiting for input is idle time."""
    #                user nice system idle iowait irq softirq steal guest guest_nice
    proc(tmp_path, [100, 0, 50, 1000, 10, 0, 0, 5, 0, 0])
    before = sensors.read(tmp_path)
    proc(tmp_path, [100 + 3 * TICK, 0, 50 + TICK, 1000 + 4 * TICK, 10 + TICK, 0, 0, 5 + TICK, 0, 0], swapped=(10, 4))
    after = sensors.read(tmp_path)
    found = sensors.usage(before, after, worker_s=2.5)
    assert found.total_s == pytest.approx(10.0)
    assert found.stolen_s == pytest.approx(1.0)
    assert found.others_s == pytest.approx(1.5, abs=0.2)
    assert found.swapped_pages == 7


@pytest.mark.parametrize("content", ["", "cpu  1 2\n", "cpu  a b c d e f g h\n", "intr 5\n"])
def test_unreadable_counters_are_unknown(tmp_path, content):
    """Empty, short or damaged files give None and no error."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(content)
    reading = sensors.read(tmp_path)
    assert (reading.total_s, reading.busy_s, reading.stolen_s, reading.swapped_pages) == (None, None, None, None)
    assert sensors.usage(reading, reading, 0.0).others_s is None


def test_unknown_stays_unknown_in_a_sum():
    """One block without counters spoils the sum rather than understating it."""
    assert (Usage(total_s=1.0) + Usage(total_s=None)).total_s is None


def test_memory_of_a_process(tmp_path):
    """Sizes are in bytes; private memory is clean and dirty together."""
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t1\n")
    (tmp_path / "smaps_rollup").write_text(
        "0-1 ---p 0 00:00 0 [rollup]\nRss: 1024 kB\nPss: 600 kB\nPrivate_Clean: 100 kB\nPrivate_Dirty: 200 kB\n"
    )
    use = memory_of(tmp_path)
    assert (use.peak_rss, use.rss, use.pss, use.private) == (2048 << 10, 1024 << 10, 600 << 10, 300 << 10)


def test_hidden_memory_is_unknown(tmp_path):
    """Without the files every figure is None."""
    use = memory_of(tmp_path)
    assert (use.peak_rss, use.rss, use.pss, use.private) == (None, None, None, None)
