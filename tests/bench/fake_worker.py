"""A worker with a made-up model: ``python fake_worker.py BEHAVIOUR PARENT_PID``. Loop and pipes are the real ones."""

import os
import sys
import time

import ortolan_bench.worker as worker
from ortolan.types import Fidelity, Interval


class Model:
    inputs = ()

    def predict(self, text):
        print("a library that prints on standard output")
        if "crash" in text:
            os.abort()
        if "hang" in text:
            time.sleep(600)
        if "raise" in text:
            raise ValueError("this text\nis refused")
        return text

    def run(self, feeds):
        return feeds

    def check(self):
        return Fidelity("label", 4, 0.0, Interval(0.0, 0.5), 0.0, "samples")


def load(path, variant, provider, threads):
    if variant == "missing":
        raise FileNotFoundError("no such variant")
    if variant == "memory":
        raise MemoryError
    return Model()


def main(behaviour):
    if behaviour == "silent":
        time.sleep(600)
    if behaviour == "garbage":
        os.write(1, b"Segmentation fault? no: hello\n")
        time.sleep(600)
    if behaviour == "exit":
        sys.stderr.write("some traceback\nImportError: no engine here\n")
        raise SystemExit(7)
    worker.main(load, lambda: {"runtime_id": "fake 1.0", "numpy_version": "2.0.0"}, int(sys.argv[2]))


if __name__ == "__main__":
    main(sys.argv[1])
