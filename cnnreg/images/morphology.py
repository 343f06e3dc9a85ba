"""Shapes of a few thousand cells: connected parts, growing and shrinking, holes, the convex hull.

What ``scipy.ndimage`` and ``scipy.spatial`` give, without the time that importing them takes: every image that is read
is looked at.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def parts(mask: Mask) -> tuple[NDArray[np.integer], int]:
    """Labels (H, W) from 1 of what is connected along rows and columns, 0 elsewhere; and their number.

    Of the runs in each row, those of two rows that touch belong together.
    """
    stride = mask.shape[1] + 1  # a gap after each row, and one before all
    gapped = np.zeros(mask.shape[0] * stride + 1, bool)
    gapped[1:].reshape(-1, stride)[:, :-1] = mask
    changes = np.flatnonzero(gapped[1:] != gapped[:-1])
    begin, end = changes[::2], changes[1::2]
    first, last = np.searchsorted(end, begin + stride, side="right"), np.searchsorted(begin, end + stride)
    count = last - first  # of the runs below that touch
    upper = np.repeat(np.arange(len(begin)), count)
    lower = np.arange(len(upper)) + np.repeat(first - np.cumsum(count) + count, count)
    root = _roots(len(begin), upper, lower)
    is_root = root == np.arange(len(root))
    labels = np.zeros(gapped.shape, np.int32)
    labels[gapped] = np.repeat(np.cumsum(is_root)[root], end - begin)
    return labels[1:].reshape(-1, stride)[:, :-1], int(is_root.sum())


def _roots(count: int, a: NDArray[np.integer], b: NDArray[np.integer]) -> NDArray[np.integer]:
    """Of ``count`` numbers, of which the pairs a, b belong together, the smallest that each belongs with."""
    root = np.arange(count)
    while (root[a] != root[b]).any():
        least = np.minimum(root[a], root[b])
        np.minimum.at(root, root[a], least)
        np.minimum.at(root, root[b], least)
        while (root[root] != root).any():
            root = root[root]
    return root


def grown(mask: Mask, times: int = 1) -> Mask:
    """With the neighbours along rows and columns."""
    return ~shrunk(~mask, times, outside=True)


def shrunk(mask: Mask, times: int = 1, *, outside: bool = False) -> Mask:
    """Only what has all its neighbours along rows and columns; ``outside`` is what lies beyond the frame."""
    for _ in range(times):
        wide = np.pad(mask, 1, constant_values=outside)
        mask = mask & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask


def opened(mask: Mask, radius: int) -> Mask:
    """Only where a disc fits in; the frame does not cut it."""
    disc, margin = _disc(radius), radius + 1
    wide = np.pad(mask, margin, mode="edge")
    fits = ~_swept(~wide, disc)
    return _swept(fits, disc)[margin:-margin, margin:-margin]


@lru_cache(maxsize=8)
def _disc(radius: int) -> tuple[int, ...]:
    """How far a disc reaches along each of its rows; ITK's."""
    side = 2 * radius + 1
    dot = np.zeros((side, side), np.uint8)
    dot[radius, radius] = 1
    disc = sitk.BinaryDilate(sitk.GetImageFromArray(dot), [radius, radius], sitk.sitkBall)
    return tuple((sitk.GetArrayFromImage(disc).sum(1) // 2).tolist())


def _swept(mask: Mask, disc: tuple[int, ...]) -> Mask:
    """What a disc covers whose middle is at every place of a mask."""
    radius, (height, width) = len(disc) // 2, mask.shape
    wide = np.pad(mask, radius)
    rows, covered = {0: wide[:, radius : radius + width]}, np.zeros(mask.shape, bool)
    for reach in range(1, radius + 1):
        left, right = (wide[:, radius + shift : radius + shift + width] for shift in (-reach, reach))
        rows[reach] = rows[reach - 1] | left | right
    for row, reach in enumerate(disc):
        covered |= rows[reach][row : row + height]
    return covered


def largest(mask: Mask) -> Mask:
    """The largest part."""
    labels, count = parts(mask)
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax() if count else mask


def is_thick(mask: Mask) -> bool:
    """Whether a square of 3 by 3 fits into it."""
    rows = mask[:-2] & mask[1:-1] & mask[2:]
    return bool((rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]).any())


def filled(mask: Mask) -> Mask:
    """With its holes: what is not connected to the frame."""
    labels, count = parts(~mask)
    open_ = np.zeros(count + 1, bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        open_[side] = True
    open_[0] = False
    return ~open_[labels]


def hull_area(mask: Mask) -> float:
    """Of the smallest convex shape around the cells, each a square of side 1; 0 if there is none."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return 0.0
    left = mask[rows].argmax(1)
    right = mask.shape[1] - mask[rows, ::-1].argmax(1)
    edges = np.concatenate([rows, rows + 1])  # of a row of cells, above and below
    return _under(edges, np.concatenate([right, right])) + _under(edges, -np.concatenate([left, left]))


def _under(y: NDArray[np.integer], x: NDArray[np.integer]) -> float:
    """The area between the axis and the chain that bulges most (Andrew 1979, doi:10.1016/0020-0190(79)90072-3)."""
    order = np.lexsort((-x, y))
    order = order[np.unique(y[order], return_index=True)[1]]  # of points of one y the outermost
    chain: list[tuple[int, int]] = []
    for new in zip(y[order].tolist(), x[order].tolist(), strict=True):
        while len(chain) > 1 and _dents(chain[-2], chain[-1], new):
            chain.pop()
        chain.append(new)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(chain))


def _dents(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    """Whether b lies not beyond the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])
