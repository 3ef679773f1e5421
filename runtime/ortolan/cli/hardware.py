"""``ortolan devices``, ``profiles`` and ``select``: what this machine is, what others are, and what to run on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ortolan.choose import units
from ortolan.choose.constraints import Constraints
from ortolan.cli.selection import selection_json, selection_lines
from ortolan.cli.tables import table
from ortolan.errors import MissingPackageError, NoCandidateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan.bundle.description import Manifest
    from ortolan.hardware.facts import Hardware, HardwareState
    from ortolan.hardware.profiles import Figure, Label, Profile
    from ortolan.types import Assessment, Plan, SessionConfig

HERE = "here"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def devices(as_json: bool) -> None:
    """Show the facts of this machine, its execution providers and its state directory."""
    from ortolan.engine.installation import mixture
    from ortolan.engine.usable import obstacle
    from ortolan.hardware.probe import probe, probe_state
    from ortolan.state import state_directory

    hardware, now, runtime = probe(), probe_state(), _onnxruntime()
    obstacles = {name: obstacle(name) for name in runtime if name != "cpu"}
    directory = state_directory()
    if as_json:
        content = {
            "schema": "ortolan.devices/1",
            "hardware": {"id": hardware.id, **hardware.to_json()},
            "state": now.to_json(),
            "onnxruntime": runtime,
            "obstacles": obstacles,
            "state_directory": None if directory is None else str(directory),
        }
        click.echo(json.dumps(content, indent=2))
        return
    versions = ", ".join(f"{provider} ({version})" for provider, version in runtime.items())
    rows = [
        *_hardware_rows(hardware),
        *_state_rows(now),
        ("hardware id", hardware.id),
        ("onnxruntime", versions or _missing()),
        *((name, f"does not run here: {reason}" if reason else "runs here") for name, reason in obstacles.items()),
        *(("mind", mixed) for mixed in [mixture()] if mixed),
        ("state", "none: no state directory can be written" if directory is None else str(directory)),
    ]
    for name, value in rows:
        click.echo(f"{name:<14}{value}")


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def profiles(name: str | None, as_json: bool) -> None:
    """List the known boards, or show every figure of the board NAME with its source.

    `here` is this machine. A figure is measured (on that board, by whom its source says), taken from a datasheet, or
    estimated.
    """
    from ortolan.hardware.profiles import load_profile, profile_names

    chosen = [_profile(name)] if name else [load_profile(known) for known in profile_names()]
    if as_json:
        content = {"schema": "ortolan.profiles/1", "profiles": [_profile_json(profile) for profile in chosen]}
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
    elif name:
        _show_profile(chosen[0])
    else:
        heads = ("name", "cores", "memory", "providers", "price")
        rows = [_profile_row(profile) for profile in chosen]
        click.echo("\n".join(table(heads, rows)))
        click.echo("\n`ortolan profiles NAME` shows every figure with its source.")


def _limit(parse: Callable[[str], object]) -> Callable[[click.Context, click.Parameter, str | None], object]:
    def convert(_: click.Context, parameter: click.Parameter, value: str | None) -> object:
        try:
            return None if value is None else parse(value)
        except UsageError as error:
            raise UsageError(f"{parameter.opts[0]}: {error}") from error

    return convert


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--profile", "names", multiple=True, metavar="NAME", help="Board; may be repeated.  [default: here, this machine]"
)
@click.option("--max-latency", callback=_limit(units.parse_duration), help="For one input, e.g. 50ms.")
@click.option("--max-memory", callback=_limit(units.parse_size), help="Peak of the process, e.g. 200MB.")
@click.option("--max-storage", callback=_limit(units.parse_size), help="Of the bundle with one variant, e.g. 5MB.")
@click.option("--link", callback=_limit(units.parse_rate), help="Rate of the link to the device, e.g. 1Mbit.")
@click.option("--max-transfer", callback=_limit(units.parse_duration), help="Time to send the bundle, e.g. 60s.")
@click.option("--max-drop", callback=_limit(units.parse_share), help="Share of changed decisions, e.g. 1%.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def select(
    bundle: Path,
    names: tuple[str, ...],
    max_latency: float | None,
    max_memory: int | None,
    max_storage: int | None,
    link: float | None,
    max_transfer: float | None,
    max_drop: float | None,
    as_json: bool,
) -> None:
    """Choose the variant of BUNDLE to run on this machine or on boards, and say why not the others.

    Figures measured here by `ortolan bench` win over predictions. Exit status 3 if nothing fits on any of the boards.
    """
    from ortolan.bundle.directory import open_bundle

    if max_transfer is not None and link is None:
        raise UsageError("--max-transfer needs --link, the rate of the link to the device")
    constraints = Constraints(
        max_latency=max_latency,
        max_memory=max_memory,
        max_storage=max_storage,
        link_bits_per_s=link,
        max_transfer_s=max_transfer,
        max_drop=max_drop,
    )
    chosen = [_profile(name) for name in dict.fromkeys(names or (HERE,))]
    opened = open_bundle(bundle)
    results = [(profile, *_choose(opened.manifest, profile, constraints)) for profile in chosen]
    if as_json:
        click.echo(json.dumps(selection_json(opened, constraints, results), indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join("\n".join(selection_lines(*result)) for result in results))
    if not any(plan for _, _, plan in results):
        raise NoCandidateError(f"no variant of {opened.manifest.package_name!r} fits; the reasons are above")


def _choose(
    manifest: Manifest, profile: Profile, constraints: Constraints
) -> tuple[tuple[Assessment, ...], Plan | None]:
    from ortolan.choose.measurements import candidate_digests, load_summaries
    from ortolan.choose.selector import Elsewhere, assess, plan
    from ortolan.hardware.probe import probe_state
    from ortolan.planning import measured_configs

    here = profile if profile.name == HERE else _profile(HERE)
    measured = load_summaries(candidate_digests(manifest), here.hardware.id)
    is_here = profile is here
    configs = _configs(manifest, profile)
    if is_here:
        configs = tuple(dict.fromkeys(one for asked in configs for one in measured_configs(asked, measured)))
    state = probe_state() if is_here else None
    elsewhere = None if is_here else Elsewhere(here, measured)
    assessments = assess(manifest, profile, state, measured, constraints, configs=configs, elsewhere=elsewhere)
    try:
        return assessments, plan(manifest, profile, assessments, measured, elsewhere=elsewhere)
    except NoCandidateError:
        return assessments, None


def _configs(manifest: Manifest, profile: Profile) -> tuple[SessionConfig, ...]:
    """One configuration for each provider that the hardware has and that some variant was made for."""
    from ortolan.types import SessionConfig

    made_for = {
        name for component in manifest.components for variant in component.variants for name in variant.info.providers
    }
    providers = [name for name in profile.calibration.providers if name in made_for]
    return tuple(SessionConfig(provider=name) for name in providers) or (SessionConfig(),)


def _profile(name: str) -> Profile:
    from ortolan.hardware.profiles import here, load_profile

    return here(onnxruntime=_onnxruntime() or None) if name == HERE else load_profile(name)


def _onnxruntime() -> dict[str, str]:
    """Version of onnxruntime by the providers it has; empty without one."""
    from ortolan.engine import available_providers, runtime_id

    try:
        version = runtime_id().rpartition(" ")[2]
        return dict.fromkeys(available_providers(), version)
    except MissingPackageError:
        return {}


def _missing() -> str:
    from ortolan.engine.installation import onnxruntime

    try:
        onnxruntime()
    except MissingPackageError as error:
        return str(error)
    return "has no provider that Ortolan knows"


def _hardware_rows(hardware: Hardware) -> list[tuple[str, str]]:
    kinds = ", ".join(
        f"{kind.count} x {kind.part}" + (f" at {kind.hz / 1e9:.2f} GHz" if kind.hz else "") for kind in hardware.cores
    )
    caches = ", ".join(f"L{cache.level} {cache.kind} {cache.bytes // 1024} KiB" for cache in hardware.caches)
    rows = [
        ("board", hardware.board),
        ("processor", hardware.processor),
        ("architecture", hardware.architecture),
        ("cores", kinds),
        ("features", " ".join(hardware.features)),
        ("caches", caches),
        ("memory", _ram(hardware.ram_bytes)),
        ("accelerators", ", ".join(hardware.accelerators) or "none found"),
        ("power mode", hardware.power_mode),
        ("kernel", hardware.kernel),
        ("drivers", ", ".join(f"{name} {version}" for name, version in hardware.drivers) or None),
    ]
    return [(name, value or "unknown") for name, value in rows if value or name not in ("power mode", "drivers")]


def _ram(size: int | None) -> str:
    # Memory modules come in binary sizes.
    if size is None:
        return "unknown"
    return f"{size / 2**30:.3g} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _state_rows(now: HardwareState) -> list[tuple[str, str]]:
    rows = [
        ("available", None if now.available_bytes is None else units.format_size(now.available_bytes)),
        ("memory limit", None if now.memory_limit_bytes is None else units.format_size(now.memory_limit_bytes)),
        ("temperature", None if now.temperature_c is None else f"{now.temperature_c:.0f} °C"),
        ("throttling", ", ".join(now.throttling) or (None if now.throttle_bits is None else "none")),
        ("load", None if now.load is None else f"{now.load:.2f}"),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _profile_row(profile: Profile) -> tuple[str, ...]:
    cores = profile.hardware.cores[0]
    clock = f" at {cores.max_hz / 1e9:.1f} GHz" if cores.max_hz else ""
    price = profile.price_usd
    return (
        profile.name,
        f"{cores.count} x {cores.part}{clock}",
        _ram(profile.hardware.ram_bytes),
        ", ".join(profile.software.onnxruntime),
        "" if price is None else f"${price.value:.0f}",
    )


def _show_profile(profile: Profile) -> None:
    click.echo(f"{profile.title} ({profile.name})\n")
    for name, value in _hardware_rows(profile.hardware):
        click.echo(f"{name:<14}{value}")
    click.echo()
    for name, tagged in profile.tagged():
        click.echo(f"{name}: {_tagged_value(name, tagged)}  [{tagged.basis}]")
        click.echo(f"    {tagged.source}")


def _tagged_value(name: str, tagged: Figure | Label) -> str:
    value = tagged.value
    if isinstance(value, str):
        return value
    if name.endswith("bytes_s"):
        return f"{units.format_size(value)}/s"
    if name.endswith("_bytes"):
        return units.format_size(value)
    if name.endswith("_s"):
        return units.format_duration(value)
    if name.endswith(("_flops", "_ops")):
        return f"{value / 1e9:.3g} G/s"
    return f"${value:.0f}" if name == "price_usd" else f"{value:g}"


def _profile_json(profile: Profile) -> dict[str, object]:
    return {
        "name": profile.name,
        "title": profile.title,
        "hardware": {"id": profile.hardware.id, **profile.hardware.to_json()},
        "figures": {
            name: {"value": tagged.value, "basis": tagged.basis, "source": tagged.source}
            for name, tagged in profile.tagged()
        },
    }
