"""Padding: frames, bars, collimator borders and filled corners, which lie in an image but show nothing.

An image is cut off straight, or seen through an aperture. So flat regions at the rim are padding where what they leave
is a rectangle, maybe turned, or a circle, a sector, an octagon; the flat ground around a head or a section, whose
outline is information, leaves another shape.
"""

import numpy as np
from numpy.typing import NDArray

from cnnreg.images.apertures import aperture
from cnnreg.images.morphology import grown, is_thick, parts, shrunk

SIDE = 160  # cells along the longer side, at most
TOLERANCES = 0.025, 0.004  # from the padding's value; the second does not leak into content that is nearly as dark
FLAT = 0.2  # of the tolerance, mean deviation: a slow ramp is not flat; and to content there is
STEP, THIN_STEP = 0.03, 0.25  # in value, from what is at least 3 cells thick, and from what is thinner: a steep ramp
VALUES = 4  # of padding, at most
RIM = 0.05  # of the image's rim: what has less is no value of padding
RECTANGLE = 0.98  # of the rectangle is content; and what is not is less than
NOTCH = 0.2  # of the padding outside of it: a dark corner does not make a turned edge
NEARLY = 0.93  # so many, when the turn is known to a degree
STRAIGHT = 2.0  # degrees: what is turned by more has more sides than one; a dark wedge has one
LEAST_PADDING, LEAST_CONTENT = 0.01, 0.1  # of the image
SMALL = 0.1  # of the largest part: what is less, amid padding, is text
EDGE = 1.0  # pixels that an edge is blurred by
RIM_CELLS, SOFT = 2, 8  # of an aperture, which are not sharp; at most, if its rim fades into the ground
FADED = 0.75  # of how far the inside stands above the ground: what does not reach it belongs to the rim

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def content(pixels: NDArray[np.floating]) -> Mask | None:
    """Where an image (H, W) with intensities in [0, 1] shows something; None if it has no padding.

    A few pixels short of the padding, so that its edge is not seen. Text in the padding is padding, holes in the
    content are content.
    """
    step = -(-max(pixels.shape) // SIDE)
    cells = _means(pixels, step)
    for tolerance in TOLERANCES:
        if found := _search(cells, tolerance):
            return found.draw(pixels.shape, step)
    return None


def _means(pixels: NDArray[np.floating], step: int) -> Array:
    """Of squares of ``step`` pixels: noise of compression averages out."""
    rows, columns = (np.arange(0, n - step // 2, step) for n in pixels.shape)  # no sliver at the end
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, axis=0), columns, axis=1)
    sizes = [np.diff(starts, append=n) for starts, n in zip((rows, columns), pixels.shape, strict=True)]
    return np.asarray(sums / (sizes[0][:, None] * sizes[1]), dtype=np.float64)


def _search(cells: Array, tolerance: float) -> "_Rectangle | _Aperture | None":
    """The rectangle or aperture that is left by as many flat regions at the rim as leave one."""
    best: _Rectangle | _Aperture | None = None
    taken, everything = np.zeros(cells.shape, bool), np.zeros(cells.shape, bool)
    for _ in range(VALUES):
        region = _flat_at_rim(cells, everything, tolerance)
        if region is None:
            break
        everything = everything | region
        if not _has_edge(cells, region, tolerance):
            continue
        tries = [taken | region, everything]  # a sky at the rim does not spoil the bar beside it
        for padding in tries if tries[0].sum() < everything.sum() else tries[:1]:
            left = _without_text(~padding)
            if found := _rectangle(left) or _aperture(left, cells):
                best, taken = found, padding
                break
    return best


def _flat_at_rim(cells: Array, known: Mask, tolerance: float) -> Mask | None:
    """All that has the rim's most frequent value and is connected to the rim; what is ``known`` is not looked at."""
    rim = np.ones(cells.shape, bool)
    rim[1:-1, 1:-1] = False
    values = np.sort(cells[rim & ~known])
    if len(values) < RIM * rim.sum():
        return None
    last = np.searchsorted(values, values + 2 * tolerance, side="right")
    first = int((last - np.arange(len(values))).argmax())
    if last[first] - first < RIM * rim.sum():
        return None
    value = np.median(values[first : last[first]])
    labels, count = parts((np.abs(cells - value) <= tolerance) & ~known)
    at_rim = np.zeros(count + 1, bool)
    at_rim[labels[rim]] = True
    at_rim[0] = False
    return at_rim[labels]


def _has_edge(cells: Array, region: Mask, tolerance: float) -> bool:
    """Whether a region is flat, and values change at once from it to what is around it."""
    value = np.median(cells[region])
    if np.abs(cells[region] - value).mean() > FLAT * tolerance:
        return False
    near = grown(region, 2)
    around = grown(near) & ~near
    least = STEP if is_thick(region) else THIN_STEP
    return bool(around.any()) and float(np.median(np.abs(cells[around] - value))) > least


def _without_text(left: Mask) -> Mask:
    """Only the large parts of what the padding leaves."""
    labels, count = parts(left)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes > SMALL * sizes.max())[labels]


class _Rectangle:
    """A rectangle of cells turned by ``angle``: low <= (cos y + sin x, cos x - sin y) <= high."""

    def __init__(self, angle: float, low: Array, high: Array) -> None:
        self.angle, self.low, self.high = angle, low, high

    def draw(self, size: tuple[int, ...], step: int) -> Mask | None:
        """On the pixels (H, W), shrunk by what its edge may be off and blurred; None if that is nothing or all."""
        shrink = 1 + EDGE / step
        rows, columns = ((np.arange(n) + 0.5) / step - 0.5 for n in size)
        cos, sin = _direction(np.array(self.angle))
        first, last = _spans(rows, cos, sin, self.low + shrink, self.high - shrink)
        mask = (columns >= first[:, None]) & (columns <= last[:, None])
        return mask if 0 < mask.sum() < mask.size else None


class _Aperture:
    """Cells, of any shape."""

    def __init__(self, cells: Mask, rim: int = RIM_CELLS) -> None:
        self.cells = shrunk(cells, rim, outside=True)

    def draw(self, size: tuple[int, ...], step: int) -> Mask | None:
        """On the pixels (H, W); None if that is nothing or all."""
        rows, columns = (np.minimum(np.arange(n) // step, m - 1) for n, m in zip(size, self.cells.shape, strict=True))
        mask = self.cells[rows[:, None], columns]
        return mask if 0 < mask.sum() < mask.size else None


def _aperture(shape: Mask, cells: Array) -> _Aperture | None:
    """What is seen through one; None if the shape is not that of one."""
    seen = aperture(shape, cells)
    return None if seen is None else _Aperture(seen, _fading(seen, cells))


def _fading(seen: Mask, cells: Array) -> int:
    """Cells from the rim inwards until the image is about as far from the ground as further in."""
    above = np.abs(cells - np.median(cells[~seen]))
    means = []
    for _ in range(2 * SOFT):
        inner = shrunk(seen, outside=True)
        ring = seen & ~inner
        means.append(float(above[ring].mean()) if ring.any() else 0.0)
        seen = inner
    bright = np.flatnonzero(np.array(means) >= FADED * np.mean(means[SOFT:]))
    return int(np.clip(bright[0] + 1 if len(bright) else SOFT, RIM_CELLS, SOFT))


def _rectangle(shape: Mask) -> _Rectangle | None:
    """The one that ``shape`` fills, cut off by the frame; None if it fills none, or nearly nothing or all."""
    total = shape.sum()
    if not LEAST_CONTENT * shape.size <= total <= (1 - LEAST_PADDING) * shape.size:
        return None
    rows = np.flatnonzero(shape.any(1))
    ends = shape[rows].argmax(1), shape.shape[1] - 1 - shape[rows, ::-1].argmax(1)
    points = np.concatenate([np.stack([rows, columns]) for columns in ends], 1).astype(float)
    angle = 0.0
    for fine in (np.arange(0.0, 90.0), np.arange(-1.0, 1.125, 0.125)):  # half a degree off, it is 2 % larger
        cos, sin = _direction(angle + fine)
        lows, highs = _extents(points, cos, sin)
        counts = _count(shape.shape, cos, sin, lows, highs)
        best = int(counts.argmin())
        if total < NEARLY * counts[best]:
            return None
        angle += float(fine[best])
    missing, outside = counts[best] - total, shape.size - counts[best]
    if missing > min((1 - RECTANGLE) * counts[best], NOTCH * outside) or outside < LEAST_PADDING * shape.size:
        return None
    corners = np.array([[y, x] for y in (0, shape.shape[0] - 1) for x in (0, shape.shape[1] - 1)], float).T
    frame = _extents(corners, cos[best], sin[best])
    low, high = lows[:, best], highs[:, best]  # a side with nothing beyond it is not one: the frame cuts there
    low = np.where(frame[0][:, 0] > low - 0.5, -np.inf, low)
    high = np.where(frame[1][:, 0] < high + 0.5, np.inf, high)
    sides = np.isfinite(low).sum() + np.isfinite(high).sum()
    if sides < 2 and abs((angle + 45) % 90 - 45) > STRAIGHT:
        return None
    return _Rectangle(angle, low, high)


def _direction(angles: Array) -> tuple[Array, Array]:
    """Cosine and sine, never quite 0."""
    turn = np.radians(angles)
    tiny = 1e-9
    return np.cos(turn), np.where(np.abs(np.sin(turn)) < tiny, tiny, np.sin(turn))


def _extents(points: Array, cos: Array, sin: Array) -> tuple[Array, Array]:
    """Least and greatest coordinates (2, A) of ``points`` (2, N) along the turned axes."""
    y, x = points[0], points[1]
    cos, sin = np.reshape(cos, (-1, 1)), np.reshape(sin, (-1, 1))
    along = np.stack([cos * y + sin * x, cos * x - sin * y])
    return along.min(2), along.max(2)


def _spans(rows: Array, cos: Array, sin: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """First and last column of a rectangle in each row, (..., R); the sine may be negative."""
    cos, sin = cos[..., None], sin[..., None]
    ends = (low[0][..., None] - cos * rows) / sin, (high[0][..., None] - cos * rows) / sin
    first = np.maximum(np.minimum(*ends), (low[1][..., None] + sin * rows) / cos)
    last = np.minimum(np.maximum(*ends), (high[1][..., None] + sin * rows) / cos)
    return first, last


def _count(size: tuple[int, ...], cos: Array, sin: Array, low: Array, high: Array) -> Array:
    """Cells (A,) of a frame of ``size`` whose centres lie in rectangles."""
    slack = 1e-6
    first, last = _spans(np.arange(size[0], dtype=float), cos, sin, low - slack, high + slack)
    first, last = np.ceil(first.clip(0, size[1])), np.floor(last.clip(-1, size[1] - 1))
    return (last - first + 1).clip(0).sum(-1)
