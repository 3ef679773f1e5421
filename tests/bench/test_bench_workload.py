"""The inputs of a benchmark."""

import numpy as np
import pytest

from ortolan.errors import InputError, StorageError
from ortolan.types import TensorSpec
from ortolan_bench.workload import MAX_INPUTS, generate, read_data, read_npz, spaced


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt", "eins\r\n\n 这个\n", ("eins", "", " 这个")),
        ("a.csv", 'label,text\n1,"two\nlines, one text"\n0,b\u2028c\n', ("two\nlines, one text", "b\u2028c")),
        ("a.TXT", "\ufeffbom\n", ("bom",)),
    ],
)
def test_texts_of_each_kind_of_file(tmp_path, name, content, texts):
    """Line breaks within a text and separators are kept, an empty line is an empty text."""
    path = tmp_path / name
    path.write_bytes(content.encode())
    workload = read_data(path, "text-classification")
    assert (workload.name, workload.kind, workload.texts) == (name, "text", texts)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.parquet", b"x", InputError, "expected samples as .csv, .tsv, .jsonl or .txt, found '.parquet'"),
        ("a.txt", b"", InputError, "no samples in it; expected at least one text"),
        ("a.npz", b"PK\x03\x04 truncated", InputError, "expected arrays of numbers"),
    ],
)
def test_unusable_data_is_one_clear_line(tmp_path, name, content, error, message):
    """What was expected, what was found, and where."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        read_data(path, "text-classification")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.txt", "none.npz"])
def test_missing_data(tmp_path, name):
    """The path and the reason."""
    with pytest.raises(StorageError, match="No such file or directory"):
        read_data(tmp_path / name, "embedding")


def test_long_data_is_sampled_evenly(tmp_path):
    """A sorted file is not judged by its head."""
    path = tmp_path / "a.txt"
    path.write_text("\n".join(map(str, range(5000))))
    workload = read_data(path, "text-classification")
    assert (workload.count, workload.available) == (MAX_INPUTS, 5000)
    assert workload.texts[:2] == ("0", "5")
    assert spaced([1, 2, 3], 3) == [1, 2, 3]


def test_numbered_sets_are_one_feed_each(tmp_path):
    """As a bundle's golden inputs are kept."""
    path = tmp_path / "a.npz"
    np.savez(
        path, **{"0000/x": np.zeros((1, 3)), "0000/y": np.ones(2), "0001/x": np.zeros((1, 5)), "0001/y": np.ones(2)}
    )
    feeds = read_npz(path, [TensorSpec("x", "float64", (1, None))])
    assert [feed["x"].shape for feed in feeds] == [(1, 3), (1, 5)]
    assert read_data(path, "text-classification").count == 2


def test_arrays_by_input_name_are_cut_into_samples(tmp_path):
    """The batch axis stays where the model has one."""
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(12.0).reshape(4, 3), scale=np.arange(4.0).reshape(4, 1))
    specs = [TensorSpec("x", "float64", ("batch", 3)), TensorSpec("scale", "float64", (1,))]
    feeds = read_npz(path, specs)
    assert len(feeds) == 4
    assert feeds[1]["x"].tolist() == [[3.0, 4.0, 5.0]]
    assert feeds[1]["scale"].tolist() == [1.0]


def test_arrays_of_different_length_are_refused(tmp_path):
    """Which samples belong together would be a guess."""
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((4, 3)), y=np.zeros(3))
    with pytest.raises(InputError, match="same number \\(at least 1\\) of samples, found x 4, y 3"):
        read_data(path, "text-classification")


def test_pickled_arrays_are_refused(tmp_path):
    """Nothing in a data file may run."""
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([{}, {}], dtype=object))
    with pytest.raises(InputError, match="expected arrays of numbers"):
        read_data(path, "text-classification")


def test_generated_inputs_have_the_declared_shapes_and_types():
    """Free dimensions take the sizes given, otherwise 1; integers are valid indices everywhere."""
    specs = [
        TensorSpec("ids", "int64", ("batch", "terms")),
        TensorSpec("x", "float16", (None, 3)),
        TensorSpec("mask", "bool", ()),
    ]
    feeds = generate(specs, {"terms": 7})
    assert len(feeds) == 16
    assert feeds[0]["ids"].shape == (1, 7)
    assert feeds[0]["ids"].dtype == np.int64
    assert {int(value) for feed in feeds for value in feed["ids"].flat} == {0, 1}
    assert (feeds[0]["x"].dtype, feeds[0]["x"].shape) == (np.float16, (1, 3))
    assert feeds[0]["mask"].dtype == bool


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TensorSpec("x", "str", (1,)), "input x: values of type str cannot be made up; give --inputs DATA.npz"),
        (
            TensorSpec("x", "float32", None),
            "input x: its rank is unknown, so no input can be made; give --inputs DATA.npz",
        ),
        (TensorSpec("x", "int8", (1 << 20, 1 << 20)), "is too large to be made up; give --inputs DATA.npz"),
    ],
)
def test_inputs_that_cannot_be_made_up(spec, message):
    """The message says what to give instead."""
    with pytest.raises(InputError) as caught:
        generate([spec], {})
    assert message in str(caught.value)


def test_files_of_image_and_audio_models_are_found_below_a_directory(tmp_path):
    """In order, hidden ones left out; a single file is itself; predict is given their paths."""
    for name in ("b/2.jpg", "a.png", "b/1.jpg", ".hidden", ".trash/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    workload = read_data(tmp_path, "image-classification")
    assert (workload.kind, workload.name, workload.count, workload.is_raw) == ("files", tmp_path.name, 3, True)
    assert workload.texts == tuple(str(tmp_path / name) for name in ("a.png", "b/1.jpg", "b/2.jpg"))
    assert read_data(tmp_path / "a.png", "audio-stream").texts == (str(tmp_path / "a.png"),)


@pytest.mark.parametrize(
    ("task", "name", "content", "message"),
    [
        ("tensor", "a.txt", "x", "this model takes tensors; expected an .npz file"),
        ("tabular-classification", "a.csv", "a,b\n", "expected a line of names and at least one row, found none"),
        ("text-classification", "a.csv", "a,b\n1,2\n", "expected a column 'text', found 'a', 'b'"),
    ],
)
def test_data_that_does_not_fit_the_task(tmp_path, task, name, content, message):
    """Found before a worker starts."""
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_data(path, task)
    assert message in str(caught.value)


@pytest.mark.parametrize("task", ["tensor", "object-detection", "tabular-regression", "audio-stream"])
def test_data_that_is_not_there(tmp_path, task):
    """Whatever the task takes."""
    with pytest.raises(StorageError, match="No such file or directory"):
        read_data(tmp_path / "none", task)
