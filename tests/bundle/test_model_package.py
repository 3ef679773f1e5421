"""ONNX Runtime's own reader of model packages opens what is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

if TYPE_CHECKING:
    from ortolan.bundle.directory import Bundle

pytestmark = pytest.mark.skipif(
    not hasattr(onnxruntime, "ModelPackageContext"),
    reason="this onnxruntime has no model packages to read with Python (1.29 to 1.31 have them in C only)",
)


def test_onnxruntime_runs_a_bundle_as_a_model_package(bundle: Bundle) -> None:
    """It selects the first variant of the component and creates a session that answers."""
    package = onnxruntime.ModelPackageContext(str(bundle.path))
    options = onnxruntime.ModelPackageOptions(onnxruntime.SessionOptions())
    session = package.select_component("model", options).create_session()
    assert [value.name for value in session.get_inputs()] == ["x"]
    (answer,) = session.run(["y"], {"x": np.array([[1, 2, 3]], "float32")})
    np.testing.assert_array_equal(answer, [[2, 4, 6]])


def test_onnxruntime_sees_the_names_that_were_written(bundle: Bundle) -> None:
    """Components and variants carry the same names in both readers."""
    package = onnxruntime.ModelPackageContext(str(bundle.path))
    manifest = bundle.manifest
    assert list(package.get_component_names()) == [component.name for component in manifest.components]
    assert list(package.get_variant_names("model")) == [variant.name for variant in manifest.components[0].variants]
