"""What the page shows of a pair: small images and the deformation grid, as JSON text of some 10 to 30 kB."""

import base64
import io
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import features

from cnnreg.evaluation.picture import area_colours, grey

Array = NDArray[Any]

PANELS = 4  # fixed, moving, warped, Jacobian
BLOCK = 16  # rows that a codec takes together: panels start at multiples of it, or one would shine through in another
QUALITIES = (80, 55, 30)  # of WebP: less than 80 only where noise takes more than the room
ROOM = 0.5  # bytes for each pixel of a panel
GRID_STEP = 1 / 4096  # of the image's size: what one unit of a stored node is
LINES = 32  # of the deformation grid, along the longer side
MOST_BORDERS = 60  # of one label map: what speckles it has beyond does not fill the page
SMALLEST, LARGEST = 96, 640  # pixels along the longer side
PAGE_BYTES, BYTES_PER_PIXEL = 30e6, 0.45  # aimed at; of a square preview, in base64, measured on MR and X-rays


def preview_side(pairs: int) -> int:
    """Pixels along the longer side of the images, such that a page of so many pairs stays near 30 MB."""
    side = math.sqrt(PAGE_BYTES / (BYTES_PER_PIXEL * max(pairs, 1)))
    return int(min(max(side, SMALLEST), LARGEST)) // 16 * 16


def encode_preview(
    *,
    fixed: Array,
    moving: Array,
    warped: Array,
    jacobian: Array,
    field: Array,
    outlines: tuple[Array, Array, Array] | None = None,
    confidence: Array | None = None,
) -> str:
    """One line of JSON: ``image``, four panels in a column; ``grid``, where the grid's nodes go in the moving image.

    With ``outlines``, also the borders of label maps of the fixed, moving and warped image; with ``confidence``, where
    the result can be relied on.

    Args:
        fixed, moving, warped: (H, W) in [0, 1], on the fixed grid. jacobian: (H, W), 0 or less where it folds.
        field: (2, h, w) in pixels of its own grid, which may be finer than that of the images.
        outlines: label maps (H, W), 0 outside.
        confidence: (2, h, w) over the image, the probability of a small error and how much evidence there is, 0 to 1.
    """
    height, width = fixed.shape
    panels = [_whole_blocks(panel) for panel in (grey(fixed), grey(moving), grey(warped), area_colours(jacobian))]
    nodes = _nodes(field, [max(2, min(LINES, max(fixed.shape) // 8) * n // max(fixed.shape)) for n in fixed.shape])
    return json.dumps(
        {
            "size": [width, height],
            "image": _base64(_compressed(np.concatenate(panels))),
            "nodes": list(nodes.shape[:2]),
            "grid": _stored(nodes / GRID_STEP),
            "outlines": [borders(labels) for labels in outlines or ()],
            **({} if confidence is None else {"confidence": _coarse(confidence)}),
        },
        separators=(",", ":"),
    )


def _nodes(field: Array, numbers: list[int]) -> Array:
    """(rows, columns, 2), (y, x) as a share of the image."""
    size = field.shape[1:]
    lines = [np.rint(np.linspace(0, n - 1, number)).astype(int) for n, number in zip(size, numbers, strict=True)]
    rows, columns = np.meshgrid(*lines, indexing="ij")
    y, x = ((at + field[axis, rows, columns] + 0.5) / size[axis] for axis, at in enumerate((rows, columns)))
    return np.stack([y, x], axis=2)


def borders(labels: Array) -> list[str]:
    """Closed lines around every label, to half a pixel, in units of GRID_STEP."""
    from skimage.measure import approximate_polygon, find_contours

    found = []
    for label in np.unique(labels[labels != 0]):
        for line in find_contours(np.pad(labels == label, 1).astype(np.float32), 0.5):
            if len(line) > 5:  # more than a pixel
                found.append(_stored((approximate_polygon(line, 0.5) - 0.5) / labels.shape / GRID_STEP))
    return sorted(found, key=len, reverse=True)[:MOST_BORDERS]


def _whole_blocks(pixels: Array) -> Array:
    return np.pad(pixels, ((0, -len(pixels) % BLOCK), (0, 0), (0, 0)), mode="edge")


def _compressed(pixels: Array) -> bytes:
    """As WebP, which all browsers read; JPEG where Pillow was built without it."""
    kind: dict[str, Any] = {"format": "WEBP", "method": 2} if features.check("webp") else {"format": "JPEG"}
    image, room = PILImage.fromarray(pixels), ROOM * pixels.shape[0] * pixels.shape[1] / PANELS
    for quality in QUALITIES:
        file = io.BytesIO()
        image.save(file, quality=quality, **kind)
        if file.tell() <= room:
            break
    return file.getvalue()


def _coarse(confidence: Array) -> dict[str, Any]:
    """(2, h, w) as one byte for each number."""
    return {
        "size": confidence.shape[1:],
        "values": _base64(np.rint(confidence.clip(0, 1) * 255).astype(np.uint8).tobytes()),
    }


def _stored(points: Array) -> str:
    return _base64(np.rint(points).clip(-32768, 32767).astype("<i2").tobytes())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
