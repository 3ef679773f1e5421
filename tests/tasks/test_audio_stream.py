"""Sound chunk by chunk: the same answers however it is cut, and typed errors for everything else."""

from __future__ import annotations

import json
import threading
import wave
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import ortolan
from ortolan.cli.predict import predict
from ortolan.errors import (
    BundleError,
    Cancelled,
    ClosedError,
    DeadlineExceeded,
    InputError,
    InputTypeError,
    ManifestError,
    SessionError,
    TaskMismatchError,
    UsageError,
)
from ortolan.inputs.audio import Recording, read_wav
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK, CONTEXT = 8, 3
CONFIG: dict[str, Any] = {
    "sample_rate": 1000,
    "samples": {"input": "x", "shape": [1, CHUNK + CONTEXT]},
    "chunk": CHUNK,
    "context": CONTEXT,
    "constants": {"gain": 2},
    "states": [{"input": "sum", "output": "sum_next", "shape": [1, 1], "initial": 0.5}],
    "answer": {"output": "score"},
    "channels": "mean",
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Function (changes of the configuration) -> a bundle of sum' = 0.5 sum + gain * sum(x); score = sum'; last = x."""
    room = tmp_path_factory.mktemp("stream")
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=1),
        helper.make_node("Cast", ["gain"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["total", "factor"], ["louder"]),
        helper.make_node("Mul", ["sum", "half"], ["faded"]),
        helper.make_node("Add", ["louder", "faded"], ["sum_next"]),
        helper.make_node("Identity", ["sum_next"], ["score"]),
        helper.make_node("Identity", ["x"], ["seen"]),
        helper.make_node("Concat", ["sum", "sum"], ["longer"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "time"]),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 1]),
            helper.make_tensor_value_info("gain", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 1]),
            helper.make_tensor_value_info("sum_next", TensorProto.FLOAT, ["batch", 1]),
            helper.make_tensor_value_info("seen", TensorProto.FLOAT, ["batch", "time"]),
            helper.make_tensor_value_info("longer", TensorProto.FLOAT, ["batch", "more"]),
        ],
        [
            numpy_helper.from_array(np.array([1]), "axes"),
            numpy_helper.from_array(np.array([[0.5]], np.float32), "half"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), room / "m.onnx")

    def make(**changes: Any) -> Path:
        config = {key: value for key, value in {**CONFIG, **changes}.items() if value is not ...}
        (room / "task.yaml").write_text(json.dumps({"task": "audio-stream", "config": config}), encoding="utf-8")
        return convert(room / "m.onnx", room / "m.bundle", config=room / "task.yaml", overwrite=True).bundle.path

    return make


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state directory that no other test sees."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def model(build: Callable[..., Path]) -> Iterator[ortolan.Streamer]:
    """The model as it is described above."""
    with ortolan.load(build(), ortolan.Streamer, threads=1) as loaded:
        yield loaded


def expected(samples: Any, initial: float = 0.5) -> list[float]:
    """What the model computes, in plain Python."""
    sound = np.concatenate([np.zeros(CONTEXT), np.asarray(samples, np.float64)])
    sums = []
    for at in range(0, len(sound) - CONTEXT, CHUNK):
        initial = 0.5 * initial + 2 * sound[at : at + CHUNK + CONTEXT].sum()
        sums.append(initial)
    return sums


def noise(count: int) -> Any:
    return np.random.default_rng(count).uniform(-1, 1, count).astype(np.float32)


def test_a_recording_is_answered_chunk_by_chunk(model: ortolan.Streamer) -> None:
    """Context and state are carried over, the last chunk is filled up with silence."""
    samples = noise(3 * CHUNK + 5)
    answers = model.predict(samples)
    np.testing.assert_allclose([a.score for a in answers], expected(samples), rtol=1e-4, atol=1e-5)
    assert [a.start for a in answers] == pytest.approx([0, 0.008, 0.016, 0.024])
    assert [a.end for a in answers] == pytest.approx([0.008, 0.016, 0.024, 0.032])
    assert answers[0].label is None
    assert set(answers[0].outputs) == {"score", "seen", "longer"}
    np.testing.assert_array_equal(answers[1].outputs["seen"][0], samples[CHUNK - CONTEXT : 2 * CHUNK])
    assert answers[0].outputs["score"][0, 0] == answers[0].score


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 3 * CHUNK), max_size=12), st.booleans())
def test_the_cuts_do_not_matter(model: ortolan.Streamer, lengths: list[int], whole: bool) -> None:
    """Pieces of any length, also empty ones, of either type, give exactly what the whole gives."""
    count = sum(lengths)
    samples = noise(count) if whole else (noise(count) * 32767).astype(np.int16)
    stream = model.stream()
    found, at = [], 0
    for length in lengths:
        found += stream.push(samples[at : at + length])
        at += length
        assert stream.position == pytest.approx(at / 1000)
        assert len(found) == at // CHUNK
    found += stream.flush()
    assert [a.score for a in found] == [a.score for a in model.predict(samples)]
    assert stream.position == 0


@pytest.mark.parametrize(
    "of", [lambda x: x.astype(">i2"), lambda x: np.repeat(x, 2)[::2], lambda x: np.broadcast_to(x, x.shape)]
)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_arrays_of_any_layout(model: ortolan.Streamer, of: Callable[[Any], Any], dtype: Any) -> None:
    """Big-endian, strided and read-only samples mean the same."""
    samples = (noise(20) * 32767).astype(np.int16)
    given_ = of(samples) if dtype is np.int16 else of(samples).astype(np.float32) / np.float32(32768)
    assert [a.score for a in model.predict(given_)] == [a.score for a in model.predict(samples)]


def test_reset_forgets_and_flush_begins_anew(model: ortolan.Streamer) -> None:
    """After either, the same sound gives the same answers as on a new stream."""
    samples = noise(2 * CHUNK)
    stream = model.stream()
    first = [a.score for a in stream.push(samples)]
    assert [a.score for a in stream.push(samples)] != first
    stream.push(samples[:3])
    stream.reset()
    assert (stream.position, [a.score for a in stream.push(samples)]) == (0, first)
    assert stream.flush() == []
    assert [a.score for a in stream.push(samples)] == first


def test_streams_do_not_disturb_each_other(model: ortolan.Streamer) -> None:
    """Many streams share one model, each with a state of its own; answers are copies."""
    sounds = [noise(40 + i) for i in range(5)]
    streams = [model.stream() for _ in sounds]
    found: list[list[Any]] = [[] for _ in sounds]
    for at in range(0, 48, 5):
        for i, (stream, sound) in enumerate(zip(streams, sounds, strict=True)):
            found[i] += stream.push(sound[at : at + 5])
    for i, (stream, sound) in enumerate(zip(streams, sounds, strict=True)):
        answers = found[i] + stream.flush()
        np.testing.assert_allclose([a.outputs["score"][0, 0] for a in answers], expected(sound), rtol=1e-4, atol=1e-5)


def test_many_threads_predict_at_once(model: ortolan.Streamer) -> None:
    """`predict` takes a stream of its own for each call."""
    sounds = [noise(400 + i) for i in range(8)]
    found: dict[int, list[Any]] = {}

    def work(i: int) -> None:
        for _ in range(20):
            found[i] = model.predict(sounds[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, sound in enumerate(sounds):
        np.testing.assert_allclose([a.score for a in found[i]], expected(sound), rtol=1e-4, atol=1e-5)


def test_two_threads_on_one_stream_are_refused(model: ortolan.Streamer) -> None:
    """A typed error instead of a mixture of sounds; the call that runs goes on."""
    stream = model.stream()
    entered, leave = threading.Event(), threading.Event()
    run = stream._bound

    def slow(control: object) -> None:
        entered.set()
        assert leave.wait(10)
        run(control)

    stream._bound = slow
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.extend(stream.push(noise(CHUNK))))
    thread.start()
    assert entered.wait(10)
    for call in (lambda: stream.push(noise(1)), stream.flush, stream.reset):
        with pytest.raises(UsageError) as raised:
            call()
        assert str(raised.value) == (
            "two threads use one Stream at the same time; give each thread its own: model.stream()"
        )
    leave.set()
    thread.join()
    assert len(answers) == 1


def test_a_failed_chunk_needs_a_reset(model: ortolan.Streamer) -> None:
    """The stream has lost its place and says so."""
    stream = model.stream()
    run = stream._bound

    def failing(control: object) -> None:
        raise SessionError("broken")

    stream._bound = failing
    with pytest.raises(SessionError, match="broken"):
        stream.push(noise(CHUNK + 2))
    stream._bound = run
    for call in (lambda: stream.push(noise(1)), stream.flush):
        with pytest.raises(UsageError, match=r"lost its place when a call failed in the middle of a chunk; call reset"):
            call()
    stream.reset()
    samples = noise(CHUNK)
    assert stream.push(samples)[0].score == model.predict(samples)[0].score


def test_faulty_samples_leave_the_stream_as_it_was(model: ortolan.Streamer) -> None:
    """Types, axes and NaN are found before anything is taken."""
    samples = noise(2 * CHUNK)
    stream = model.stream()
    stream.push(samples[:5])
    spoilt = noise(30)
    spoilt[29] = np.nan
    for fault, kind in ((spoilt, InputError), (np.zeros((2, 2), np.int16), InputError), (np.zeros(9), InputTypeError)):
        with pytest.raises(kind):
            stream.push(fault)
    with pytest.raises(UsageError, match=r"expected control to be an ortolan\.RunControl, got float"):
        stream.push(samples[5:], 0.5)  # type: ignore[arg-type] # the fault in question
    found = stream.push(samples[5:])
    assert [a.score for a in found] == [a.score for a in model.predict(samples)]


def test_a_call_can_be_stopped(model: ortolan.Streamer) -> None:
    """Cancelled before, and at a deadline that is for all chunks of a call together; the model stays usable."""
    control = ortolan.RunControl()
    control.cancel()
    stream = model.stream()
    for call in (
        lambda: stream.push(noise(CHUNK), control),
        lambda: model.predict(noise(3), control),
        lambda: model.predict_batch([noise(CHUNK)], control),
    ):
        with pytest.raises(Cancelled):
            call()
    stream.reset()
    run = stream._bound
    gone = threading.Event()

    def slow(control: object) -> None:
        gone.wait(0.02)
        run(control)

    stream._bound = slow
    with pytest.raises(DeadlineExceeded, match=r"past its deadline of 0\.05 s"):
        stream.push(noise(1000 * CHUNK), ortolan.RunControl(timeout=0.05))
    assert len(model.predict(noise(CHUNK), ortolan.RunControl(timeout=60))) == 1


def test_a_batch_is_recordings(model: ortolan.Streamer) -> None:
    """The path of one would be taken for its letters."""
    for one in ("speech.wav", b"RIFF"):
        with pytest.raises(InputTypeError, match=r"expected a list of recordings, found a single (str|bytes); use pre"):
            model.predict_batch(one)  # type: ignore[arg-type] # a likely slip
    with pytest.raises(InputTypeError, match="expected a list of inputs, found int"):
        model.predict_batch(5)  # type: ignore[arg-type] # the fault in question
    assert model.predict_batch([]) == []


def test_nothing_works_after_close(build: Callable[..., Path]) -> None:
    """Neither the model nor its streams, not even for a piece of a chunk."""
    model = ortolan.load(build(), ortolan.Streamer)
    stream = model.stream()
    model.close()
    calls: list[Callable[[], object]] = [
        model.stream,
        lambda: model.predict(noise(CHUNK)),
        lambda: model.predict_batch([noise(CHUNK)]),
        lambda: stream.push(noise(1)),
        stream.flush,
        stream.reset,
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    with pytest.raises(ClosedError):
        stream.push(noise(CHUNK))


def test_memory_is_laid_out_once(build: Callable[..., Path]) -> None:
    """A stream's shapes never change, so onnxruntime may plan for them; with other models every shape would be kept."""
    path = build()
    with ortolan.load(path) as model:
        assert model._session._session.get_session_options().enable_mem_pattern
    with ortolan.load(next(path.rglob("*.onnx"))) as bare:
        assert not bare._session._session.get_session_options().enable_mem_pattern


def test_it_is_a_task_of_its_own(build: Callable[..., Path]) -> None:
    """Another class is refused; golden samples are chunks in a row, and are checked."""
    path = build()
    with pytest.raises(TaskMismatchError, match=r"is a audio-stream bundle; load it as ortolan\.Streamer"):
        ortolan.load(path, ortolan.TabularClassifier)
    with ortolan.load(path) as model:
        fidelity = model.check()
        assert (fidelity.n, fidelity.drop) == (16, 0)


def write_wav(path: Path, samples: Any, rate: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1] if samples.ndim == 2 else 1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def test_recordings_come_from_files(model: ortolan.Streamer, tmp_path: Path) -> None:
    """A path, its bytes, a recording that was read, and samples are the same; channels are mixed as declared."""
    samples = (noise(30) * 32767).astype(np.int16)
    path = write_wav(tmp_path / "a.wav", samples, 1000)
    scores = [a.score for a in model.predict(samples)]
    for source in (path, str(path), path.read_bytes(), read_wav(path)):
        assert [a.score for a in model.predict(source)] == scores
    assert [[a.score for a in one] for one in model.predict_batch([path, samples])] == [scores, scores]
    two = write_wav(tmp_path / "two.wav", np.stack([samples, samples], axis=1), 1000)
    np.testing.assert_allclose([a.score for a in model.predict(two)], scores, rtol=1e-5)
    with pytest.raises(InputTypeError, match="expected the path of a WAV file or its bytes, found float"):
        model.predict(1.5)  # type: ignore[arg-type] # the fault in question


def test_other_rates_and_channels_are_refused_unless_declared(build: Callable[..., Path], tmp_path: Path) -> None:
    """The message says what to do; a declared one is resampled."""
    slow = write_wav(tmp_path / "slow.wav", (noise(30) * 9999).astype(np.int16), 500)
    two = Recording(np.zeros((9, 2), np.float32), 1000)
    with ortolan.load(build(channels="refuse"), ortolan.Streamer) as model:
        with pytest.raises(InputError) as raised:
            model.predict(slow)
        assert str(raised.value) == (
            f"{slow}: expected 1000 Hz, found 500 Hz; the bundle does not allow resampling (resample: false): "
            "convert it, e.g. ffmpeg -i IN.wav -ar 1000 OUT.wav"
        )
        with pytest.raises(InputError, match="the recording: expected one channel, found 2"):
            model.predict(two)
    with ortolan.load(build(resample=True, channels="first"), ortolan.Streamer) as model:
        assert len(model.predict(slow)) == -(-60 // CHUNK)
        assert len(model.predict(two)) == 2


def test_what_is_incomplete_can_be_dropped(build: Callable[..., Path]) -> None:
    """last: drop answers whole chunks only."""
    with ortolan.load(build(last="drop"), ortolan.Streamer) as model:
        assert len(model.predict(noise(CHUNK + 7))) == 1
        assert model.predict(noise(7)) == []
        assert model.predict(noise(0)) == []


def test_full_scale_is_declared(build: Callable[..., Path], model: ortolan.Streamer) -> None:
    """A model that was trained on 16-bit numbers gets such; int16 and float32 mean the same loudness."""
    with ortolan.load(build(full_scale=32768), ortolan.Streamer) as louder:
        samples = (noise(CHUNK) * 32767).astype(np.int16)
        for given_ in (samples, samples.astype(np.float32) / np.float32(32768)):
            (answer,) = louder.predict(given_)
            assert answer.outputs["seen"][0, CONTEXT:].tolist() == samples.tolist()


def test_labels_of_the_largest_number(build: Callable[..., Path]) -> None:
    """With labels the answer is the one of the largest score, here of two equal ones the first."""
    with ortolan.load(build(answer={"output": "longer", "labels": ["yes", "no"]}), ortolan.Streamer) as model:
        (answer,) = model.predict(noise(CHUNK))
        assert (answer.label, answer.score) == ("yes", 0.5)
    with ortolan.load(build(answer=None), ortolan.Streamer) as model:
        assert model.predict(noise(CHUNK))[0].score is None


def test_the_command_line_takes_wav_files(build: Callable[..., Path], tmp_path: Path) -> None:
    """A line for each chunk: start, end and score."""
    path = write_wav(tmp_path / "a.wav", np.zeros(2 * CHUNK, np.int16), 1000)
    bundle = str(build())
    done = CliRunner().invoke(predict, [bundle, str(path)])
    assert done.output == "    0.000     0.008  0.2500\n    0.008     0.016  0.1250\n"
    done = CliRunner().invoke(predict, [bundle, str(path), "--json"])
    (answer,) = json.loads(done.output)["answers"]
    assert answer["chunks"][1]["start_s"] == pytest.approx(0.008)
    assert answer["chunks"][1]["score"] == 0.125


STATE = {"input": "sum", "output": "sum_next", "shape": [1, 1]}


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"sample_rate": ...}, ManifestError, "task.config.sample_rate: missing"),
        ({"chunk": 0}, ManifestError, "task.config.chunk: expected 1 to 16777216, got 0"),
        ({"chunks": 1}, ManifestError, "task.config.chunks: unknown key"),
        (
            {"samples": {"input": "x", "shape": [1, 8]}},
            ManifestError,
            "samples.shape: expected one axis of 11 samples (chunk + context) and others of 1, found [1, 8]",
        ),
        (
            {"samples": {"input": "x", "shape": [11]}},
            BundleError,
            "task.config.samples.shape: the model's input is x: float32[batch, time], which [11] does not fit",
        ),
        (
            {"samples": {"input": "gain", "shape": [1, 11]}, "constants": {}},
            BundleError,
            "model: expected input 'gain' to take float32 samples, found gain: int64[]",
        ),
        ({"constants": {}}, BundleError, "model: expected a state or a constant for input 'gain', found none"),
        ({"constants": {"gain": 2.5}}, ManifestError, "task.config.constants.gain: 2.5 is no value of gain: int64[]"),
        ({"constants": {"gain": 2, "x": 0}}, ManifestError, "task.config.constants.x: input 'x' is named twice"),
        ({"constants": {"pitch": 2}}, BundleError, "task.config.constants.pitch: the model has no input 'pitch'"),
        (
            {"states": [{**STATE, "output": "s"}]},
            BundleError,
            "task.config.states[0].output: the model has no output 's', only score, sum_next, seen, longer",
        ),
        ({"states": [{**STATE, "growth": "time"}]}, ManifestError, "task.config.states[0].growth: expected 'none'"),
        ({"states": [{**STATE, "shape": [1, 2]}]}, BundleError, "which [1, 2] does not fit"),
        ({"states": [STATE, STATE]}, ManifestError, "task.config.states[1].input: input 'sum' is named twice"),
        (
            {"answer": {"output": "sum_next"}},
            BundleError,
            "task.config.answer.output: expected an output that is no state, found 'sum_next'",
        ),
        ({"answer": {"output": "score", "labels": ["a"]}}, ManifestError, "task.config.answer.labels: expected 2 to"),
        ({"channels": "left"}, ManifestError, "task.config.channels: expected 'refuse' or 'mean' or 'first'"),
        ({"resample": 1}, ManifestError, "task.config.resample: expected bool, got int"),
        ({"last": "keep"}, ManifestError, "task.config.last: expected 'pad' or 'drop'"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    build: Callable[..., Path], changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """When the bundle is made, with the dotted path."""
    with pytest.raises(kind) as raised:
        build(**changes)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"states": [{**STATE, "output": "longer"}]},
            "model: state 'sum' is [1, 1], but 'longer' is [1, 2]; a state must keep its shape",
        ),
        (
            {"answer": {"output": "longer"}},
            "model: expected output 'longer' to have a number for each of 1 labels, found 2",
        ),
    ],
)
def test_shapes_that_only_a_run_tells(build: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    """They are found when the bundle is made too, because it answers a chunk then."""
    with pytest.raises(BundleError) as raised:
        build(**changes)
    assert str(raised.value) == message
