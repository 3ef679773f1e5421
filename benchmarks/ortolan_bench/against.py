"""``--against``: two bundles, variants, settings or onnxruntime environments, in pairs of processes that take turns."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.errors import UnknownNameError, UsageError
from ortolan_bench.comparison import TOLERANCE, Report, compare
from ortolan_bench.environment import record
from ortolan_bench.measure import Instrument, Settings
from ortolan_bench.process import WorkerProcess
from ortolan_bench.result import BenchResult
from ortolan_bench.scenarios import Scenario
from ortolan_bench.sensors import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan_bench.findings import Target
    from ortolan_bench.measure import Worker
    from ortolan_bench.progress import Progress
    from ortolan_bench.protocol import Hello
    from ortolan_bench.result import CandidateResult
    from ortolan_bench.sensors import Reading
    from ortolan_bench.subject import Subject
    from ortolan_bench.validity import Mode
    from ortolan_bench.workload import Workload

PAIRS = 20
"""Pairs of processes. Where processes differ by 1.1 % (standard deviation), it finds more than 95 of 100 differences of
2 %, where they differ by 2 % still half of them (tests/bench/test_bench_comparison.py)."""

SECONDS = 10.0
"""Steady state per side, over all its processes; with their starts, of half a second each, about 20 s a side."""

UNKNOWN = "unknown"
"""Version of what could not start."""

KEYS = ("bundle", "variant", "provider", "threads", "python")
"""What OTHER may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """What is different on the other side; None where it is the same.

    Args:
        bundle: another bundle or .onnx file.
        variant: another variant.
        provider: another execution provider.
        threads: another number of intra-op threads.
        python: the Python of another environment, with an onnxruntime of its own.
    """

    bundle: Path | None = None
    variant: str | None = None
    provider: str | None = None
    threads: int | None = None
    python: Path | None = None


class AgainstInterrupted(KeyboardInterrupt):
    """Ctrl-C while measuring; ``report`` compares what was measured until then."""

    def __init__(self, report: Report) -> None:
        super().__init__("the comparison was interrupted")
        self.report = report


def parse_other(text: str, variants: Sequence[str]) -> Other:
    """Read OTHER: ``KEY=VALUE`` pairs separated by commas; a variant's name or a path may stand alone.

    Args:
        text: e.g. ``"int8"``, ``"old.bundle"``, ``"threads=1"`` or ``"python=old/bin/python,threads=2"``.
        variants: names that the measured bundle has.

    Raises:
        UsageError: anything else, a key twice, a number that is none, a Python that cannot be run.
    """
    found: dict[str, str] = {}
    for item in text.split(","):
        key, sign, value = item.strip().partition("=")
        if not sign:
            key, value = ("variant" if key in variants else "bundle"), key
            if key == "bundle" and not (value and Path(value).exists()):
                known = f" ({', '.join(variants)})" if variants else ""
                raise UsageError(
                    f"--against: {value!r} is neither a variant{known} nor a path; "
                    f"expected one of these, or KEY=VALUE with {', '.join(KEYS)}"
                )
        if key not in KEYS:
            raise UnknownNameError("key of --against", key, KEYS)
        if not value or key in found:
            raise UsageError(f"--against: expected {key} once and with a value, got {text!r}")
        found[key] = value
    return Other(
        bundle=Path(found["bundle"]) if "bundle" in found else None,
        variant=found.get("variant"),
        provider=found.get("provider"),
        threads=_threads(found["threads"]) if "threads" in found else None,
        python=_python(found["python"]) if "python" in found else None,
    )


def _threads(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"--against: expected threads=NUMBER, got {text!r}")
    return int(text)


def _python(text: str) -> Path:
    path = Path(text)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise UsageError(f"--against: python={text} is no program; give a path such as other/bin/python")
    return path.absolute()  # not resolved: a virtual environment's is a link whose place matters


def run_against(
    path: str | Path,
    other: str,
    *,
    variants: Sequence[str] | None = None,
    providers: Sequence[str] = ("cpu",),
    threads: Sequence[int | None] = (None,),
    scenarios: Sequence[Scenario] = (Scenario(),),
    inputs: str | Path | None = None,
    seconds: float = SECONDS,
    processes: int = PAIRS,
    seed: int = 0,
    mode: Mode = "burst",
    timeout: float = 300.0,
    tolerance: float = TOLERANCE,
    progress: Callable[[Progress], None] | None = None,
    spawn: Callable[[], Worker] | None = None,
    spawn_other: Callable[[], Worker] | None = None,
    read_sensors: Callable[[int], Reading] | None = None,
) -> Report:
    """Compare a bundle or model (new) with ``other`` (base) in pairs of processes.

    Both processes of a pair live at the same time and time blocks in turns (A B B A, who begins is drawn by lot), so
    that what the machine does touches both alike. Both run the same inputs, those of ``path``. Every candidate of
    ``path`` is compared with its counterpart; a pair of equal ones is left out if there are others.

    Args:
        path: bundle or ``.onnx`` file.
        other: see `parse_other`.
        variants: names; None for all.
        providers: as for ``run_bench``.
        threads: as for ``run_bench``.
        scenarios: as for ``run_bench``.
        inputs: as for ``run_bench``.
        seconds: of steady state per side and candidate, over all processes.
        processes: pairs.
        seed: of the order.
        mode: as for ``run_bench``.
        timeout: seconds for one request.
        tolerance: largest change that counts as the same.
        progress: called before each step.
        spawn: starts a worker of ``path``'s side; None for a process of its own.
        spawn_other: starts one of the other side; None for a process of its own.
        read_sensors: reads the machine's sensors, and the counters of a process; None for those of this machine.

    Raises:
        UsageError, BundleError, ModelFileError, InputError, StorageError: as ``run_bench``.
        AgainstInterrupted: Ctrl-C; compares what was measured.
    """
    from ortolan_bench.bench import check_settings
    from ortolan_bench.subject import Subject

    check_settings(seconds, processes, seed, timeout)
    subject = Subject(path)
    wanted = parse_other(other, _variant_names(subject))
    opponent = subject if wanted.bundle is None else Subject(wanted.bundle)
    pairs, notes = _pairs(subject, opponent, wanted, subject.targets(variants, providers, threads, scenarios))
    machine = Machine()
    session = _Session(
        subject.workload(inputs),
        Settings(seconds=seconds, processes=processes, seed=seed, mode=mode, timeout=timeout, together=True),
        spawn=spawn or (lambda: WorkerProcess(timeout=timeout)),
        spawn_other=spawn_other or (lambda: WorkerProcess(_command(wanted.python), timeout=timeout)),
        read_sensors=read_sensors or machine.read,
        progress=progress,
    )
    interrupted = None
    try:
        with machine:
            for base, new in pairs:
                session.measure(base, new)
    except KeyboardInterrupt as error:
        interrupted = error
    report = session.report(subject, opponent, wanted.python, tolerance, notes)
    if interrupted is not None:
        raise AgainstInterrupted(report) from interrupted
    return report


def _variant_names(subject: Subject) -> list[str]:
    if subject.bundle is None:
        return []
    return [variant.name for component in subject.bundle.manifest.components for variant in component.variants]


def _pairs(
    subject: Subject, opponent: Subject, wanted: Other, targets: Sequence[Target]
) -> tuple[list[tuple[Target, Target]], tuple[str, ...]]:
    """(base, new) targets, and a note on candidates that have no counterpart."""
    known = _variant_names(opponent)
    pairs, alone = [], []
    for target in targets:
        name = wanted.variant or target.variant
        if known and name is None:
            name = known[0] if len(known) == 1 else None
            if name is None:
                raise UsageError(f"--against: {opponent.path} has several variants: add variant={'|'.join(known)}")
        if known and wanted.variant is None and name not in known and len(targets) > 1:
            alone.append(f"only in {subject.path}: {target.name}")
            continue
        config = target.candidate.config
        (counterpart,) = opponent.targets(
            [name] if known and name is not None else None,
            [wanted.provider or config.provider],
            [wanted.threads if wanted.threads is not None else config.threads],
            [target.scenario],
        )
        pairs.append((counterpart, target))
    if not pairs:
        raise UsageError(f"--against: {subject.path} and {opponent.path} have no variant in common: add variant=NAME")
    changed = [pair for pair in pairs if pair[0] != pair[1] or wanted.python is not None]
    return changed or pairs, tuple(alone)


class _Session:
    """Measures pairs, one after the other, and keeps what each side gave."""

    def __init__(
        self,
        workload: Workload,
        settings: Settings,
        *,
        spawn: Callable[[], Worker],
        spawn_other: Callable[[], Worker],
        read_sensors: Callable[[int], Reading],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._workload = workload
        self._settings = settings
        self._spawns = (spawn_other, spawn)
        self._read_sensors = read_sensors
        self._progress = progress
        self._started = datetime.now(timezone.utc)
        self._hellos: dict[int, Hello] = {}
        self._found: list[tuple[CandidateResult, ...]] = []
        self._complete = True

    def measure(self, base: Target, new: Target) -> None:
        """Measure one pair of candidates; after an interruption what there is is kept."""
        sides = [replace(target, spawn=self._starter(side)) for side, target in enumerate((base, new))]
        instrument = Instrument(
            sides,
            self._workload,
            self._settings,
            spawn=self._spawns[0],
            read_sensors=self._read_sensors,
            progress=self._progress,
        )
        self._complete = False
        try:
            instrument.run()
            self._complete = True
        finally:
            self._found.append(instrument.results())

    def report(
        self, subject: Subject, opponent: Subject, python: Path | None, tolerance: float, notes: Sequence[str]
    ) -> Report:
        """Compare what was measured."""
        base, new = (self._result(side, which) for side, which in enumerate((opponent, subject)))
        comparisons = [
            compare(
                first,
                second,
                design="paired",
                inputs=self._workload.count,
                names=_names((base, first), (new, second), python),
                tolerance=tolerance,
            )
            for first, second in self._found
        ]
        interrupted = () if self._complete else ("it was interrupted before its end",)
        return Report(
            design="paired",
            base=base,
            new=new,
            tolerance=tolerance,
            comparisons=tuple(comparisons),
            notes=(*interrupted, *notes),
        )

    def _starter(self, side: int) -> Callable[[], Worker]:
        def start() -> Worker:
            worker = self._spawns[side]()
            self._hellos.setdefault(side, worker.hello)
            return worker

        return start

    def _result(self, side: int, subject: Subject) -> BenchResult:
        from ortolan.hardware.probe import probe, probe_state

        hardware, hello = probe(), self._hellos.get(side)
        runtime_id = UNKNOWN if hello is None else hello.runtime_id
        return BenchResult(
            source=str(subject.path),
            digest=subject.digest,
            workload=self._workload.name,
            workload_kind=self._workload.kind,
            workload_count=self._workload.count,
            seconds=self._settings.seconds,
            processes=self._settings.processes,
            seed=self._settings.seed,
            mode=self._settings.mode,
            complete=self._complete,
            hardware_id=hardware.id,
            runtime_id=runtime_id,
            environment=record(
                hardware=hardware,
                state=probe_state(),
                runtime_id=runtime_id,
                numpy_version=UNKNOWN if hello is None else hello.numpy_version,
                command=sys.argv,
                started=self._started,
                variants={found[side].variant: found[side].variant_digest for found in self._found},
            ),
            results=tuple(found[side] for found in self._found),
        )


def _names(
    base: tuple[BenchResult, CandidateResult], new: tuple[BenchResult, CandidateResult], python: Path | None
) -> tuple[str, str]:
    """Names of both candidates, with what tells them apart beyond variant and settings."""
    names = [row.name for _, row in (base, new)]
    if base[0].source != new[0].source:
        names = [f"{name} ({Path(side[0].source).name})" for name, side in zip(names, (base, new), strict=True)]
    runtimes = [side[0].runtime_id for side in (base, new)]
    if len({*runtimes, UNKNOWN}) == 3:
        names = [f"{name} with {runtime}" for name, runtime in zip(names, runtimes, strict=True)]
    elif python is not None:
        names[0] += f" in {python}"
    return names[0], names[1]


_LAUNCH = """
import runpy, sys
from importlib.util import module_from_spec, spec_from_file_location
for name, home in {homes!r}:
    spec = spec_from_file_location(name, home + "/__init__.py", submodule_search_locations=[home])
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
runpy.run_module("ortolan_bench.worker", run_name="__main__", alter_sys=True)
"""
"""What another Python runs: this very Ortolan, so that nothing but its environment differs."""


def _command(python: Path | None) -> list[str] | None:
    """Argument vector of a worker in another environment; None for this one."""
    if python is None:
        return None
    import ortolan
    import ortolan_bench

    homes = [(module.__name__, str(Path(module.__file__ or "").parent)) for module in (ortolan, ortolan_bench)]
    # -E: a PYTHONPATH for this environment would bring this environment's packages.
    return [str(python), "-E", "-c", _LAUNCH.format(homes=homes)]
