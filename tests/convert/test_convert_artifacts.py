"""Reading artifacts: trust, damage, separate files, custom code, versions."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
import subprocess
import sys
import types
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest
from sklearn.decomposition import NMF
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

from ortolan.errors import (
    ConversionError,
    MissingPackageError,
    ModelFileError,
    StorageError,
    TrustRequiredError,
    UnsupportedError,
)
from ortolan_convert.convert import convert
from ortolan_convert.sources.scikit_learn import text_features
from ortolan_convert.sources.scikit_learn.artifact import Artifact
from ortolan_convert.sources.scikit_learn.text_features import jieba_method
from ortolan_convert.sources.scikit_learn.text_source import read_text_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan_convert.report import ConversionReport

    Convert = Callable[..., ConversionReport]


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_nothing_in_a_pickle_runs_without_trust(
    protocol: int, compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """Whatever the protocol and compression, a pickle is refused before anything in it runs."""
    artifact = tmp_path / "model.bin"
    artifact.write_bytes(compress(pickle.dumps(Canary(tmp_path / "sprung"), protocol)))
    with pytest.raises(TrustRequiredError, match="add --trust"):
        convert(artifact, tmp_path / "out.bundle")
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "out.bundle").exists()


@pytest.mark.parametrize("compress", ["zlib", "gzip", "bz2", "xz", "lzma"])
def test_compressed_joblib_files_are_read(compress: str, sentiment: Path, tmp_path: Path) -> None:
    """joblib's own compressions are told by content and read."""
    artifact = tmp_path / "model"
    joblib.dump(joblib.load(sentiment), artifact, compress=(compress, 3))
    report = convert(artifact, tmp_path / "out.bundle", trust=True)
    assert report.variants[0].name == "fp32"


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_are_read(protocol: int, sentiment: Path, tmp_path: Path) -> None:
    """A file of pickle.dump needs no joblib form."""
    artifact = tmp_path / "model.pkl"
    artifact.write_bytes(pickle.dumps(joblib.load(sentiment), protocol))
    assert convert(artifact, tmp_path / "out.bundle", trust=True).task == "text-classification"


@pytest.mark.parametrize("share", [0.001, 0.2, 0.9, 0.999])
def test_a_truncated_pickle_is_one_clear_line(share: float, sentiment: Path, tmp_path: Path) -> None:
    """A pickle cut short is called damaged."""
    artifact = tmp_path / "model.joblib"
    data = sentiment.read_bytes()
    artifact.write_bytes(data[: max(4, int(len(data) * share))])
    with pytest.raises(ConversionError, match=r"damaged or cut short") as caught:
        convert(artifact, tmp_path / "out.bundle", trust=True)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [artifact]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00" * 64, "not a model file that is known"),
        (b"hello, world\n" * 9, "not a model file that is known"),
        (b"GGUF\x03\x00\x00\x00" + bytes(64), "a GGUF file"),
        (b'{"loser": {}}', "a JSON file"),
        (b"\x93NUMPY\x01\x00" + bytes(64), "a numpy array"),
        (b"PK\x03\x04" + bytes(64), "a zip archive that is damaged"),
        (gzip.compress(b"text"), "gzip-compressed, but no pickle inside"),
        (b"\x1f\x8b\x08" + bytes(9), "its gzip data is damaged"),
        (b"x\x9c" + b"\xff" * 40, "its zlib data is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    ],
)
def test_other_files_are_named_in_the_refusal(content: bytes, message: str, tmp_path: Path) -> None:
    """What a file is, is told by its content, and said."""
    artifact = tmp_path / "model.joblib"
    artifact.write_bytes(content)
    with pytest.raises(ConversionError, match=message):
        convert(artifact, tmp_path / "out.bundle", trust=True)


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    """Random bytes give a typed error of one line, whatever they happen to begin with."""
    random = np.random.default_rng(1)
    artifact = tmp_path / "model.onnx"
    for first in [b"\x80\x04", b"\x80\x02", b"c", b"(", b"\x08\x08", b"PK\x03\x04", b"x\x9c", b"BZh9", b"", b"]", b"}"]:
        artifact.write_bytes(first + random.bytes(500))
        with pytest.raises((ConversionError, ModelFileError)) as caught:
            convert(artifact, tmp_path / "out.bundle", trust=True)
        assert "\n" not in str(caught.value)


def test_a_huge_sparse_file_is_refused_quickly(tmp_path: Path) -> None:
    """A file of 100 GB of zeros is not read."""
    artifact = tmp_path / "model.joblib"
    with artifact.open("wb") as file:
        file.truncate(100 << 30)
    with pytest.raises((ConversionError, ModelFileError)):
        convert(artifact, tmp_path / "out.bundle", trust=True)


def test_missing_files_and_directories(tmp_path: Path) -> None:
    """A missing file and a directory are storage errors that name the path."""
    with pytest.raises(StorageError, match=r"absent\.joblib: cannot be read"):
        convert(tmp_path / "absent.joblib", tmp_path / "out.bundle")
    with pytest.raises(StorageError, match="expected a model file, found a directory"):
        convert(tmp_path, tmp_path / "out.bundle")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_parts_in_separate_files_in_any_order(order: tuple[int, ...], binary: Any, converted: Convert) -> None:
    """Vectorizer, selector and model saved apart are put in order."""
    texts, labels = binary
    vectorizer, selector, model = TfidfVectorizer(), SelectKBest(chi2, k=12), LogisticRegression()
    pipeline = make_pipeline(vectorizer, selector, model).fit(texts, labels)
    parts = (vectorizer, selector, model)
    report = converted(*(parts[index] for index in order), texts=texts)
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.drop == 0
    assert len(report.provenance.sources) == 3
    assert len(pipeline.steps) == 3


@pytest.mark.parametrize("first", ["tfidf", "select"])
def test_weighting_and_selection_in_separate_files(first: str, binary: Any, converted: Convert) -> None:
    """Which of the two came first follows from the numbers of features."""
    texts, labels = binary
    steps = {"count": CountVectorizer(), "select": SelectKBest(chi2, k=9), "tfidf": TfidfTransformer()}
    order = ["count", "tfidf", "select"] if first == "tfidf" else ["count", "select", "tfidf"]
    pipeline = Pipeline([(name, steps[name]) for name in order] + [("model", LinearSVC())]).fit(texts, labels)
    report = converted(pipeline["model"], *steps.values(), texts=texts)
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.drop == 0


def test_a_model_without_its_vectorizer(tmp_path: Path) -> None:
    """It takes numbers like any other; where they are very many the report asks for the vectorizer."""
    model = LogisticRegression().fit(np.eye(1200), np.arange(1200) % 2)
    joblib.dump(model, tmp_path / "model.joblib")
    report = convert(tmp_path / "model.joblib", tmp_path / "out.bundle", trust=True)
    assert report.task == "tabular-classification"
    assert report.warnings[0] == (
        "the model takes 1,200 numbers without names; if they are the features of a text vectorizer, "
        "give its file too: ortolan convert VECTORIZER MODEL"
    )


def test_a_vectorizer_without_its_model(binary: Any, converted: Convert) -> None:
    """The error says that the model is missing."""
    with pytest.raises(ConversionError, match=r"TfidfVectorizer without a model; give the model's file too"):
        converted(TfidfVectorizer().fit(binary[0]))


def test_parts_that_do_not_belong_together(binary: Any, converted: Convert) -> None:
    """Different numbers of features are told with both numbers."""
    texts, labels = binary
    model = LogisticRegression().fit(TfidfVectorizer().fit_transform(texts), labels)
    other = TfidfVectorizer(analyzer="char").fit(texts)
    with pytest.raises(ConversionError, match=r"takes \d+ features, but what comes before it gives \d+"):
        converted(other, model)


def test_two_models_are_one_too_many(binary: Any, converted: Convert) -> None:
    """Two models for one vectorizer are refused by name."""
    texts, labels = binary
    vectorizer = TfidfVectorizer()
    features = vectorizer.fit_transform(texts)
    with pytest.raises(ConversionError, match="expected one model, found 2: LogisticRegression, LinearSVC"):
        converted(vectorizer, LogisticRegression().fit(features, labels), LinearSVC().fit(features, labels))


@pytest.mark.parametrize("wrap", [lambda *parts: parts, lambda *parts: {"vectorizer": parts[0], "model": parts[1]}])
def test_tuples_and_dicts_of_parts(wrap: Callable[..., Any], binary: Any, converted: Convert) -> None:
    """Parts saved together in a tuple or dict are found."""
    texts, labels = binary
    vectorizer = TfidfVectorizer()
    model = LogisticRegression().fit(vectorizer.fit_transform(texts), labels)
    assert converted(wrap(vectorizer, model)).task == "text-classification"


def test_a_grid_search_gives_its_best_estimator(binary: Any, converted: Convert) -> None:
    """What a search found is converted."""
    search = GridSearchCV(
        make_pipeline(TfidfVectorizer(), LogisticRegression()), {"logisticregression__C": [1, 9]}, cv=2
    )
    assert converted(search.fit(*binary), texts=binary[0]).variants[0].name == "fp32"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            lambda: [TfidfVectorizer(), NMF(3), LogisticRegression()],
            r"step 'nmf': sklearn\.decomposition\._nmf\.NMF is not supported",
        ),
        (
            lambda: [TfidfVectorizer(input="filename"), LogisticRegression()],
            r"option 'input': expected one of 'con",
        ),
        (lambda: [CountVectorizer(dtype=np.uint8), LogisticRegression()], r"option 'dtype': uint8 overflows"),
    ],
)
def test_unsupported_steps_are_named(
    steps: Callable[[], list[Any]], message: str, binary: Any, tmp_path: Path, converted: Convert
) -> None:
    """Anything outside what is supported is refused with the step, or its option, named."""
    texts, labels = binary
    pipeline = make_pipeline(*steps())
    if getattr(pipeline[0], "input", "") == "filename":
        files = [tmp_path / f"{index}.txt" for index in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        texts = [str(file) for file in files]
    with pytest.raises(UnsupportedError, match=message):
        converted(pipeline.fit(texts, labels))


def test_gaussian_naive_bayes_is_refused_with_the_reason(binary: Any, converted: Convert) -> None:
    """It cannot take sparse features, and the message says so."""
    texts, labels = binary
    vectorizer = TfidfVectorizer()
    model = GaussianNB().fit(vectorizer.fit_transform(texts).toarray(), labels)
    with pytest.raises(UnsupportedError, match="GaussianNB is not supported \\(it cannot take the vectorizer's sparse"):
        converted(vectorizer, model)


def test_multi_label_models_are_refused(binary: Any, converted: Convert) -> None:
    """A multi-label ridge classifier is refused by name."""
    texts, labels = binary
    both = np.array([[label == "pos", len(text) > 10] for text, label in zip(texts, labels, strict=True)], int)
    with pytest.raises(UnsupportedError, match="a multi-label RidgeClassifier is not supported"):
        converted(make_pipeline(TfidfVectorizer(), RidgeClassifier()).fit(texts, both))


def test_an_unfitted_pipeline(converted: Convert) -> None:
    """A pipeline saved before training is told as such."""
    with pytest.raises(ConversionError, match="TfidfVectorizer is not fitted; save it after training"):
        converted(make_pipeline(TfidfVectorizer(), LogisticRegression()))


def test_a_subclass_is_not_taken_for_its_parent(binary: Any, converted: Convert, monkeypatch: Any) -> None:
    """Code in a subclass could change anything, so its class is refused by name."""
    module = types.ModuleType("their_code")
    kind = type("TfidfVectorizer", (TfidfVectorizer,), {"__module__": "their_code"})
    module.TfidfVectorizer = kind  # type: ignore[attr-defined]  # a module made up here
    monkeypatch.setitem(sys.modules, "their_code", module)
    pipeline = make_pipeline(kind(), LogisticRegression()).fit(*binary)
    with pytest.raises(UnsupportedError, match=r"step 'tfidfvectorizer': their_code\.TfidfVectorizer is not supported"):
        converted(pipeline)


def _split(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize("option", ["tokenizer", "preprocessor", "analyzer"])
def test_custom_callables_are_named_with_their_place(
    option: str, binary: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """A function of the user's own is refused by name and place, whether or not it can be imported here."""
    module = types.ModuleType("their_code")
    function = types.FunctionType(_split.__code__, {}, "my_function")
    function.__module__ = "their_code"
    function.__qualname__ = "my_function"
    module.my_function = function  # type: ignore[attr-defined]  # a module made up here
    monkeypatch.setitem(sys.modules, "their_code", module)
    pipeline = make_pipeline(TfidfVectorizer(token_pattern=None, **{option: function}), LogisticRegression())
    if option == "preprocessor":
        pipeline.set_params(tfidfvectorizer__token_pattern=r"\w+", tfidfvectorizer__preprocessor=str)
        pipeline.fit(*binary)
        pipeline.set_params(tfidfvectorizer__preprocessor=function)
    else:
        pipeline.fit(*binary)
    joblib.dump(pipeline, tmp_path / "model.joblib")
    place = f"step 'tfidfvectorizer', option '{option}': "
    with pytest.raises(UnsupportedError) as caught:
        convert(tmp_path / "model.joblib", tmp_path / "out.bundle", trust=True)
    assert str(caught.value) == (
        f"model.joblib: {place}calls a Python function (their_code.my_function), which cannot be converted; "
        f"use scikit-learn's options instead"
    )
    monkeypatch.delitem(sys.modules, "their_code")
    with pytest.raises(UnsupportedError) as caught:
        convert(tmp_path / "model.joblib", tmp_path / "out.bundle", trust=True)
    assert f"{place}their_code.my_function, which is not part of scikit-learn" in str(caught.value)


def test_a_custom_score_function_is_of_no_account(binary: Any, converted: Convert, monkeypatch: Any) -> None:
    """A selector's own score function is called in training alone; what it chose is converted."""
    module = types.ModuleType("their_code")
    function = types.FunctionType((lambda features, labels: features.sum(axis=0).A1).__code__, {}, "score")
    function.__module__ = "their_code"
    function.__qualname__ = "score"
    module.score = function  # type: ignore[attr-defined]  # a module made up here
    monkeypatch.setitem(sys.modules, "their_code", module)
    pipeline = make_pipeline(TfidfVectorizer(), SelectKBest(chi2, k=3), LogisticRegression()).fit(*binary)
    pipeline.set_params(selectkbest__score_func=function)
    assert converted(pipeline, texts=binary[0]).variants[0].fidelity.drop == 0  # type: ignore[union-attr]  # measured


def test_jieba_is_known_and_recorded(corpus: Any, tmp_path: Path) -> None:
    """jieba as tokenizer gives the source's answers, and its version is in the bundle.

    joblib and pickle cannot store jieba's functions; dill can, with a copy of the tokenizer they are methods of.
    """
    jieba, dill = pytest.importorskip("jieba"), pytest.importorskip("dill")
    texts, labels = corpus
    vectorizer = TfidfVectorizer(tokenizer=jieba.lcut, token_pattern=None)
    pipeline = make_pipeline(vectorizer, LogisticRegression()).fit(texts, labels)
    (tmp_path / "model.pkl").write_bytes(dill.dumps(pipeline))
    report = convert(tmp_path / "model.pkl", tmp_path / "out.bundle", trust=True, quantize=())
    assert report.provenance.versions["jieba"] == jieba.__version__
    config = report.bundle.manifest.task.config["input"]
    assert isinstance(config, dict)
    assert config["tokenizer"] == {"name": "jieba.lcut", "version": jieba.__version__}


@pytest.mark.parametrize("name", ["cut", "lcut"])
def test_any_jieba_tokenizer_counts(name: str) -> None:
    """A copy's method is jieba's as well; its other methods and other functions are not known."""
    jieba = pytest.importorskip("jieba")
    assert jieba_method(getattr(jieba, name)) == jieba_method(getattr(jieba.Tokenizer(), name)) == name
    assert jieba_method(jieba.lcut_for_search) is None
    assert jieba_method(str.split) is None


def test_jieba_with_words_of_ones_own_is_refused(corpus: Any) -> None:
    """Words added to jieba's dictionary would be missing on a device, so the error says what they are."""
    jieba = pytest.importorskip("jieba")
    tokenizer = jieba.Tokenizer()
    tokenizer.add_word("手机很好")
    features = TfidfVectorizer(tokenizer=tokenizer.lcut, token_pattern=None)
    pipeline = make_pipeline(features, LogisticRegression()).fit(*corpus)
    with pytest.raises(UnsupportedError) as caught:
        read_text_source([Artifact("model.pkl", pipeline, None)])
    assert str(caught.value) == (
        "model.pkl: step 'tfidfvectorizer', option 'tokenizer': this jieba has words or a dictionary of your own "
        "(add_word, load_userdict, set_dictionary), which is not supported; train it with jieba's own dictionary"
    )


def test_a_file_of_dill_without_dill(tmp_path: Path) -> None:
    """A pickle whose reading needs dill says what to install."""
    (tmp_path / "model.pkl").write_bytes(b"\x80\x02cdill.nowhere\n_create_nothing\n)R.")
    with pytest.raises(MissingPackageError, match=r"saved with dill; install it to read the file: pip install dill"):
        convert(tmp_path / "model.pkl", tmp_path / "out.bundle", trust=True)


def test_more_characters_than_can_be_told_apart(binary: Any, converted: Convert, monkeypatch: Any) -> None:
    """A vocabulary of nearly all code points names the step and what to limit."""
    monkeypatch.setattr(text_features, "MOST_CHARACTERS", 10)
    pipeline = make_pipeline(TfidfVectorizer(analyzer="char"), LogisticRegression()).fit(*binary)
    message = (
        r"^part0\.joblib: step 'tfidfvectorizer': its vocabulary has \d+ different characters; expected at most 10,"
    )
    with pytest.raises(UnsupportedError, match=message):
        converted(pipeline)


def test_a_version_that_cannot_be_read_names_both(sentiment: Path, tmp_path: Path) -> None:
    """An artifact that fails to load names the version it was made with and the installed one."""
    import sklearn

    data = pickle.dumps(joblib.load(sentiment), 4)
    data = data.replace(sklearn.__version__.encode(), b"0.9.9")
    data = data.replace(b"sklearn.linear_model._logistic", b"sklearn.linear_model._lagistic")
    (tmp_path / "old.pkl").write_bytes(data)
    message = rf"made with scikit-learn 0\.9\.9, which the installed {sklearn.__version__} cannot read"
    with pytest.raises(ConversionError, match=message):
        convert(tmp_path / "old.pkl", tmp_path / "out.bundle", trust=True)


def test_another_version_that_works_is_noted(sentiment: Path, tmp_path: Path) -> None:
    """A mere mismatch of versions is allowed if parity holds, recorded and warned of."""
    import sklearn

    data = pickle.dumps(joblib.load(sentiment), 4).replace(sklearn.__version__.encode(), b"1.5.2")
    (tmp_path / "old.pkl").write_bytes(data)
    report = convert(tmp_path / "old.pkl", tmp_path / "out.bundle", trust=True)
    assert report.provenance.framework_version == "1.5.2"
    assert any("made with scikit-learn 1.5.2" in warning for warning in report.warnings)


def test_a_version_with_other_attributes_names_both(binary: Any, tmp_path: Path) -> None:
    """A model whose attributes are not where the installed version has them names both versions."""
    import sklearn

    pipeline = make_pipeline(TfidfVectorizer(), SGDClassifier()).fit(*binary)
    vars(pipeline[-1])["coef_old"] = vars(pipeline[-1]).pop("coef_")
    data = pickle.dumps(pipeline, 4).replace(sklearn.__version__.encode(), b"0.9.9")
    (tmp_path / "old.pkl").write_bytes(data)
    with pytest.raises(ConversionError, match=rf"scikit-learn 0\.9\.9, which the installed {sklearn.__version__}"):
        convert(tmp_path / "old.pkl", tmp_path / "out.bundle", trust=True)


def test_skops_needs_no_trust(binary: Any, tmp_path: Path) -> None:
    """A skops file of known types is read without --trust."""
    sio = pytest.importorskip("skops.io")
    pipeline = make_pipeline(TfidfVectorizer(), SelectKBest(chi2, k=9), LogisticRegression()).fit(*binary)
    sio.dump(pipeline, tmp_path / "model.skops")
    assert convert(tmp_path / "model.skops", tmp_path / "out.bundle").task == "text-classification"


def test_skops_with_unknown_types_is_refused(binary: Any, tmp_path: Path) -> None:
    """A type outside the known ones is named, and not loaded."""
    sio = pytest.importorskip("skops.io")
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(*binary)
    pipeline.set_params(tfidfvectorizer__tokenizer=os.system)
    sio.dump(pipeline, tmp_path / "model.skops")
    with pytest.raises(UnsupportedError, match=r"types outside scikit-learn's known ones.*posix\.system"):
        convert(tmp_path / "model.skops", tmp_path / "out.bundle", trust=True)


def test_a_damaged_skops_file(tmp_path: Path) -> None:
    """A skops file with a broken schema is one clear line."""
    pytest.importorskip("skops.io")
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("schema.json", "{")
    with pytest.raises(ConversionError, match="damaged or cut short"):
        convert(tmp_path / "model.skops", tmp_path / "out.bundle")


@pytest.mark.parametrize("module", ["sklearn", "joblib", "onnx", "onnxruntime"])
def test_missing_packages_name_the_extra(module: str, sentiment: Path, tmp_path: Path) -> None:
    """Without scikit-learn, joblib, onnx or onnxruntime the error says what to install."""
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from ortolan_convert.convert import convert\n"
        "from ortolan.errors import MissingPackageError\n"
        "try:\n    convert(sys.argv[1], sys.argv[2], trust=True)\n"
        "except MissingPackageError as error:\n    print(error)\n"
    )
    arguments = [sys.executable, "-c", script, str(sentiment), str(tmp_path / "out.bundle")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "pip install 'ortolan[sklearn]'" in done.stdout


@pytest.mark.parametrize("option", [{"tokenizer": list, "token_pattern": None}, {"preprocessor": str.lower}])
def test_builtins_as_callables_are_named_too(option: dict[str, Any], binary: Any, converted: Convert) -> None:
    """A class or a method of Python's own changes the answer as any function does."""
    pipeline = make_pipeline(TfidfVectorizer(**option), LogisticRegression()).fit(*binary)
    name = next(iter(option))
    with pytest.raises(
        UnsupportedError, match=rf"option '{name}': calls a Python function \(builtins\.(list|str\.lower)\)"
    ):
        converted(pipeline)
