"""``ortolan predict`` and ``ortolan check``: a bundle's answers on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ortolan.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan.types import Fidelity


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

    For text models an INPUT is a text, or `-` for the lines of standard input; for image models the path of an image;
    for tabular models a row as JSON, an object or an array, or a file of rows (.csv, .tsv, .jsonl); for streams a .wav
    file. For tensors (also of a bare .onnx file) it is an .npz file with one array per input of the model, or an .npy
    file if the model has one input.
    """
    from ortolan.cli.answers import ask
    from ortolan.loading import load

    with load(bundle, variant=variant, provider=provider, threads=threads) as model:
        answers, lines = ask(model, inputs)
        content = {
            "schema": "ortolan.predict/1",
            "task": model.task,
            "candidate": model.plan.chosen.name,
            "answers": answers,
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
                f"{word:8}{row['candidate']}: {row['changed']} of {row['n']} answers changed, "
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
