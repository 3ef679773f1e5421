"""What a worker calls, and with what."""

from types import SimpleNamespace

import numpy as np
import pytest

from ortolan.tasks.runner import Encoded
from ortolan.types import TensorSpec
from ortolan_bench.feeding import Feeding, grouped, stacked
from ortolan_bench.protocol import WorkerFailed
from ortolan_bench.worker import Service

FREE = [TensorSpec("x", "float32", ("batch", 2))]


def feeds(value):
    return {"x": np.full((1, 2), value, np.float32)}


class Runner:
    """Encodes two texts at a time."""

    def encode(self, xs):
        for first in range(0, len(xs), 2):
            rows = range(first, min(first + 2, len(xs)))
            yield Encoded({"x": np.array([[len(xs[i]), i] for i in rows], np.float32)}, rows)


class TextModel:
    """Counts what is asked of it."""

    inputs = FREE
    _runner = Runner()

    def __init__(self):
        self.asked, self.ran = [], []

    def predict(self, text):
        self.asked.append(text)

    def predict_batch(self, texts):
        self.asked.append(list(texts))

    def run(self, feeds):
        self.ran.append(feeds["x"].shape)


class Recurrent:
    """A runner of streams: three answers to every recording."""

    class session:  # noqa: N801 - stands for an object
        bound = 0

        @classmethod
        def bind(cls, start):
            assert start == {"x": 0}

            def run():
                cls.bound += 1

            return run

    config = SimpleNamespace(start={"x": 0})

    def stream(self):
        raise AssertionError

    def examples(self, count):
        return [feeds(i) for i in range(count)]


class SoundModel(TextModel):
    _runner = Recurrent()

    def predict(self, sound):
        return [sound] * 3


def texts(*values):
    return {"kind": "text", "texts": list(values), "path": None, "dims": {}}


def test_groups_go_through_all_inputs():
    """From the beginning again where the last group would be short; a group larger than all repeats them."""
    assert grouped([1, 2, 3], 1) == [1, 2, 3]
    assert grouped([1, 2, 3], 2) == [[1, 2], [3, 1]]
    assert grouped([1, 2], 5) == [[1, 2, 1, 2, 1]]


def test_texts_are_predicted_one_by_one_or_together():
    """As an application would."""
    model = TextModel()
    for at_once in (1, 2):
        call, inputs = Feeding(model, texts("a", "b"), at_once).whole()
        for one in inputs:
            call(one)
    assert model.asked == ["a", "b", ["a", "b"]]


def test_model_alone_runs_what_texts_were_encoded_to():
    """Every run that answering would make, and nothing else."""
    model = TextModel()
    call, inputs = Feeding(model, texts("a", "bb", "ccc"), 3).alone()
    call(inputs[0])
    assert model.ran == [(2, 2), (1, 2)]
    call, inputs = Feeding(model, texts("a"), 1).alone()
    call(inputs[0])
    assert (model.ran[-1], model.asked) == ((1, 2), [])


def test_model_alone_of_a_stream_runs_once_per_chunk():
    """Bound, as the stream does it."""
    feeding = Feeding(SoundModel(), {**texts("a.wav"), "kind": "files"})
    call, inputs = feeding.alone()
    before = Recurrent.session.bound
    call(inputs[0])
    assert Recurrent.session.bound - before == 3
    assert len(feeding.feeds()) == 16


def test_batches_of_tensors_are_stacked():
    """Into one run with a larger first axis."""
    (one,) = stacked([feeds(1), feeds(2)], FREE)
    assert one["x"].tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("group", "specs"),
    [
        ([feeds(1), {"x": np.zeros((1, 3), np.float32)}], FREE),
        ([feeds(1), feeds(2)], [TensorSpec("x", "float32", (1, 2))]),
        ([feeds(1), feeds(2)], [TensorSpec("x", "float32", None)]),
        ([{**feeds(1), "rate": np.int64(3)}] * 2, [*FREE, TensorSpec("rate", "int64", ())]),
    ],
)
def test_what_cannot_be_stacked_runs_one_after_the_other(group, specs):
    """Other shapes, a fixed batch, an unknown rank, a scalar."""
    assert len(stacked(group, specs)) == 2


def test_tensors_have_nothing_around_the_model(tmp_path):
    """So there is nothing to tell apart; each part of a batch that cannot be stacked is one run."""
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2), np.float32))
    workload = {"kind": "tensors", "texts": [], "path": str(tmp_path / "a.npz"), "dims": {}}
    model = TextModel()
    feeding = Feeding(model, workload, 2)
    assert feeding.alone() is None
    call, inputs = feeding.whole()
    call(inputs[0])
    assert (len(inputs), model.ran) == (2, [(2, 2)])
    assert [one["x"].shape for one in feeding.feeds()] == [(2, 2), (2, 2)]


@pytest.mark.parametrize("kind", ["text", "files", "rows"])
def test_raw_inputs_for_a_model_of_tensors_are_refused(kind):
    """With what to give instead."""

    class Bare:
        inputs = FREE

    with pytest.raises(WorkerFailed, match="but this model takes tensors; give --inputs DATA"):
        Feeding(Bare(), {**texts("a"), "kind": kind})


def test_service_serves_arrivals(clock):
    """Latencies from arrival, service times from start; what fills the queue is left out."""

    class Model(TextModel):
        def predict(self, text):
            clock.now += 3_000_000

    def wait(due):
        clock.now = due
        return due

    service = Service(lambda *_: Model(), clock, wait)
    load = {"path": "x", "variant": None, "provider": "cpu", "threads": None, "workload": texts("a"), "at_once": 1}
    service.handle({"do": "load", **load})
    arrivals = [0, 1_000_000, 2_000_000, 20_000_000]
    reply = service.handle({"do": "block", "arrivals_ns": arrivals, "lead": 1, "offset": 0, "limit_s": 1.0})
    assert reply["ok"]["samples_ns"] == [5_000_000, 7_000_000, 3_000_000]
    assert reply["ok"]["services_ns"] == [3_000_000] * 3
    assert reply["ok"]["unanswered"] == 0


def test_service_stops_serving_at_its_limit(clock):
    """Who is still waiting is counted and not answered."""

    class Model(TextModel):
        def predict(self, text):
            clock.now += 400_000_000

    service = Service(lambda *_: Model(), clock, lambda due: due)
    load = {"path": "x", "variant": None, "provider": "cpu", "threads": None, "workload": texts("a"), "at_once": 1}
    service.handle({"do": "load", **load})
    reply = service.handle({"do": "block", "arrivals_ns": [0] * 9, "lead": 0, "offset": 0, "limit_s": 1.0})
    assert (len(reply["ok"]["samples_ns"]), reply["ok"]["unanswered"]) == (3, 6)


def test_model_alone_must_be_made_ready_first():
    """A block of it before that is refused."""
    service = Service(lambda *_: TextModel())
    load = {"path": "x", "variant": None, "provider": "cpu", "threads": None, "workload": texts("a"), "at_once": 1}
    service.handle({"do": "load", **load})
    request = {"do": "block", "count": 2, "offset": 0, "limit_s": 1.0, "part": "alone"}
    assert "nothing is ready to run 'alone'" in service.handle(request)["error"]["message"]
    assert service.handle({"do": "parts"}) == {"ok": {"alone": True}}
    assert len(service.handle(request)["ok"]["samples_ns"]) == 2
