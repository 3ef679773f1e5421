"""``ortolan inspect``, ``verify``, ``pack``, ``unpack`` and ``subset``: bundles without running them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ortolan.cli.contents import bundle_json, bundle_text, model_json, model_text, size, storage

_PATH = click.Path(path_type=Path)
_as_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_overwrite = click.option("--overwrite", is_flag=True, help="Replace what is already there.")


@click.command()
@click.argument("path", metavar="BUNDLE|MODEL.onnx", type=_PATH)
@_as_json
def inspect(path: Path, as_json: bool) -> None:
    """Show what is inside a bundle or an ONNX file, without running it.

    A bundle: its task, where it comes from, and for each variant its precision, size, fidelity and needs. An ONNX file:
    its inputs and outputs, operators, parameters and external data.
    """
    if path.is_file() and path.suffix == ".onnx":
        from ortolan.bundle.onnxfile import read_model

        model = read_model(path)
        click.echo(json.dumps(model_json(path, model), indent=2) if as_json else model_text(path, model))
    else:
        from ortolan.bundle.directory import open_bundle

        bundle = open_bundle(path)
        click.echo(json.dumps(bundle_json(bundle), indent=2) if as_json else bundle_text(bundle))


@click.command()
@click.argument("bundle", type=_PATH)
@_as_json
def verify(bundle: Path, as_json: bool) -> None:
    """Hash every file of BUNDLE and check every model in it.

    Exit status 1 if a file is changed, missing, or was added.
    """
    from ortolan.bundle.directory import open_bundle

    opened = open_bundle(bundle, verify="full")
    files, total = len(opened.manifest.files) + 1, storage(opened)
    if as_json:
        found = {"schema": "ortolan.verify/1", "path": str(bundle), "valid": True, "digest": opened.digest}
        click.echo(json.dumps({**found, "files": files, "storage_bytes": total}, indent=2))
    else:
        click.echo(f"valid: {files} files, {size(total)}, digest {opened.digest}")


@click.command()
@click.argument("bundle", type=_PATH)
@click.option("-o", "--output", metavar="FILE.tar", type=_PATH, help="Default: the bundle's name and .tar.")
@_overwrite
def pack(bundle: Path, output: Path | None, overwrite: bool) -> None:
    """Write BUNDLE as one .tar file, for transport.

    Equal bundles give equal files, byte by byte.
    """
    from ortolan.bundle import archive

    target = archive.pack(bundle, output or _packed(bundle), overwrite=overwrite)
    click.echo(f"wrote {target}, {size(target.stat().st_size)}", err=True)


@click.command()
@click.argument("archive", metavar="FILE.tar", type=_PATH)
@click.option("-o", "--output", metavar="BUNDLE", type=_PATH, help="Default: the file's name with .bundle.")
@_overwrite
def unpack(archive: Path, output: Path | None, overwrite: bool) -> None:
    """Check a packed bundle and extract it to a new directory.

    Nothing is extracted but the files its manifest lists, with the content it gives; otherwise nothing remains.
    """
    from ortolan.bundle.archive import unpack as extract

    bundle = extract(archive, output or _unpacked(archive), overwrite=overwrite)
    click.echo(f"wrote {bundle.path}, digest {bundle.digest}", err=True)


@click.command()
@click.argument("bundle", type=_PATH)
@click.option("--variant", "variants", metavar="NAME", multiple=True, required=True, help="To keep; may be repeated.")
@click.option("-o", "--output", metavar="BUNDLE", type=_PATH, required=True, help="The directory to make.")
@_overwrite
def subset(bundle: Path, variants: tuple[str, ...], output: Path, overwrite: bool) -> None:
    """Make a smaller bundle with some of the variants of BUNDLE.

    Measurements made with the larger bundle hold for the smaller one.
    """
    from ortolan.bundle.archive import subset as select

    smaller = select(bundle, variants, output, overwrite=overwrite)
    click.echo(f"wrote {output}, {size(storage(smaller))}", err=True)


def _packed(bundle: Path) -> Path:
    """``x.bundle`` -> ``x.bundle.tar``, also for ``.`` and ``..``."""
    named = bundle if bundle.name not in {"", ".."} else bundle.resolve()
    return named.with_name(f"{named.name}.tar")


def _unpacked(archive: Path) -> Path:
    """``x.bundle.tar`` -> ``x.bundle``; ``x.tar`` and ``x`` too."""
    named = archive if archive.name not in {"", ".."} else archive.resolve()
    return named.with_name(f"{named.name.removesuffix('.tar').removesuffix('.bundle') or 'model'}.bundle")
