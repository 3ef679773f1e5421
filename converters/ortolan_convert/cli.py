"""``ortolan convert``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from ortolan.choose.units import format_size
from ortolan.cli.tables import table
from ortolan_convert import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan_convert.report import ConversionReport, VariantReport


def _print_example(context: click.Context, _parameter: click.Parameter, name: str | None) -> None:
    if name is not None:
        click.echo(examples.text(name), nl=False)
        context.exit()


@click.command(
    epilog="\n".join(["\b", "Task descriptions that --example prints:", *(f"  {name}" for name in examples.names())])
)
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", required=True, metavar="OUT.bundle", type=click.Path(), help="Directory to write.")
@click.option(
    "--samples",
    metavar="DATA",
    type=click.Path(),
    help="Inputs to compare on: .csv, .tsv or .jsonl with 'text' and optional 'label', .txt; .csv or .tsv of rows; a "
    "directory of images; .npz for tensors.",
)
@click.option("--trust", is_flag=True, help="Read pickles and models with code of their own, which run code.")
@click.option("--task", metavar="TASK", help="Task that is expected.")
@click.option("--config", metavar="TASK.yaml", type=click.Path(), help="Task description of a network.")
@click.option("--module", metavar="PACKAGE.MODULE:FACTORY", help="What makes the PyTorch network of these weights.")
@click.option(
    "--example",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=_print_example,
    help="Print one of the task descriptions below, to start from.",
)
@click.option("--quantize", metavar="NAMES", help="Smaller variants to try: fp16,int8 (default: all; '' for none).")
@click.option("--max-drop", default=0.01, show_default=True, help="Share of decisions a variant may change.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is already there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def convert(
    artifacts: tuple[str, ...],
    output: str,
    samples: str | None,
    trust: bool,
    task: str | None,
    config: str | None,
    module: str | None,
    quantize: str | None,
    max_drop: float,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Turn a training artifact into a verified bundle.

    ARTIFACT is a joblib, pickle or skops file of a scikit-learn text pipeline, its vectorizer and model as two files in
    any order, the directory of a Hugging Face or sentence-transformers model, or an ONNX file. The converted model must
    give the source's answers, or nothing is written.
    """
    # Heavy imports wait until the command runs.
    from ortolan_convert.convert import convert as run

    report = run(
        artifacts,
        output,
        samples=samples,
        trust=trust,
        task=task,
        config=config,
        module=module,
        quantize=None if quantize is None else [name.strip() for name in quantize.split(",") if name.strip()],
        max_drop=max_drop,
        overwrite=overwrite,
        progress=_say if sys.stderr.isatty() else None,
    )
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join([*_lines(report), "", "* with 95 % confidence"]))


def _say(step: str) -> None:
    click.echo(f"… {step}", err=True)


def _lines(report: ConversionReport) -> list[str]:
    """The report for people: what it was compared on, and a table of the variants."""
    made = [variant for variant in report.variants if variant.left_out is None]
    original = sum(source.bytes for source in report.provenance.sources)
    rows: list[tuple[str, ...]] = [
        ("", "answers changed", "largest difference", "accuracy", "model", "bundle with it alone"),
        ("source", "", "", _share(report.accuracy), format_size(original), ""),
        *((one.name, *_compared(one), _share(one.accuracy), *_sizes(one, original)) for one in made),
    ]
    if report.accuracy is None:
        rows = [(*row[:3], *row[4:]) for row in rows]
    return [f"{report.bundle.path}: {report.task}{_exam(made)}", "", *table(rows[0], rows[1:])]


def _exam(made: Sequence[VariantReport]) -> str:
    """What the variants were compared on."""
    fidelity = made[0].fidelity if made else None
    if fidelity is None:
        return ""
    inputs = "samples" if fidelity.inputs == "samples" else "made-up inputs"
    return f", compared with the source's own answers on {fidelity.n:,} {inputs}"


def _compared(variant: VariantReport) -> tuple[str, str]:
    fidelity = variant.fidelity
    if fidelity is None:
        return "not compared", ""
    changed = f"{round(fidelity.drop * fidelity.n)} (at most {fidelity.interval.high:.2%} *)"
    return changed, f"{fidelity.worst:.2g}"


def _sizes(variant: VariantReport, original: int) -> tuple[str, str]:
    alone = variant.bundle_bytes
    bundle = "" if alone is None else f"{format_size(alone)}, {alone / original:.0%} of the source"
    return format_size(variant.bytes), bundle


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"
