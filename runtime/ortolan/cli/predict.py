"""``ortolan predict`` and ``ortolan check``: a bundle's answers on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ortolan.errors import InputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ortolan.model import Model
    from ortolan.types import Array, Fidelity


class AnswersDifferError(VerificationError):
    """This machine's answers are further from the source's than the bundle promises of the variant."""


def running(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every command that loads a model."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Machine-readable output."),
        click.option("--threads", type=click.IntRange(min=1), help="Threads that one run may use."),
        click.option("--provider", help="Execution provider: cpu, cuda, cuda-or-cpu, …  [default: chosen]"),
        click.option("--variant", help="Variant to run.  [default: chosen by what was measured here, or predicted]"),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@running
def predict(
    bundle: Path, inputs: tuple[str, ...], variant: str | None, provider: str | None, threads: int | None, as_json: bool
) -> None:
    """Print the answer of BUNDLE to each INPUT, one line each.

    For text models an INPUT is a text, or `-` for the lines of standard input. For tensors (also of a bare .onnx file)
    it is an .npz file with one array per input of the model, or an .npy file if the model has one input.
    """
    from ortolan.loading import load
    from ortolan.model import Clusterer, TextClassifier

    with load(bundle, variant=variant, provider=provider, threads=threads) as model:
        if isinstance(model, (TextClassifier, Clusterer)):
            answers = [asdict(answer) for answer in model.predict_batch(list(_texts(inputs)))]
            lines = [str(answer["label"]) for answer in answers]
        else:
            found = [model.run(_arrays(model, Path(path))) for path in inputs]
            answers = [{name: array.tolist() for name, array in outputs.items()} for outputs in found]
            lines = [_described(outputs) for outputs in found]
        content = {
            "schema": "ortolan.predict/1",
            "task": model.task,
            "candidate": model.plan.chosen.name,
            "answers": [_named(answer) for answer in answers],
        }
        notes = model.plan.notes if provider else ()
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(json.dumps(content, indent=2) if as_json else "\n".join(lines))


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@running
def check(bundle: Path, variant: str | None, provider: str | None, threads: int | None, as_json: bool) -> None:
    """Compare this machine's answers with the golden samples in BUNDLE: the source framework's own answers.

    Every variant is checked unless one is named. Exit status 1 if one differs by more than its fidelity allows.
    """
    from ortolan.bundle.directory import open_bundle
    from ortolan.loading import load
    from ortolan.tasks.golden import agrees

    manifest = open_bundle(bundle).manifest
    names = list(dict.fromkeys(one.name for component in manifest.components for one in component.variants))
    rows: list[dict[str, Any]] = []
    for name in [variant] if variant else names:
        with load(bundle, variant=name, provider=provider, threads=threads) as model:
            found, candidate = model.check(), model.plan.chosen
        promised = max((manifest.variant(v, c).info.fidelity for c, v in candidate.variants), key=lambda f: f.worst)
        rows.append(_verdict(name, candidate.name, found, promised, agrees(found, promised)))
        if not as_json:
            row = rows[-1]
            word = "agrees" if row["agrees"] else "DIFFERS"
            click.echo(
                f"{word:8}{row['candidate']}: {row['changed']} of {row['n']} decisions changed, "
                f"largest difference {row['worst']:.2g}, allowed {row['allowed']:.2g}"
            )
    if as_json:
        click.echo(json.dumps({"schema": "ortolan.check/1", "bundle": str(bundle), "results": rows}, indent=2))
    wrong = [row["candidate"] for row in rows if not row["agrees"]]
    if wrong:
        raise AnswersDifferError(
            f"{bundle}: {', '.join(wrong)} does not give the golden answers here; do not use it on this machine"
        )


def _verdict(name: str, candidate: str, found: Fidelity, promised: Fidelity, agreed: bool) -> dict[str, Any]:
    return {
        "variant": name,
        "candidate": candidate,
        "agrees": agreed,
        "n": found.n,
        "changed": round(found.drop * found.n),
        "worst": found.worst,
        "allowed": promised.tolerance,
    }


def _texts(inputs: Sequence[str]) -> Iterator[str]:
    for text in inputs:
        if text == "-":
            yield from (line.decode("utf-8", "surrogateescape").rstrip("\r\n") for line in sys.stdin.buffer)
        else:
            yield text


def _arrays(model: Model, path: Path) -> Mapping[str, Array]:
    from ortolan.inputs.datafile import read_arrays

    arrays = read_arrays(path)
    if list(arrays) != [""]:
        return arrays
    if len(model.inputs) != 1:
        names = ", ".join(spec.name for spec in model.inputs)
        raise InputError(f"{path}: the model has {len(model.inputs)} inputs; give an .npz file with {names}")
    return {model.inputs[0].name: arrays[""]}


def _described(outputs: Mapping[str, Array]) -> str:
    import numpy as np

    return "\n".join(
        f"{name}: {array.dtype}{list(array.shape)}\n{np.array2string(array, threshold=64, precision=6)}"
        for name, array in outputs.items()
    )


def _named(answer: Mapping[str, Any]) -> dict[str, Any]:
    """JSON needs text as keys; labels may be numbers."""
    return {
        name: {str(key): number for key, number in value.items()} if isinstance(value, dict) else value
        for name, value in answer.items()
    }
