"""Tasks clustering and tensor."""

from __future__ import annotations

import numpy as np
import pytest

from ortolan.errors import BundleError, InputTypeError, ManifestError
from ortolan.tasks import open_task
from ortolan.tasks.clustering import Cluster


def test_the_nearest_cluster(make_bundle, make_session, text_config):
    """The first of several equally near ones, with all distances."""
    session = make_session([[3, 1, 1], [0, 5, 0], [0, 0, 0]], "distances")
    runner = open_task(make_bundle("clustering", {"clusters": 3, "input": text_config}), {"model": session})
    assert runner.answer("a") == Cluster(1, 1.0, (3.0, 1.0, 1.0))
    (encoded,) = runner.encode(["a", "b", ""])
    decoded = runner.decode(session.run(encoded.feeds), encoded)
    by_row = dict(zip(encoded.rows, decoded, strict=True))
    assert by_row == {
        0: Cluster(1, 1.0, (3.0, 1.0, 1.0)),
        1: Cluster(0, 0.0, (0.0, 5.0, 0.0)),
        2: Cluster(0, 0.0, (0.0,) * 3),
    }


@pytest.mark.parametrize("clusters", [None, 0, True, "3"])
def test_wrong_number_of_clusters(make_bundle, make_session, text_config, clusters):
    """It must be a positive int."""
    bundle = make_bundle("clustering", {"clusters": clusters, "input": text_config})
    with pytest.raises(ManifestError, match=r"task\.config\.clusters: expected an int of 1 or more, found"):
        open_task(bundle, {"model": make_session([[0]] * 3, "distances")})


def test_another_number_of_distances(make_bundle, make_session, text_config):
    """Configuration and model must agree."""
    bundle = make_bundle("clustering", {"clusters": 2, "input": text_config})
    with pytest.raises(BundleError, match=r"output 'distances' to have the shape \[batch, 2\]"):
        open_task(bundle, {"model": make_session([[0, 0, 0]] * 3, "distances")})


def test_tensors_go_in_and_out(make_bundle, make_session):
    """One run per input, outputs as they are."""
    session = make_session([[1], [2], [3]], "y")
    runner = open_task(make_bundle("tensor", {}), {"model": session})
    feeds = {"ids": np.array([[0, 2]]), "values": np.ones((1, 2), np.float32)}
    assert runner.answer(feeds)["y"].tolist() == [[4.0]]
    (encoded,) = runner.encode([feeds])
    assert encoded.rows == [0]
    assert runner.decode(session.run(encoded.feeds), encoded)[0]["y"].tolist() == [[4.0]]


def test_text_where_tensors_are_due(make_bundle, make_session):
    """The position and the type are named."""
    runner = open_task(make_bundle("tensor", {}), {"model": make_session([[1]] * 3, "y")})
    with pytest.raises(InputTypeError, match="expected arrays by input name at position 0, found str"):
        list(runner.encode(["text"]))
