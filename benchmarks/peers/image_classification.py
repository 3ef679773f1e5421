"""From a JPEG file to its class: ``ImageClassifier.predict`` beside Pillow's decode and resize and onnxruntime alone.

    python benchmarks/peers/image_classification.py CLASSIFIER.bundle [PHOTO.jpg] [--rounds 200] [--threads 1]

The other side is the least that anybody has to do: open, decode and resize the file with Pillow as the bundle declares,
and run the session on a tensor that is ready. It neither crops nor normalises nor sorts. The bundle must have an image
classifier that resizes to the shortest side: the published figures are of EfficientNet-Lite0, made as
``ortolan convert --example image-classification-efficientnet-lite0`` says. Without a photo one of 640 x 480 pixels is
made.

The ways are timed in turn, in shuffled order, so that both see the same machine. Prints the medians and their ratio
with a 95 % interval from resampled rounds. Exit status 1 if the target is missed. Needs onnxruntime and Pillow.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

import ortolan
from ortolan.bundle.directory import open_bundle
from ortolan.inputs.image import ImageEncoder
from ortolan.inputs.image_geometry import Shortest

TARGET = 1.15


def seconds(call: object) -> float:
    """Of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interval(ours: list[float], base: list[float], draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the ratio of the medians, from resampled rounds."""
    rounds = list(zip(ours, base, strict=True))
    ratios = []
    for _ in range(draws):
        one, other = zip(*random.choices(rounds, k=len(rounds)), strict=True)
        ratios.append(statistics.median(one) / statistics.median(other))
    ratios.sort()
    return ratios[int(0.025 * draws)], ratios[int(0.975 * draws)]


def photo(path: Path) -> None:
    """A JPEG of 640 x 480 pixels with as much detail as a photo has."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
    grain = rng.integers(-12, 13, (480, 640, 3))
    pixels = np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def main() -> int:
    """Time, print, and say whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photo", type=Path, nargs="?", help="a JPEG file (default: a made-up one)")
    parser.add_argument("--rounds", type=int, default=200, help="calls of each way (default 200)")
    parser.add_argument("--threads", type=int, default=1, help="intra-op threads of both sides (default 1)")
    arguments = parser.parse_args()

    bundle = open_bundle(arguments.bundle)
    encoder = ImageEncoder.open(bundle.manifest.task.config)
    resize = encoder.config.resize
    if not isinstance(resize, Shortest):
        raise SystemExit("expected a bundle that resizes to the shortest side")
    resample = Image.Resampling[encoder.config.interpolation.upper()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as Ortolan does it
    model = ortolan.load(arguments.bundle, ortolan.ImageClassifier, threads=arguments.threads)
    variant = bundle.manifest.variant(dict(model.plan.chosen.variants)["model"])
    session = onnxruntime.InferenceSession(str(bundle.model_path(variant)), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    with tempfile.TemporaryDirectory() as directory:
        path = arguments.photo or Path(directory, "photo.jpg")
        if arguments.photo is None:
            photo(path)
        tensor, _ = encoder.encode(path)

        def bare() -> int:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            width, height = image.size
            image.resize(resize.place(width, height).resized, resample)
            return int(session.run(None, {name: tensor})[0].argmax())

        ways = {"Pillow + InferenceSession.run": bare, "ImageClassifier.predict": lambda: model.predict(path).index}
        answers = {name: call() for name, call in ways.items()}
        if len(set(answers.values())) > 1:
            raise SystemExit(f"different answers: {answers}")
        samples: dict[str, list[float]] = {name: [] for name in ways}
        for call in ways.values():
            for _ in range(10):
                call()
        order = list(ways)
        for _ in range(arguments.rounds):
            random.shuffle(order)
            for way in order:
                samples[way].append(seconds(ways[way]))
        model.close()

    base, ours = samples.values()
    ratio = statistics.median(ours) / statistics.median(base)
    low, high = interval(ours, base)
    versions = f"onnxruntime {onnxruntime.__version__}, Pillow {Image.__version__}, numpy {np.__version__}"
    print(f"{versions}, Python {sys.version.split()[0]}, {arguments.threads} thread(s), class {answers[way]}")
    for way, values in samples.items():
        print(f"{way:32} {statistics.median(values) * 1e3:7.3f} ms")
    verdict = "met" if ratio <= TARGET else "MISSED"
    print(f"ratio {ratio:.3f} [{low:.3f}, {high:.3f}]  target <= {TARGET}: {verdict}")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
