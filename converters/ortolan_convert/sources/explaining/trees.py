"""Models that XGBoost, LightGBM and CatBoost saved themselves: no format of theirs holds code."""

from __future__ import annotations

import mmap
import re
from typing import TYPE_CHECKING

from ortolan_convert.sources.explaining.facts import Facts, listed

if TYPE_CHECKING:
    from pathlib import Path

HEADER = 1 << 20
"""Bytes of a LightGBM file's header that are read."""

_VALUE = rb'(?:"\s*:\s*"?|[SL#\[$iUIl\x00-\x40]{1,14}?)'
"""What stands between a key and its value, in JSON and in UBJSON."""
_COUNTS = {"num_feature": "features", "num_class": "classes", "num_target": "targets", "num_trees": "trees"}


def xgboost_facts(path: Path) -> Facts:
    """Of a model that XGBoost saved as JSON or UBJSON: both write the same keys."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        booster = _found(rb"(gbtree|gblinear|dart)", content)
        objective = _found(rb"((?:binary|multi|reg|rank|count|survival):\w+)", content)
        numbers = {key: _found(key.encode() + _VALUE + rb'(\d{1,10})(?=["\D])', content) for key in _COUNTS}
        version = _found(rb'"version"\s*:\s*\[(\d+),\s*(\d+),\s*(\d+)\]', content)
        packed = _found(rb"version\[#L.{8}i(.)i(.)i(.)", content)
    parts = [text.decode() for text in version] or [str(text[0]) for text in packed]
    inside = [("booster", b"".join(booster).decode() or "?"), ("objective", b"".join(objective).decode() or "?")]
    inside += [(title, found[0].decode()) for (key, title) in _COUNTS.items() if (found := numbers[key])]
    return Facts(made_by=" ".join(["XGBoost", ".".join(parts)]).strip(), inside=tuple(inside))


def _found(pattern: bytes, content: mmap.mmap) -> tuple[bytes, ...]:
    """The groups of the first match; none if there is none."""
    match = re.search(pattern, content, re.DOTALL)
    return tuple(bytes(group) for group in match.groups()) if match else ()


def lightgbm_facts(path: Path) -> Facts:
    """Of a model that LightGBM saved as text."""
    with path.open("rb") as file:
        text = file.read(HEADER).decode("utf-8", "replace")
    header = dict(line.split("=", 1) for line in text.partition("Tree=")[0].splitlines() if "=" in line)
    trees = len(header.get("tree_sizes", "").split())
    features = header.get("feature_names", "").split()
    inside = [
        ("objective", header.get("objective", "?")),
        ("features", f"{len(features)}: {listed(features)}"),
        ("trees", str(trees)),
    ]
    if header.get("num_class", "1") != "1":
        inside.append(("classes", header["num_class"]))
    return Facts(made_by=f"LightGBM (form {header.get('version', '?')})", inside=tuple(inside))


def catboost_facts(path: Path) -> Facts:
    """Of a model that CatBoost saved as ``.cbm``: what it says of its training is text in it."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        version = _found(rb"Branch: tags/v([\d.]+)", content)
        loss = _found(rb'"loss_function"\s*:\s*\{[^}]{0,4096}"type"\s*:\s*"(\w+)"', content)
        classes = _found(rb'"class_to_label"\s*:\s*\[([^\]]{0,4096})\]', content)
        iterations = _found(rb'"iterations"\s*:\s*(\d+)', content)
    inside = [("loss", loss[0].decode())] if loss else []
    inside += [("iterations", iterations[0].decode())] if iterations else []
    if classes:
        labels = classes[0].decode("utf-8", "replace").split(",")
        inside.append(("classes", f"{len(labels)}: {listed(labels)}"))
    return Facts(made_by=f"CatBoost {version[0].decode()}" if version else "CatBoost", inside=tuple(inside))
