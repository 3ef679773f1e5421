"""The server scenario's search for the highest rate, on a fake session whose service time is known.

    python benchmarks/peers/measuring_server.py [--service-ms 2] [--bounds 3,5,10,20] [--seconds 30]

The fake session keeps the processor busy for exactly the time given (``--sleep``: sleeps, for a machine on which others
run; give it 50 ms or more, of which waking up late is a small part); workers, protocol, loops, arrivals and search are
the real ones. The true capacity is where 99 % of an M/D/1 queue's answers come within the bound (Erlang's formula of
1909 for the waiting time), for each bound a multiple of the service time. Prints the rate that was found, what live
runs at that rate say, and the ratio. Exit status 1 if one is further off than 5 %. About three minutes.
"""

import argparse
import math
import sys
import time
from decimal import Decimal, getcontext

from ortolan.types import Candidate, SessionConfig
from ortolan_bench import worker
from ortolan_bench.findings import Target
from ortolan_bench.measure import Instrument, Settings
from ortolan_bench.process import WorkerProcess
from ortolan_bench.scenarios import Scenario
from ortolan_bench.sensors import Machine
from ortolan_bench.workload import text_workload

MOST = 0.05
"""By how much the rate may be off."""


class Busy:
    """A model that takes exactly so many nanoseconds."""

    inputs = ()

    def __init__(self, service_ns: int, sleeps: bool) -> None:
        self.service_ns = service_ns
        self.sleeps = sleeps

    def predict(self, text: str) -> str:
        if self.sleeps:
            time.sleep(self.service_ns * 1e-9)
            return text
        end = time.perf_counter_ns() + self.service_ns
        while time.perf_counter_ns() < end:
            pass
        return text


def serve(service_ns: int, sleeps: bool, parent: int) -> None:
    """Be a worker with that model."""
    worker.main(lambda *_: Busy(service_ns, sleeps), lambda: {"runtime_id": "fake", "numpy_version": "none"}, parent)


def in_time(bound: float, rho: float) -> float:
    """Share of an M/D/1 queue's answers that come within ``bound`` service times, at the utilization ``rho``."""
    getcontext().prec = 60  # the sum alternates
    wait, rate = Decimal(bound - 1), Decimal(rho)
    total = Decimal(0)
    for k in range(math.floor(wait) + 1):
        back = rate * (k - wait)
        total += (back**k if k else Decimal(1)) / math.factorial(k) * (-back).exp()
    return float((1 - rate) * total)


def true_capacity(bound: float) -> float:
    """The highest utilization at which 99 % come in time."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if in_time(bound, middle) >= 0.99 else (low, middle)
    return low


def main() -> int:
    """Search, print, and say whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service-ms", type=float, default=2.0, help="service time (default 2)")
    parser.add_argument("--bounds", default="3,5,10,20", help="multiples of it (default 3,5,10,20)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of live runs per bound (default 30)")
    parser.add_argument("--processes", type=int, default=5, help="worker processes per bound (default 5)")
    parser.add_argument("--sleep", action="store_true", help="sleep for that time instead of being busy")
    parser.add_argument("--quick", action="store_true", help="two bounds, two seconds each: does it work at all?")
    arguments = parser.parse_args()
    bounds = [5.0, 10.0] if arguments.quick else [float(bound) for bound in arguments.bounds.split(",")]
    seconds = 2.0 if arguments.quick else arguments.seconds
    service_s = arguments.service_ms * 1e-3
    command = [sys.executable, __file__, "--worker", str(round(service_s * 1e9)), str(int(arguments.sleep))]

    def target(bound: float) -> Target:
        scenario = Scenario(name="server", bound=bound * service_s)
        candidate = Candidate((("model", "busy"),), SessionConfig())
        return Target(candidate=candidate, path="-", variant=None, digest="0", declared=None, scenario=scenario)

    with Machine() as machine:
        instrument = Instrument(
            [target(bound) for bound in bounds],
            text_workload("fake", ["a"]),
            Settings(seconds=seconds, processes=arguments.processes),
            spawn=lambda: WorkerProcess(command),
            read_sensors=machine.read,
        )
        instrument.run()
    good = True
    for bound, row in zip(bounds, instrument.results(), strict=True):
        if row.rate is None or row.late is None:
            raise SystemExit(f"no rate was found: {row.failure}")
        expected = true_capacity(bound) / service_s
        ratio = row.rate.value / expected
        met = abs(ratio - 1) <= MOST
        good &= met
        spread = max(row.rate.high - row.rate.value, row.rate.value - row.rate.low) / row.rate.value
        print(
            f"99% within {bound * arguments.service_ms:5.1f} ms: found {row.rate.value:7.1f}/s ±{spread:.1%}, true "
            f"{expected:7.1f}/s, ratio {ratio:.3f}, live {row.late:.2%} late, {row.validity}  "
            f"target within {MOST:.0%}: {'met' if met else 'MISSED'}"
        )
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        serve(int(sys.argv[2]), sys.argv[3] == "1", int(sys.argv[4]))
    else:
        sys.exit(main())
