"""Watch a microphone: say when somebody begins and stops speaking.

    arecord -q -t raw -f S16_LE -c 1 -r 16000 | python sensor_loop.py vad.bundle

Sound comes in as raw 16-bit samples of one channel at the bundle's rate, in whatever pieces the system hands out. A
stream keeps what the model remembers between them. The loop never needs more memory than at its start, and a device
whose model does not fit says so before it is loaded.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator

import numpy as np

import ortolan
from ortolan.errors import DeadlineExceeded, MemoryBudgetError, OrtolanError, SessionError

BLOCK = 4096
"""Most bytes that are read at once; fewer are taken as they come."""


def blocks(source: int) -> Iterator[np.ndarray]:
    """The samples of a file descriptor as they arrive; an odd byte at the end of a block waits for the next one."""
    spare = b""
    while data := os.read(source, BLOCK):
        data = spare + data
        whole = len(data) // 2 * 2
        spare = data[whole:]
        yield np.frombuffer(data[:whole], "<i2")


def turns(stream: ortolan.Stream, sound: Iterable[np.ndarray], on: float, off: float) -> Iterator[tuple[str, float]]:
    """When speech begins and ends, in seconds; two thresholds keep it from flickering."""
    control = ortolan.RunControl(timeout=2.0)  # for each block; far more than it takes on any device
    speaking, end = False, 0.0
    for block in sound:
        try:
            answers = stream.push(block, control)
        except (SessionError, DeadlineExceeded) as error:
            # One faulty run is no reason to stop listening: begin anew with the next sound.
            print(f"warning: {error}", file=sys.stderr)
            stream.reset()
            continue
        for answer in answers:
            score, end = answer.score or 0.0, answer.end
            if not speaking and score >= on:
                speaking = True
                yield "begins", answer.start
            elif speaking and score < off:
                speaking = False
                yield "ends", answer.start
    if speaking:
        yield "ends", end


def main() -> int:
    """Read standard input until it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a bundle of task audio-stream with one score")
    parser.add_argument("--on", type=float, default=0.5, help="score at which speech begins (default 0.5)")
    parser.add_argument("--off", type=float, default=0.35, help="score below which it ends (default 0.35)")
    parser.add_argument("--max-memory", default="200MB", help="refuse to start beyond this (default 200MB)")
    arguments = parser.parse_args()
    try:
        with ortolan.load(
            arguments.bundle, ortolan.Streamer, threads=1, max_memory=arguments.max_memory, low_memory=True
        ) as model:
            for what, seconds in turns(model.stream(), blocks(sys.stdin.fileno()), arguments.on, arguments.off):
                print(f"{seconds:9.3f} s  speech {what}", flush=True)
    except MemoryBudgetError as error:
        print(f"error: this device is too small: {error}", file=sys.stderr)
        return 3
    except OrtolanError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
