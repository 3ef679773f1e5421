"""Connected regions of a mask and the rectangles around them, in plain numpy; coordinates are of pixel centers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Region:
    """A connected region of a mask: the outermost pixels of each of its rows.

    Args:
        rows: y of each row, ascending.
        left: x of the leftmost pixel of each row.
        right: x of the rightmost pixel of each row.
    """

    rows: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle, possibly turned.

    Args:
        center: (x, y).
        axis: unit vector (x, y) along the first side.
        sides: length along ``axis`` and across it.
    """

    center: tuple[float, float]
    axis: tuple[float, float]
    sides: tuple[float, float]

    def grown(self, distance: float) -> Rectangle:
        """The same with every side moved outwards."""
        return Rectangle(self.center, self.axis, (self.sides[0] + 2 * distance, self.sides[1] + 2 * distance))

    def corners(self) -> NDArray[np.float64]:
        """The corners [4, 2] as (x, y), clockwise on the screen from the one nearest to the top left."""
        (cos, sin), (along, across) = self.axis, self.sides
        one = np.array([cos, sin]) * (along / 2)
        other = np.array([-sin, cos]) * (across / 2)
        points = np.array(self.center) + np.array([-one - other, one - other, one + other, other - one])
        # The sum of the coordinates is smallest at the top left; of two equal ones the upper comes first.
        first = int(np.lexsort((points[:, 1], np.round(points.sum(axis=1), 6)))[0])
        return np.roll(points, -first, axis=0)


def regions(mask: NDArray[np.bool_]) -> Iterator[Region]:
    """The regions of the pixels that are set, each with its diagonal neighbours, in the order of their first pixels.

    Args:
        mask: [height, width].
    """
    rows, starts, stops = _runs(mask)
    if not len(rows):
        return
    roots = _joined(len(rows), *_touching(rows, starts, stops, mask.shape[1]))
    order = np.argsort(roots, kind="stable")
    for run in np.split(order, np.flatnonzero(np.diff(roots[order])) + 1):
        # Runs are in reading order, so that those of one row are neighbours.
        first = np.concatenate(([0], np.flatnonzero(np.diff(rows[run])) + 1))
        last = np.concatenate((first[1:], [len(run)])) - 1
        yield Region(rows[run[first]], starts[run[first]], stops[run[last]] - 1)


def dilated(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Every pixel set that has one that is set in the square of ``size`` around it; OpenCV's ``dilate``.

    For an even size the square reaches one pixel further to the top left, as OpenCV's does.
    """
    if size == 1:
        return mask
    for axis in (0, 1):
        spread = mask.copy()
        for shift in range(-((size - 1) // 2), size // 2 + 1):
            target, source = [slice(None)] * 2, [slice(None)] * 2
            target[axis] = slice(shift, None) if shift > 0 else slice(None, shift or None)
            source[axis] = slice(None, -shift) if shift > 0 else slice(-shift, None)
            spread[tuple(target)] |= mask[tuple(source)]
        mask = spread
    return mask


def upright_rectangle(region: Region) -> Rectangle:
    """The smallest rectangle with sides along the axes that holds all pixels of a region."""
    x0, x1 = int(region.left.min()), int(region.right.max())
    y0, y1 = int(region.rows[0]), int(region.rows[-1])
    return Rectangle(((x0 + x1) / 2, (y0 + y1) / 2), (1.0, 0.0), (float(x1 - x0), float(y1 - y0)))


def smallest_rectangle(region: Region) -> Rectangle:
    """The rectangle of the least area that holds all pixels of a region.

    One of its sides lies along a side of the convex hull (Freeman and Shapira, CACM 18 (1975), 409-413), so that trying
    those is enough.
    """
    hull = convex_hull(region)
    sides = np.roll(hull, -1, axis=0) - hull
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    if len(hull) < 3:
        axes = np.array([sides[0] / lengths[0]]) if lengths[0] else np.array([[1.0, 0.0]])
    else:
        axes = sides / lengths[:, None]
    along = hull @ axes.T
    across = hull @ np.stack((-axes[:, 1], axes[:, 0]))
    low, high = along.min(axis=0), along.max(axis=0)
    top, bottom = across.min(axis=0), across.max(axis=0)
    best = int(((high - low) * (bottom - top)).argmin())
    (cos, sin), u, v = axes[best], (low + high)[best] / 2, (top + bottom)[best] / 2
    return Rectangle(
        (float(u * cos - v * sin), float(u * sin + v * cos)),
        (float(cos), float(sin)),
        (float((high - low)[best]), float((bottom - top)[best])),
    )


def convex_hull(region: Region) -> NDArray[np.float64]:
    """Corners [n, 2] as (x, y) of the convex hull of a region's pixels: Andrew, IPL 9 (1979), 216-219, by rows."""
    left = _chain(list(zip(region.left.tolist(), region.rows.tolist(), strict=True)))
    right = _chain(list(zip(region.right.tolist(), region.rows.tolist(), strict=True))[::-1])
    corners = left + right
    unique = [point for i, point in enumerate(corners) if point != corners[i - 1]] or corners[:1]
    return np.array(unique, np.float64)


def mean_inside(values: NDArray[Any], corners: NDArray[np.float64]) -> float:
    """Mean of the pixels of ``values`` [height, width] inside a convex polygon or on its edge; 0 if there are none.

    Args:
        values: numbers per pixel.
        corners: [n, 2] as (x, y), clockwise on the screen.
    """
    height, width = values.shape
    x0, y0 = np.clip(np.floor(corners.min(axis=0)), 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)), 0, (width - 1, height - 1)).astype(int)
    x, y = np.arange(x0, x1 + 1), np.arange(y0, y1 + 1)[:, None]
    inside = np.ones((y1 - y0 + 1, x1 - x0 + 1), np.bool_)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) >= -1e-6
    chosen = values[y0 : y1 + 1, x0 : x1 + 1][inside]
    return float(chosen.mean(dtype=np.float64)) if chosen.size else 0.0


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, start and stop (exclusive) of every horizontal run of pixels that are set, in reading order."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.bool_)
    padded[:, 1:-1] = mask
    flat = padded.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    rows, starts = np.divmod(changes[::2], width + 2)
    return rows, starts, changes[1::2] - rows * (width + 2)


def _touching(
    rows: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of runs that touch, also at a corner: a run, and one in the row above it."""
    stride = width + 2
    above = (rows - 1) * stride
    low = np.searchsorted(rows * stride + stops, above + starts, side="left")
    high = np.searchsorted(rows * stride + starts, above + stops, side="right")
    counts = np.maximum(high - low, 0)
    lower = np.repeat(np.arange(len(rows)), counts)
    upper = np.arange(len(lower)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)
    return lower, upper


def _joined(count: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest member of the set that each of ``count`` things is in, after joining pairs.

    Roots are hooked onto smaller ones, then paths are shortened, until no pair is apart (Shiloach and Vishkin, J.
    Algorithms 3 (1982), 57-67).
    """
    parent = np.arange(count)
    while True:
        a, b = parent[one], parent[other]
        apart = a != b
        if not apart.any():
            return parent
        np.minimum.at(parent, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
        while not np.array_equal(shorter := parent[parent], parent):
            parent = shorter


def _chain(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The hull on one side: what is left of points, one per row, without those that lie inwards."""
    kept: list[tuple[int, int]] = []
    for x, y in points:
        while len(kept) > 1 and _turn(kept[-2], kept[-1], (x, y)) >= 0:
            kept.pop()
        kept.append((x, y))
    return kept


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
