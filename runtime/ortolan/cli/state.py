"""``ortolan state``: what this machine has learnt (measurements, verification stamps), moved between machines."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ortolan import state as store


@click.group()
def state() -> None:
    """Move what this machine has learnt to another, so that a fleet measures once."""


@state.command("path")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def path(as_json: bool) -> None:
    """Print the state directory."""
    directory = store.state_directory()
    if as_json:
        content = {"schema": "ortolan.state/1", "path": None if directory is None else str(directory)}
        click.echo(json.dumps(content, indent=2))
    else:
        click.echo("none: no state directory can be written" if directory is None else str(directory))


@state.command("export")
@click.argument("archive", type=click.Path(path_type=Path))
def export(archive: Path) -> None:
    """Write the state directory's content to the .tar file ARCHIVE."""
    store.export_state(archive)
    click.echo(f"wrote {archive}", err=True)


@state.command("import")
@click.argument("archive", type=click.Path(path_type=Path))
def import_(archive: Path) -> None:
    """Add the content of ARCHIVE, made by `ortolan state export`, to this machine's state directory."""
    store.import_state(archive)
    click.echo(f"read {archive}", err=True)
