"""Classify what a camera sees, always the newest frame.

    python camera_loop.py classifier.bundle --frames 100

A frame is a uint8 array of height x width x 3, from any source: here made up, on a device ``picamera2``'s
``capture_array()`` or OpenCV's ``VideoCapture.read()``, whose colour order the bundle's description declares. A thread
grabs frames and keeps the newest only, so that a slow model skips frames instead of falling behind.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np

import ortolan
from ortolan.errors import DeadlineExceeded, InputError, MemoryBudgetError, OrtolanError


def synthetic(height: int, width: int, count: int) -> Iterator[np.ndarray]:
    """A bright square that moves over noise: stands in for a camera."""
    random = np.random.default_rng(0)
    for turn in range(count):
        frame = random.integers(0, 60, (height, width, 3), np.uint8)
        left = turn * 7 % max(1, width - 8)
        frame[height // 3 : height // 3 + 8, left : left + 8] = 255
        yield frame
        time.sleep(0.001)


class Newest:
    """The newest frame of a source; grabs in a thread of its own."""

    def __init__(self, frames: Iterator[np.ndarray]) -> None:
        self._changed = threading.Condition()
        self._frame: np.ndarray | None = None
        self._ended = False
        threading.Thread(target=self._grab, args=(frames,), daemon=True).start()

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frame is not None or self._ended)
                frame, self._frame = self._frame, None
            if frame is None:
                return
            yield frame

    def _grab(self, frames: Iterator[np.ndarray]) -> None:
        try:
            for frame in frames:
                with self._changed:
                    self._frame = frame
                    self._changed.notify()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()


def watch(model: ortolan.ImageClassifier, frames: Iterator[np.ndarray], deadline: float) -> Iterator[str]:
    """A line whenever the label changes."""
    control = ortolan.RunControl(timeout=deadline)
    before: object = None
    for frame in Newest(frames):
        try:
            answer = model.predict(frame, control)
        except DeadlineExceeded:
            print(f"warning: a frame took longer than {deadline:g} s and was given up", file=sys.stderr)
            continue
        except InputError as error:
            print(f"warning: a frame was passed over: {error}", file=sys.stderr)
            continue
        if answer.label != before:
            before = answer.label
            yield f"{answer.label}  {answer.score:.3f}"


def main() -> int:
    """Watch until the source ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a bundle of task image-classification")
    parser.add_argument("--frames", type=int, default=100, help="frames of the made-up source (default 100)")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--deadline", type=float, default=1.0, help="seconds that one frame may take (default 1)")
    parser.add_argument("--max-memory", default="400MB", help="refuse to start beyond this (default 400MB)")
    arguments = parser.parse_args()
    try:
        with ortolan.load(arguments.bundle, ortolan.ImageClassifier, max_memory=arguments.max_memory) as model:
            frames = synthetic(arguments.size[0], arguments.size[1], arguments.frames)
            for line in watch(model, frames, arguments.deadline):
                print(line, flush=True)
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
