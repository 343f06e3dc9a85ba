"""Fields of view that are not rectangles: circles, sectors, octagons, which end in arcs and straight lines.

The outline of a head or a section bends as it likes; that of an aperture is explained by a few circles and lines,
within the width of a cell.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cnnreg.images.morphology import filled, hull_area, largest, opened, shrunk

NEAR = 0.8  # cells: what is this near to an arc or a line belongs to it
UNEVEN = 0.011  # of the longer side: so near to one circle is a rim that is soft, or not quite round
ROUND, CUTS = 0.75, 2  # so much of the outline is then that circle, and so many straight lines are the rest
FILLS = 0.97  # of the shorter side: it reaches from rim to rim, which round things seldom do
TABS = 0.02  # of the longer side: what is narrower, such as the notch of a fundus camera, is no part of the shape
TRIALS = 300  # of three points each
EXPLAINED, LEAST = 0.94, 0.07  # of the outline: by all arcs and lines, by each of them
WITH_ARCS = {(1, lines) for lines in range(5)} | {(2, 2), (2, 3)}  # arcs and lines
POLYGONS = {(0, lines) for lines in range(4, 9)}
FEWEST = 40  # cells of outline
LEAST_INSIDE, LEAST_OUTSIDE = 0.25, 0.04  # of the image
GROUND, ALIKE = 0.3, 0.02  # of what is inside, at most, has the value of what is outside; which is so near
CONVEX = 0.95  # of the smallest convex shape around, at least
TEXTURE = 0.02  # standard deviation inside; a plain disc is a thing, not a field of view

if TYPE_CHECKING:
    from numpy.random import Generator

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def aperture(left: Mask, cells: Array) -> Mask | None:
    """What is seen through an aperture, holes included, if cells (H, W) that padding leaves end as one does.

    Where the image itself ends does not count.
    """
    side = max(left.shape)
    shape = largest(opened(filled(left), round(TABS * side)))
    share = float(shape.mean())
    if not LEAST_INSIDE <= share <= 1 - LEAST_OUTSIDE:
        return None
    if (np.abs(cells[shape] - np.median(cells[~shape])) < ALIKE).mean() > GROUND:
        return None  # a ring
    inner = shrunk(shape, 4)
    if not inner.any() or cells[inner].std() < TEXTURE:
        return None
    points = np.argwhere(shape & ~shrunk(shape, outside=True)).astype(float)
    if len(points) < FEWEST or not _is_convex(shape):
        return None
    found = _parts(points, side, arcs=False) in POLYGONS or _parts(points, side) in WITH_ARCS
    return shape if found or _is_round(points, shape.shape) else None


def _is_round(points: Array, size: tuple[int, ...]) -> bool:
    """Whether one circle that fills the frame, cut off straight at some sides, about explains points (N, 2)."""
    side, rng = max(size), np.random.default_rng(0)
    near = max(NEAR, UNEVEN * side)
    rest = points[~_best(points, 3, rng, side, near)]
    if np.ptp(points, axis=0).max() + 1 < FILLS * min(size) or len(rest) > (1 - ROUND) * len(points):
        return False
    for _ in range(CUTS):
        if len(rest) > (1 - EXPLAINED) * len(points):
            rest = rest[~_best(rest, 2, rng, side, near)]
    return len(rest) <= (1 - EXPLAINED) * len(points)


def _is_convex(shape: Mask) -> bool:
    return bool(shape.sum() > CONVEX * hull_area(shape))


def _parts(points: Array, side: int, *, arcs: bool = True) -> tuple[int, int] | None:
    """How many arcs and how many lines explain points (N, 2); None if they do not."""
    counts, total = {3: 0, 2: 0}, len(points)
    rng = np.random.default_rng(0)
    while len(points) > (1 - EXPLAINED) * total:
        near = {degree: _best(points, degree, rng, side) for degree in ((2, 3) if arcs else (2,))}
        degree = 3 if arcs and near[3].sum() > 1.15 * near[2].sum() else 2  # a line is an arc, too
        if near[degree].sum() < LEAST * total:
            return None
        counts[degree] += 1
        points = points[~near[degree]]
    return counts[3], counts[2]


def _best(points: Array, degree: int, rng: "Generator", side: int, reach: float = NEAR) -> Mask:
    """Which points (N, 2) lie on the circle (``degree`` 3) or line (2) that most of them lie on, or so near."""
    best = np.zeros(len(points), bool)
    for _ in range(2):  # the second time from those that were found
        pool = np.flatnonzero(best) if best.any() else np.arange(len(points))
        chosen = points[pool[rng.integers(len(pool), size=(TRIALS, degree))]]
        near = _near_circles(points, chosen, side, reach) if degree == 3 else _near_lines(points, chosen, reach)
        counts = near.sum(0, dtype=np.int32)
        most = int(counts.argmax())
        best = near[:, most] if counts[most] > best.sum() else best
    return best


def _near_lines(points: Array, chosen: Array, reach: float) -> Mask:
    """Whether points (N, 2) are so near to lines through (K, 2, 2): (N, K)."""
    along = chosen[:, 1] - chosen[:, 0]
    length = np.linalg.norm(along, axis=1)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(length, 1e-9)[:, None]
    away = points @ normal.T
    away -= (chosen[:, 0] * normal).sum(1)
    return (np.abs(away, out=away) < reach) & (length >= 3)


def _near_circles(points: Array, chosen: Array, side: int, reach: float) -> Mask:
    """Whether points (N, 2) are so near to circles through (K, 3, 2), of .1 to 2 ``side`` in radius: (N, K)."""
    first = chosen[:, 0]
    b, c = chosen[:, 1] - first, chosen[:, 2] - first
    double = 2 * (b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0])
    double = np.where(np.abs(double) < 1e-6, np.nan, double)
    squares = (b**2).sum(1), (c**2).sum(1)
    middle = (
        np.stack([c[:, 1] * squares[0] - b[:, 1] * squares[1], b[:, 0] * squares[1] - c[:, 0] * squares[0]], 1)
        / double[:, None]
    )
    radius = np.linalg.norm(middle, axis=1)
    centre = middle + first
    away, across = (np.subtract.outer(points[:, axis], centre[:, axis]) for axis in (0, 1))
    away *= away
    away += np.multiply(across, across, out=across)
    np.sqrt(away, out=away)
    away -= radius
    return (np.abs(away, out=away) < reach) & (radius > side / 10) & (radius < 2 * side)
