"""Reading and writing manifest.json and component.json."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ortolan.bundle.fields import MAX_JSON_BYTES, decode
from ortolan.bundle.manifest import Manifest, described, listed_files, parse_manifest, serialize
from ortolan.errors import ManifestError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan.bundle.directory import Bundle

MANIFEST, COMPONENT = "manifest.json", "model/component.json"
OURS = "additional_metadata.ortolan"
INT8 = "components.model.variants.int8"
FILES = ("additional_metadata", "ortolan", "files")
VARIANT = ("variants", "int8")
OURS_KEYS = ("additional_metadata", "ortolan")
INFO = (*VARIANT, "executor_info", "ortolan")
ENTRY = {"bytes": 1, "sha256": "0" * 64}
DELETE = object()


def parse(documents: dict[str, Any]) -> Manifest:
    return parse_manifest(
        json.dumps(documents[MANIFEST]).encode(), {COMPONENT: json.dumps(documents[COMPONENT]).encode()}
    )


def change(documents: dict[str, Any], file: str, keys: tuple[str, ...], value: object) -> None:
    place = documents[file]
    for key in keys[:-1]:
        place = place[key]
    if value is DELETE:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value


CASES: list[tuple[str, tuple[str, ...], object, str]] = [
    (COMPONENT, (*INFO, "weight_bytes"), True, f"{INT8}.executor_info.ortolan.weight_bytes: expected int, got bool"),
    (COMPONENT, (*INFO, "weight_bytes"), 1.0, f"{INT8}.executor_info.ortolan.weight_bytes: expected int, got float"),
    (
        COMPONENT,
        (*INFO, "weight_bytes"),
        -1,
        f"{INT8}.executor_info.ortolan.weight_bytes: expected 0 to 9007199254740992, got -1",
    ),
    (COMPONENT, (*INFO, "weight_bytes"), DELETE, f"{INT8}.executor_info.ortolan.weight_bytes: missing"),
    (COMPONENT, (*INFO, "providers"), "cpu", f"{INT8}.executor_info.ortolan.providers: expected array, got str"),
    (
        COMPONENT,
        (*INFO, "providers"),
        [],
        f"{INT8}.executor_info.ortolan.providers: expected 1 to 100000 elements, got 0",
    ),
    (COMPONENT, (*INFO, "providers"), ["cpu", 1], f"{INT8}.executor_info.ortolan.providers[1]: expected str, got int"),
    (
        COMPONENT,
        (*INFO, "min_onnxruntime"),
        "new",
        f"{INT8}.executor_info.ortolan.min_onnxruntime: expected a version such as '1.20.0', got \"new\"",
    ),
    (
        COMPONENT,
        (*INFO, "macs"),
        {"terms": [[1]]},
        f"{INT8}.executor_info.ortolan.macs.terms[0]: expected 2 elements, got 1",
    ),
    (
        COMPONENT,
        (*INFO, "macs"),
        {"terms": [[1, ["width"]]]},
        f"{INT8}.executor_info.ortolan.macs: dimension 'width' has no size in {OURS}.dims",
    ),
    (COMPONENT, (*INFO, "fidelity", "drop"), 2, f"{INT8}.executor_info.ortolan.fidelity.drop: expected 0 to 1, got 2"),
    (
        COMPONENT,
        (*INFO, "fidelity", "drop"),
        "0",
        f"{INT8}.executor_info.ortolan.fidelity.drop: expected number, got str",
    ),
    (
        COMPONENT,
        (*INFO, "fidelity", "interval"),
        [0.5, 0.1],
        f"{INT8}.executor_info.ortolan.fidelity.interval: expected the lower end first, got [0.5, 0.1]",
    ),
    (
        COMPONENT,
        (*INFO, "fidelity", "inputs"),
        "guessed",
        f"{INT8}.executor_info.ortolan.fidelity.inputs: expected 'samples' or 'generated', got \"guessed\"",
    ),
    (COMPONENT, (*VARIANT, "ep"), None, f"{INT8}.ep: expected str, got null"),
    (COMPONENT, (*VARIANT, "hash"), 1, f"{INT8}.hash: unknown key; known here: variant_directory, ep, executor_info"),
    (COMPONENT, (*VARIANT, "executor_info"), [], f"{INT8}.executor_info: expected object, got array"),
    (COMPONENT, ("variants",), {}, "components.model.variants: expected at least 1 entry, got 0"),
    (
        COMPONENT,
        (*VARIANT, "variant_directory"),
        "../fp32",
        f"{INT8}.variant_directory: "
        "expected a relative path within the bundle, got \"../fp32\": it has the segment '..'",
    ),
    (
        COMPONENT,
        (*VARIANT, "executor_info", "ort", "model_file"),
        "other.onnx",
        f"{INT8}.executor_info.ort.model_file: 'model/int8/other.onnx' is not listed in {OURS}.files",
    ),
    (
        COMPONENT,
        ("variants", "a/b"),
        {},
        'components.model.variants["a/b"]: '
        'expected a name of at most 64 letters, digits, dots, dashes and underscores, got "a/b"',
    ),
    (
        MANIFEST,
        ("schema_version",),
        "2.0",
        "schema_version: expected '1.0', got '2.0'; a newer Ortolan is needed to read it",
    ),
    (MANIFEST, ("schema_version",), 1, "schema_version: expected str, got int"),
    (
        MANIFEST,
        ("layout",),
        {},
        "layout: unknown key; known here: schema_version, package_name, components, additional_metadata",
    ),
    (MANIFEST, OURS_KEYS, DELETE, f"{OURS}: missing; this is a model package, but no Ortolan bundle"),
    (MANIFEST, OURS_KEYS, [], f"{OURS}: expected object, got array"),
    (MANIFEST, (*OURS_KEYS, "format"), 2, f"{OURS}.format: expected 1, got 2; a newer Ortolan is needed to read it"),
    (
        MANIFEST,
        (*OURS_KEYS, "color"),
        2,
        f"{OURS}.color: unknown key; known here: format, version, task, provenance, dims, max_dims, files",
    ),
    (MANIFEST, (*OURS_KEYS, "version"), DELETE, f"{OURS}.version: missing"),
    (MANIFEST, (*OURS_KEYS, "task", "config"), None, f"{OURS}.task.config: expected object, got null"),
    (MANIFEST, (*OURS_KEYS, "dims", "batch"), 0, f"{OURS}.dims.batch: expected 1 to 9007199254740992, got 0"),
    (MANIFEST, ("components",), ["model"], "components: expected object, got array"),
    (
        MANIFEST,
        ("components", "model"),
        "other",
        f"components.model: 'other/component.json' is not listed in {OURS}.files",
    ),
    (
        MANIFEST,
        (*FILES, "model/fp32/model.onnx", "sha256"),
        "AB",
        f'{OURS}.files["model/fp32/model.onnx"].sha256: expected 64 lower-case hexadecimal digits, got "AB"',
    ),
    (MANIFEST, (*FILES, "manifest.json"), ENTRY, f'{OURS}.files["manifest.json"]: the manifest cannot list itself'),
    (
        MANIFEST,
        (*FILES, "model/fp32"),
        ENTRY,
        f"{OURS}.files[\"model/fp32/model.onnx\"]: 'model/fp32' is listed as a file",
    ),
]


@pytest.mark.parametrize(("file", "keys", "value", "message"), CASES, ids=[case[3][:70] for case in CASES])
def test_a_wrong_value_is_named_by_its_path(
    documents: dict[str, Any], file: str, keys: tuple[str, ...], value: object, message: str
) -> None:
    """Every wrong, missing or unknown value gives one exact sentence."""
    change(documents, file, keys, value)
    with pytest.raises(ManifestError) as caught:
        parse(documents)
    assert str(caught.value) == message
    assert message.startswith(caught.value.path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "it is empty"),
        ("/etc/passwd", "it is absolute"),
        ("C:/x", "it is absolute"),
        ("a\\b", "it has a backslash"),
        ("a\0b", "it has a control character"),
        ("a\nb", "it has a control character"),
        ("../x", "it has the segment '..'"),
        ("a/../x", "it has the segment '..'"),
        ("a/..", "it has the segment '..'"),
        ("./a", "it has the segment '.'"),
        ("a//b", "it has the segment ''"),
        ("a/", "it has the segment ''"),
        ("x" * 256, "it has a segment longer than 255 bytes"),
        ("数" * 86, "it has a segment longer than 255 bytes"),
        ("x/" * 600 + "y", "it is longer than 1024 bytes"),
    ],
)
def test_an_unsafe_path_is_refused_wherever_paths_stand(documents: dict[str, Any], path: str, reason: str) -> None:
    """Listed files, component directories, variant directories and model files obey the same rule."""
    for file, keys in (
        (MANIFEST, (*FILES, path)),
        (MANIFEST, ("components", "model")),
        (COMPONENT, (*VARIANT, "variant_directory")),
        (COMPONENT, (*VARIANT, "executor_info", "ort", "model_file")),
    ):
        changed = copy.deepcopy(documents)
        change(changed, file, keys, ENTRY if keys[-1] == path and "files" in keys else path)
        with pytest.raises(ManifestError, match="expected a relative path within the bundle") as caught:
            parse(changed)
        assert str(caught.value).endswith(reason)


def test_directories_of_variants_must_lie_apart(documents: dict[str, Any]) -> None:
    """A variant whose directory holds another one's would change with it."""
    documents[COMPONENT]["variants"]["int8"]["variant_directory"] = "fp32/int8"
    documents[MANIFEST]["additional_metadata"]["ortolan"]["files"]["model/fp32/int8/model.onnx"] = ENTRY
    with pytest.raises(
        ManifestError, match=r"variants\.fp32\.variant_directory: 'model/fp32' contains 'model/fp32/int8'"
    ):
        parse(documents)


def test_two_variants_may_share_a_directory(documents: dict[str, Any]) -> None:
    """The same files for two providers are two rows of one directory."""
    variants = documents[COMPONENT]["variants"]
    variants["other"] = {**variants["int8"], "ep": "CUDAExecutionProvider"}
    manifest = parse(documents)
    assert manifest.variant("other").directory == manifest.variant("int8").directory
    assert "model/int8/model.onnx" in manifest.subset(["fp32", "other"]).files


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"", "is empty"),
        (b"{", "expected JSON, Expecting property name enclosed in double quotes at line 1 column 2"),
        (b"\xff{}", "expected UTF-8, found byte 0xff at 0"),
        (b'{"a": 1, "a": 2}', 'expected each key once, found "a" twice in one object'),
        (b'{"a": NaN}', "expected JSON numbers, found NaN"),
        (b'{"a": -Infinity}', "expected JSON numbers, found -Infinity"),
        (b'{"a": 1e999}', 'expected numbers within the range of a double, found "1e999"'),
        (b'{"a": ' + b"9" * 5000 + b"}", "expected integers of at most 20 characters, found one of 5000"),
        (b"[" * 100_000, "expected at most 64 levels of nesting, found more"),
        (b"[" * 65 + b"]" * 65, "expected at most 64 levels of nesting, found more"),
        (b" " * (MAX_JSON_BYTES + 1), f"expected at most {MAX_JSON_BYTES} bytes, found {MAX_JSON_BYTES + 1}"),
    ],
)
def test_json_that_is_none_is_refused(document: bytes, problem: str) -> None:
    """Damaged, ambiguous and oversized documents give one sentence with the file's name."""
    with pytest.raises(ManifestError) as caught:
        parse_manifest(document, {})
    assert str(caught.value) == f"manifest.json: {problem}"


def test_a_lone_surrogate_is_refused_with_its_place() -> None:
    """It is no text: no other reader of JSON accepts it."""
    with pytest.raises(ManifestError) as caught:
        decode(b'{"a": ["\\ud83d\\ude00", {"b": "\\uD800"}]}', "x.json")
    assert str(caught.value) == "x.json.a[1].b: expected text, found a lone surrogate"


def test_nesting_within_the_bound_is_read() -> None:
    """64 levels are accepted."""
    assert decode(b"[" * 64 + b"]" * 64, "x") is not None


def test_a_manifest_is_read_as_it_was_written(bundle: Bundle) -> None:
    """Reading what was serialized gives the same manifest, and writing that the same bytes."""
    written = serialize(bundle.manifest)
    again = parse_manifest(written[MANIFEST], written)
    assert again == bundle.manifest
    assert serialize(again) == written
    assert listed_files(written[MANIFEST]) == bundle.manifest.files


def test_sections_of_others_are_kept(documents: dict[str, Any]) -> None:
    """``additional_metadata`` is free beside Ortolan's section."""
    documents[MANIFEST]["additional_metadata"]["shop"] = {"price": 3}
    manifest = parse(documents)
    assert manifest.other_metadata == {"shop": {"price": 3}}
    assert json.loads(serialize(manifest)[MANIFEST])["additional_metadata"]["shop"] == {"price": 3}


def test_a_newer_minor_version_is_read(documents: dict[str, Any]) -> None:
    """Only another major version may mean something else."""
    documents[MANIFEST]["schema_version"] = "1.3"
    assert parse(documents).package_name == "doubled 数"


def test_a_value_json_cannot_hold_is_refused(bundle: Bundle) -> None:
    """Not-a-number is no JSON."""
    from dataclasses import replace

    manifest = replace(bundle.manifest, task=replace(bundle.manifest.task, config={"x": float("nan")}))
    with pytest.raises(ManifestError, match="expected values that JSON can hold"):
        serialize(manifest)


def test_an_unknown_variant_or_component_suggests_the_near_ones(bundle: Bundle) -> None:
    """A typing error is answered with what was probably meant."""
    with pytest.raises(UnknownNameError, match="unknown variant 'int9'; did you mean 'int8'"):
        bundle.manifest.variant("int9")
    with pytest.raises(UnknownNameError, match="unknown component 'modle'; did you mean 'model'"):
        bundle.manifest.variant("int8", "modle")


def test_the_digest_of_a_variant_depends_on_its_files_alone(
    bundle: Bundle, make_bundle: Callable[..., Bundle], parts: dict[str, Any]
) -> None:
    """Another asset or another variant leaves it; another byte of its own changes it."""
    (name, (fp32, int8)) = parts["components"][0]
    digest = bundle.manifest.variant_digest(bundle.manifest.variant("int8"))
    other = make_bundle("other", assets={}, components=[(name, [int8])]).manifest
    assert other.variant_digest(other.variant("int8")) == digest
    changed = make_bundle("changed", components=[(name, [fp32, (*int8[:2], {**int8[2], "notes.txt": b"m"})])]).manifest
    assert changed.variant_digest(changed.variant("int8")) != digest
    assert changed.variant_digest(changed.variant("fp32")) != digest


def test_subset_keeps_shared_files_and_describes_itself(bundle: Bundle) -> None:
    """Files of dropped variants go; the row of component.json fits the new one."""
    smaller = bundle.manifest.subset(["int8"])
    assert [variant.name for variant in smaller.components[0].variants] == ["int8"]
    assert set(smaller.files) == {path for path in bundle.manifest.files if not path.startswith("model/fp32/")}
    assert smaller.files[COMPONENT].bytes == len(serialize(smaller)[COMPONENT])
    assert described(smaller) == smaller


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_replaced_value_is_read_or_refused_by_name(documents: dict[str, Any], data: st.DataObject) -> None:
    """Whatever stands in the place of any value, the result is a manifest or a ManifestError."""
    changed = copy.deepcopy(documents)
    place: Any = changed
    key: Any = data.draw(st.sampled_from([MANIFEST, COMPONENT]))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.integers(0, 5)):
        place = place[key]
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(json_values)
    try:
        manifest = parse(changed)
    except ManifestError:
        return
    assert parse_manifest(serialize(manifest)[MANIFEST], serialize(manifest)) == manifest


@settings(max_examples=200, deadline=None)
@given(document=st.binary(max_size=200) | st.text(alphabet='{}[]":,0123e.-\\un ', max_size=60).map(str.encode))
def test_random_bytes_are_refused_by_name(document: bytes) -> None:
    """Nothing but ManifestError is raised for bytes that are no manifest."""
    with pytest.raises(ManifestError):
        parse_manifest(document, {})
