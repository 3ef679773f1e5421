"""Samples files: what is read, and what is refused with which words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.errors import InputError, StorageError
from ortolan.inputs.datafile import _json_lines, label_text, read_arrays, read_texts
from ortolan.inputs.table_file import count_rows

if TYPE_CHECKING:
    from pathlib import Path


def test_csv_with_labels(tmp_path: Path) -> None:
    """Quotes, commas, line ends and Chinese text are read as the csv module does."""
    (tmp_path / "s.csv").write_text('label,text\npos,"a, ""b""\nc"\nneg,很好\n', encoding="utf-8-sig")
    samples = read_texts(tmp_path / "s.csv")
    assert samples.texts == ('a, "b"\nc', "很好")
    assert samples.labels == ("pos", "neg")


def test_tsv_without_labels(tmp_path: Path) -> None:
    """A .tsv splits at tabs, and labels are optional."""
    (tmp_path / "s.tsv").write_text("text\tother\na,b\t1\n\t2\n")
    samples = read_texts(tmp_path / "s.tsv")
    assert samples.texts == ("a,b", "")
    assert samples.labels is None


def test_long_fields_are_read(tmp_path: Path) -> None:
    """A text longer than the csv module's default limit is one field, of a table of features too."""
    (tmp_path / "s.csv").write_text("text\n" + "x" * 200_000 + "\n")
    assert len(read_texts(tmp_path / "s.csv").texts[0]) == 200_000
    assert count_rows(tmp_path / "s.csv") == 1


def test_jsonl_keeps_what_csv_cannot(tmp_path: Path) -> None:
    """Line separators and lone surrogates inside texts survive in .jsonl, and numbers are labels."""
    rows = [{"text": "a\u2028b\x85\x00", "label": 1}, {"text": "\ud83d", "label": 2.0}]
    (tmp_path / "s.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    samples = read_texts(tmp_path / "s.jsonl")
    assert samples.texts == ("a\u2028b\x85\x00", "\ud83d")
    assert samples.labels == ("1", "2")


def test_partial_labels_are_no_labels(tmp_path: Path) -> None:
    """Accuracy needs a label for every sample."""
    (tmp_path / "s.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b"}\n')
    assert read_texts(tmp_path / "s.jsonl").labels is None


def test_txt_has_one_text_per_line(tmp_path: Path) -> None:
    """Only line feeds separate texts, and an empty line is an empty text."""
    (tmp_path / "s.txt").write_bytes("a\r\n\nb\u2028c\n".encode())
    assert read_texts(tmp_path / "s.txt").texts == ("a", "", "b\u2028c")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.csv", b"", "no samples in it"),
        ("s.csv", b"text\n", "no samples in it"),
        ("s.csv", b"review,label\na,b\n", "expected a column 'text', found 'review', 'label'"),
        ("s.csv", b"label,text\npos\n", "line 2: expected 2 columns, found fewer"),
        ("s.csv", b'text\n"a', "not a well-formed table"),
        ("s.csv", b"text\n\xff\xfe\n", "expected UTF-8, found byte 0xff"),
        ("s.jsonl", b"", "no samples in it"),
        ("s.jsonl", b'{"text": 1}\n', "line 1: expected a string under 'text', found int"),
        ("s.jsonl", b'\n{"label": 1}\n', "line 2: expected a string under 'text', found nothing"),
        ("s.jsonl", b"[1]\n", "line 1: expected a JSON object, found list"),
        ("s.jsonl", b"{\n", "line 1: expected a JSON object: "),
        ("s.jsonl", b'{"text": "a", "label": [1]}', "line 1: expected one label, found list"),
        ("s.npy", b"", "this model takes texts, not arrays"),
        ("s.parquet", b"", "found '.parquet'"),
        ("samples", b"", "found no extension"),
    ],
)
def test_refusals(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    """Each fault is one line that says what was expected and where."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_texts(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(StorageError, match=r"absent\.csv: cannot be read: No such file"):
        read_texts(tmp_path / "absent.csv")


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_text_survives_jsonl(texts: list[str]) -> None:
    """What json.dumps writes is read back as it was."""
    import io
    from pathlib import Path

    file = io.StringIO("\n".join(json.dumps({"text": text}) for text in texts))
    assert [text for text, _ in _json_lines(Path("s.jsonl"), file)] == texts


@pytest.mark.parametrize(("label", "text"), [(1, "1"), (1.0, "1"), (1.5, "1.5"), ("a", "a"), (True, "True")])
def test_labels_as_text(label: Any, text: str) -> None:
    """Labels of files and of models are compared in one form."""
    assert label_text(label) == text


def test_arrays_by_name(tmp_path: Path) -> None:
    """A .npz gives arrays by name, a .npy one without."""
    np.savez(tmp_path / "s.npz", x=np.ones((2, 3)))
    np.save(tmp_path / "s.npy", np.ones(4))
    assert read_arrays(tmp_path / "s.npz")["x"].shape == (2, 3)
    assert read_arrays(tmp_path / "s.npy")[""].shape == (4,)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04abc", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_damaged_arrays(content: bytes, tmp_path: Path) -> None:
    """A damaged file of arrays is one line."""
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(InputError, match="expected arrays of numbers"):
        read_arrays(tmp_path / "s.npz")


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    """Objects in an array are refused."""
    np.save(tmp_path / "s.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="expected arrays of numbers"):
        read_arrays(tmp_path / "s.npy")
