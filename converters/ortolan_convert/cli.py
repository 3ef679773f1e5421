"""``ortolan convert``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from ortolan.choose.units import format_size
from ortolan.cli.tables import table
from ortolan.errors import OrtolanError
from ortolan_convert import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan_convert.report import ConversionReport, VariantReport


_GROUPS = (
    ("What is converted", ("trust", "module", "config", "task")),
    ("What it is compared on", ("samples", "max_drop", "quantize")),
    ("What is written", ("output", "overwrite", "as_json")),
    ("Instead of converting", ("explain", "example")),
)
"""Sections of the help: title, and names of parameters."""
_EXAMPLES = (
    ("what a file is, what it needs, what in it runs code", "--explain model.pt"),
    ("a scikit-learn pipeline or table model", "model.joblib -o model.bundle --trust --samples test.csv"),
    ("a directory of transformers", "./minilm -o minilm.bundle --samples texts.txt"),
    ("a network, as bare tensors", "model.onnx -o model.bundle"),
    ("a network, as an image classifier", "a.tflite -o a.bundle --config task.yaml --samples photos/"),
    ("weights of PyTorch", "weights.pth -o net.bundle --module mynet.model:build"),
)


class _Grouped(click.Command):
    """A command whose help shows its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = {
            option.name: option.get_help_record(ctx)
            for option in self.get_params(ctx)
            if isinstance(option, click.Option)
        }
        listed = {name for _, names in _GROUPS for name in names}
        for title, names in _GROUPS:
            # The last group also takes what click adds itself.
            every = [*names, *(name for name in options if name not in listed)] if title == _GROUPS[-1][0] else names
            rows = [record for name in every if (record := options.get(name)) is not None]
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Examples"):
            for what, line in _EXAMPLES:
                formatter.write_text(f"# {what}")
                formatter.write_text(f"ortolan convert {line}")
        with formatter.section("Task descriptions that --example prints"):
            for name in examples.names():
                formatter.write_text(name)


def _print_example(context: click.Context, _parameter: click.Parameter, name: str | None) -> None:
    if name is not None:
        click.echo(examples.text(name), nl=False)
        context.exit()


@click.command(cls=_Grouped)
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", metavar="OUT.bundle", type=click.Path(), help="Directory to write; needed.")
@click.option(
    "--samples",
    metavar="DATA",
    type=click.Path(),
    help="Inputs to compare on: .csv, .tsv or .jsonl with 'text' and optional 'label', .txt; .csv or .tsv of rows; a "
    "directory of images; .npz for tensors. Without, inputs are made up.",
)
@click.option("--trust", is_flag=True, help="Let code in the artifact run: pickles, models with code of their own.")
@click.option("--task", metavar="TASK", help="Task that is expected.")
@click.option("--config", metavar="TASK.yaml", type=click.Path(), help="Task description of a network.")
@click.option("--module", metavar="PACKAGE.MODULE:FACTORY", help="What makes the PyTorch network of these weights.")
@click.option("--explain", is_flag=True, help="Say what the artifact is, needs and would run. Runs and writes nothing.")
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
@click.option("--json", "as_json", is_flag=True, help="Print what was done, or explained, as JSON.")
def convert(
    artifacts: tuple[str, ...],
    output: str | None,
    samples: str | None,
    trust: bool,
    task: str | None,
    config: str | None,
    module: str | None,
    explain: bool,
    quantize: str | None,
    max_drop: float,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Turn a training artifact into a verified bundle.

    ARTIFACT is what a training framework left behind: a file or directory of scikit-learn, XGBoost, LightGBM,
    CatBoost, PyTorch, TensorFlow, Keras, TensorFlow Lite or Hugging Face, or an ONNX file. What it is, is told by its
    content. The vectorizer and the model of a text pipeline may be two files. The converted model must give the
    source's answers, or nothing is written.
    """
    # Heavy imports wait until the command runs.
    if explain:
        _explain(artifacts, as_json=as_json)
        return
    if output is None:
        context = click.get_current_context()
        raise click.UsageError("expected -o OUT.bundle, the directory to write, or --explain", context)
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


def _explain(artifacts: Sequence[str], *, as_json: bool) -> None:
    """Print what artifacts are.

    Exit status: 0 if all of them can be converted as far as that is seen, otherwise 3.
    """
    from ortolan_convert.explain import explain

    found = explain(artifacts)
    if as_json:
        document = {"schema": "ortolan.explain/1", "artifacts": [one.to_json() for one in found]}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo("\n\n".join("\n".join(one.lines()) for one in found))
    if any(one.problem for one in found):
        click.get_current_context().exit(OrtolanError.exit_status)


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
