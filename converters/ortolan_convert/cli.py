"""``ortolan convert``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ortolan_convert.report import ConversionReport, VariantReport


@click.command()
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", required=True, metavar="OUT.bundle", type=click.Path(), help="Directory to write.")
@click.option(
    "--samples",
    metavar="DATA",
    type=click.Path(),
    help="Inputs to compare on: .csv, .tsv or .jsonl with 'text' and optional 'label', .txt; .npz for tensors.",
)
@click.option("--trust", is_flag=True, help="Read joblib and pickle files, which run code from them.")
@click.option("--task", metavar="TASK", help="Task that is expected.")
@click.option("--config", metavar="TASK.yaml", type=click.Path(), help="Task description of an ONNX file.")
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
    quantize: str | None,
    max_drop: float,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Turn a training artifact into a verified bundle.

    ARTIFACT is a joblib, pickle or skops file of a scikit-learn text pipeline, its vectorizer and model as two files in
    any order, or an ONNX file. The converted model must give the source's answers, or nothing is written.
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
        click.echo("\n".join(_lines(report)))


def _say(step: str) -> None:
    click.echo(f"… {step}", err=True)


def _lines(report: ConversionReport) -> list[str]:
    """The report for people: one line per variant."""
    made = [variant for variant in report.variants if variant.left_out is None]
    lines = [f"{report.bundle.path}: {report.task}, {len(made)} variant{'' if len(made) == 1 else 's'}"]
    if report.accuracy is not None:
        lines.append(f"  source  {report.accuracy:.2%} of the sample labels right")
    return lines + [f"  {_variant(variant)}" for variant in made]


def _variant(variant: VariantReport) -> str:
    parts = [f"{variant.name:<7} {variant.bytes / 1000:.0f} kB"]
    if variant.bundle_bytes is not None:
        parts.append(f"bundle with it alone {variant.bundle_bytes / 1000:.0f} kB")
    fidelity = variant.fidelity
    if fidelity is not None and fidelity.metric == "tensor":
        parts.append(f"the file as it is; two runs on {fidelity.n} inputs differ by at most {fidelity.worst:.2g}")
    elif fidelity is not None:
        changed = round(fidelity.drop * fidelity.n)
        inputs = "samples" if fidelity.inputs == "samples" else "made-up inputs"
        parts.append(
            f"{changed} of {fidelity.n} answers changed on {inputs} (at most {fidelity.interval.high:.2%} with 95 % "
            f"confidence), largest difference {fidelity.worst:.2g}"
        )
    if variant.accuracy is not None:
        parts.append(f"{variant.accuracy:.2%} right")
    return ", ".join(parts)
