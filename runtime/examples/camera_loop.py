"""Classify what a camera sees, always the newest frame; or the images in a directory, each of them.

    python camera_loop.py classifier.bundle --camera /dev/video0
    python camera_loop.py classifier.bundle --images photos/
    python camera_loop.py classifier.bundle --frames 100

A frame is a uint8 array of height x width x 3 from any source. ``--camera`` takes OpenCV (``pip install
opencv-python-headless``), which reads V4L2 devices, files and RTSP addresses; on a Raspberry Pi's own camera
``picamera2``'s ``capture_array()`` is one more source of a line. ``--frames`` makes frames up, for a machine without a
camera. A thread grabs frames and keeps the newest only, so that a slow model skips frames instead of falling behind.
"""

import argparse
import importlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import ortolan
from ortolan.errors import DeadlineExceeded, InputError, MemoryBudgetError, OrtolanError

Frame = ortolan.ImageArray | Path


def synthetic(height: int, width: int, count: int) -> Iterator[Frame]:
    """A bright square that moves over noise: stands in for a camera."""
    random = np.random.default_rng(0)
    for turn in range(count):
        frame = random.integers(0, 60, (height, width, 3), np.uint8)
        left = turn * 7 % max(1, width - 8)
        frame[height // 3 : height // 3 + 8, left : left + 8] = 255
        yield ortolan.ImageArray(frame, "rgb")
        time.sleep(0.001)


def camera(device: str) -> Iterator[Frame]:
    """Frames of a camera that OpenCV can open: a number, a device, a file or an address."""
    cv2: Any = importlib.import_module("cv2")
    source = cv2.VideoCapture(int(device) if device.isdecimal() else device)
    try:
        while True:
            grabbed, frame = source.read()
            if not grabbed:
                return
            yield ortolan.ImageArray(frame, "bgr")
    finally:
        source.release()


class Newest:
    """The newest frame of a source; grabs in a thread of its own."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._ended = False
        self._error: Exception | None = None
        threading.Thread(target=self._grab, args=(frames,), daemon=True).start()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frame is not None or self._ended)
                frame, self._frame = self._frame, None
            if frame is not None:
                yield frame
            elif self._error is not None:
                raise self._error
            else:
                return

    def _grab(self, frames: Iterator[Frame]) -> None:
        try:
            for frame in frames:
                with self._changed:
                    self._frame = frame
                    self._changed.notify()
        except Exception as error:  # noqa: BLE001 - raised again where the frames are asked for
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()


def watch(model: ortolan.ImageClassifier, frames: Iterable[Frame], deadline: float) -> Iterator[str]:
    """A line whenever the label changes."""
    control = ortolan.RunControl(timeout=deadline)
    before: object = None
    for frame in frames:
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


def frames_of(arguments: argparse.Namespace) -> Iterable[Frame]:
    """The frames that were asked for."""
    if arguments.images is not None:
        return sorted(path for path in arguments.images.iterdir() if path.is_file())
    if arguments.camera is not None:
        return Newest(camera(arguments.camera))
    return Newest(synthetic(arguments.size[0], arguments.size[1], arguments.frames))


def main() -> int:
    """Watch until the source ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a bundle of task image-classification")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--camera", metavar="DEVICE", help="what OpenCV opens, e.g. 0 or /dev/video0")
    source.add_argument("--images", type=Path, metavar="DIRECTORY", help="image files instead (needs Pillow)")
    source.add_argument("--frames", type=int, default=100, help="frames of the made-up source (default 100)")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--deadline", type=float, default=1.0, help="seconds that one frame may take (default 1)")
    parser.add_argument("--max-memory", default="400MB", help="refuse to start beyond this (default 400MB)")
    arguments = parser.parse_args()
    try:
        with ortolan.load(arguments.bundle, ortolan.ImageClassifier, max_memory=arguments.max_memory) as model:
            for line in watch(model, frames_of(arguments), arguments.deadline):
                print(line, flush=True)
    except MemoryBudgetError as error:
        print(f"error: this device is too small: {error}", file=sys.stderr)
        return 3
    except OrtolanError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except (ImportError, OSError) as error:
        print(f"error: no frames: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
