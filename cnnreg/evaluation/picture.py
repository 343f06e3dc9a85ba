"""The picture of a registration, good enough for a slide. Drawn with Pillow, which starts faster than Matplotlib."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from cnnreg.evaluation.metrics import contour

Array = NDArray[Any]

PANEL, GAP, TITLE, MARGIN = 340, 14, 26, 20  # pixels
CURVE = 110  # pixels: height of the energy's curve
CURVE_INK = (186, 30, 40)
INK, PAPER, MUTED = (25, 28, 33), (255, 255, 255), (105, 112, 122)
FIXED_INK, MOVING_INK = (255, 214, 0), (0, 200, 255)  # outlines of label maps


def draw_registration(
    *,
    fixed: Array,
    moving: Array,
    warped: Array,
    field: Array,
    jacobian: Array,
    outlines: tuple[Array, Array, Array] | None,
    heading: str,
    caption: list[str],
    energies: Sequence[tuple[float, float]] = (),
) -> PILImage.Image:
    """Nine panels: images, overlays and grid, differences and Jacobian; below them the energy by iteration.

    Args:
        fixed, moving, warped: (H, W) in [0, 1], on the fixed grid.
        field: (2, H, W) in pixels. jacobian: (H, W).
        outlines: label maps (fixed, moving, warped) whose borders are drawn on the overlays.
        energies: of each iteration, with the pixels of the image that make one of the level's along each side.
    """
    spread = max(float(np.quantile(np.abs(fixed - moving), 0.995)), 1e-3)
    segs = outlines or (None, None, None)
    panels = [
        ("fixed", grey(fixed)),
        ("moving", grey(moving)),
        ("warped", grey(warped)),
        ("before: fixed green, moving magenta", _outlined(_overlay(fixed, moving), segs[0], segs[1])),
        ("after: fixed green, warped magenta", _outlined(_overlay(fixed, warped), segs[0], segs[2])),
        ("fixed grid carried to the moving image", _lattice(moving, field)),
        (f"fixed - moving (±{spread:.2f})", _diverging((fixed - moving) / spread)),
        (f"fixed - warped (±{spread:.2f})", _diverging((fixed - warped) / spread)),
        ("area: blue shrinks to 1/2, red grows x2, black folds", area_colours(jacobian)),
    ]
    return sheet_of(panels, heading, caption, energies)


def draw_strain(
    *, image: Array | None, strains: Array, region: Array, heading: str, caption: list[str]
) -> PILImage.Image:
    """Maps of radial, circumferential and shear strain in a region (H, W), cut out, over the image if there is one.

    Args:
        image: (H, W) in [0, 1]. strains: (3, H, W).
    """
    rows, columns = (np.flatnonzero(region.any(axis=1 - axis)) for axis in (0, 1))
    rim = max(len(rows), len(columns)) // 4 + 4
    cut = tuple(slice(max(side[0] - rim, 0), side[-1] + rim + 1) for side in (rows, columns))
    ground = grey(np.full(region.shape, 0.93) if image is None else image)[cut]
    panels = []
    for name, values in zip(("radial", "circumferential", "shear"), strains, strict=True):
        limit = max(float(np.nanquantile(np.abs(values[region]), 0.98)), 0.01)
        colours = _diverging(np.nan_to_num(values) / limit)[cut]
        inked = np.where(region[cut][..., None], colours, ground)
        panels.append((f"{name}: blue -{limit:.2f}, red +{limit:.2f}", _enlarged(inked)))
    return sheet_of(panels, heading, caption)


def draw_subtraction(
    *, image: Array, mirror: Array, before: Array, after: Array, region: Array | None, heading: str, caption: list[str]
) -> PILImage.Image:
    """The image, its mirror image laid onto it, and both differences; (H, W) each, in [0, 1].

    Args:
        before: image minus mirror image after affine alignment. after: minus the one that was laid onto it.
        region: outside of it differences are not shown.
    """
    seen = np.ones(image.shape, dtype=bool) if region is None else region
    spread = max(float(np.quantile(np.abs(before[seen]), 0.99)), 1e-3)
    panels = [("image", grey(image)), ("mirror image, laid onto it", grey(mirror))]
    panels.append(("both: image green, mirror image magenta", _overlay(image, mirror)))
    for name, difference in (("affine only", before), ("contralateral subtraction", after)):
        shown = np.where(seen, difference, 0)
        panels.append((f"{name} (±{spread:.2f})", grey(0.5 + shown / spread / 2)))
    panels.append((f"subtraction: red brighter than its mirror (±{spread:.2f})", _diverging(shown / spread)))
    return sheet_of(panels, heading, caption)


def _enlarged(pixels: Array) -> Array:
    factor = max(PANEL // max(pixels.shape[:2]), 1)
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def sheet_of(
    panels: list[tuple[str, Array]], heading: str, caption: list[str], energies: Sequence[tuple[float, float]] = ()
) -> PILImage.Image:
    """Panels (H, W, 3) of one size, three in a row, with the energy by iteration below them."""
    height, width = panels[0][1].shape[:2]
    scale = PANEL / max(height, width)
    size = (max(round(width * scale), 40), max(round(height * scale), 40))
    columns, rows = 3, -(-len(panels) // 3)
    cell = (PANEL + GAP, size[1] + TITLE + GAP)
    top, line = MARGIN + 44, 22
    curve = top + rows * cell[1]
    bottom = curve + (CURVE + 3 * GAP if len(energies) > 1 else 0)
    sheet = PILImage.new("RGB", (2 * MARGIN + columns * cell[0] - GAP, bottom + line * len(caption) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), heading, fill=INK, font=ImageFont.load_default(22))
    small = ImageFont.load_default(14)
    for index, (title, pixels) in enumerate(panels):
        x = MARGIN + index % columns * cell[0]
        y = top + index // columns * cell[1]
        draw.text((x, y), title, fill=INK, font=small)
        smooth = PILImage.Resampling.LANCZOS if scale < 1 else PILImage.Resampling.BICUBIC
        image = (
            PILImage.fromarray(pixels)
            if pixels.shape[0] == size[1]
            else PILImage.fromarray(pixels).resize(size, smooth)
        )
        sheet.paste(image, (x + (PANEL - size[0]) // 2, y + TITLE - 4))
    if len(energies) > 1:
        _curve(draw, (MARGIN, curve, sheet.width - MARGIN, curve + CURVE), energies)
    for number, text in enumerate(caption):
        draw.text((MARGIN, bottom + number * line), text, fill=MUTED, font=ImageFont.load_default(15))
    return sheet


def _curve(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], energies: Sequence[tuple[float, float]]) -> None:
    """The energy by iteration, each resolution level on a scale of its own: energies of two levels do not compare."""
    left, top, right, bottom = box
    small = ImageFont.load_default(13)
    draw.text((left, top), "energy by iteration", fill=INK, font=ImageFont.load_default(14))
    top += TITLE
    draw.rectangle((left, top, right, bottom), outline=MUTED)
    start = 0
    for level, group in groupby(energies, key=lambda item: item[1]):
        values = np.array([value for value, _ in group])
        x = left + (right - left) * (start + 0.5 + np.arange(len(values))) / len(energies)
        y = bottom - 8 - (bottom - top - 34) * (values - values.min()) / max(float(np.ptp(values)), 1e-12)
        points = list(zip(x.tolist(), y.tolist(), strict=True))
        edge = left + (right - left) * start / len(energies)
        draw.line(((edge, top), (edge, bottom)), fill=MUTED)
        draw.line(points, fill=CURVE_INK, width=2) if len(points) > 1 else draw.circle(points[0], 2, fill=CURVE_INK)
        name = f"1/{level:.3g}" if level > 1 else "full size"
        ends = f"{values[0]:.3f} to {values[-1]:.3f}" if len(values) > 1 else f"{values[0]:.3f}"
        width = (right - left) * len(values) / len(energies)
        title = next((t for t in (f"{name}: {ends}", name) if draw.textlength(t, font=small) < width - 8), "")
        draw.text((edge + 6, top + 4), title, fill=MUTED, font=small)
        start += len(values)


def grey(image: Array) -> Array:
    """Intensities (H, W) in [0, 1] as (H, W, 3), 8 bits."""
    return np.repeat((image.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def _overlay(fixed: Array, other: Array) -> Array:
    f, o = (grey(x)[..., 0] for x in (fixed, other))
    return np.stack([o, f, o], axis=2)


def _outlined(pixels: Array, seg_fixed: Array | None, seg_other: Array | None) -> Array:
    for seg, ink in ((seg_fixed, FIXED_INK), (seg_other, MOVING_INK)):
        for label in np.unique(seg[seg != 0]) if seg is not None else ():
            rows, columns = contour(seg == label).T
            pixels[rows, columns] = ink
    return pixels


def _diverging(values: Array) -> Array:
    """-1 blue, 0 white, 1 red."""
    v = values.clip(-1, 1)[..., None]
    blue, white, red = (np.array(c, dtype=np.float64) for c in ((33, 82, 173), (250, 250, 250), (186, 30, 40)))
    return np.where(v < 0, white + v * (white - blue), white + v * (red - white)).astype(np.uint8)


def area_colours(jacobian: Array) -> Array:
    """Blue where the area shrinks to half and less, red where it doubles, black where it folds; (H, W, 3), 8 bits."""
    colours = _diverging(np.log2(np.maximum(jacobian, 1e-3)))
    colours[jacobian <= 0] = 0
    return colours


def _lattice(moving: Array, field: Array) -> Array:
    """The grid lines of the fixed image where the field takes them, over the dimmed moving image."""
    height, width = moving.shape
    scale = PANEL / max(height, width)
    size = (max(round(width * scale), 40), max(round(height * scale), 40))
    image = PILImage.fromarray(grey(moving * 0.55)).resize((2 * size[0], 2 * size[1]), PILImage.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    rows, columns = np.mgrid[:height, :width]
    y, x = ((rows + field[0] + 0.5) * 2 * size[1] / height, (columns + field[1] + 0.5) * 2 * size[0] / width)
    step = max(max(height, width) // 28, 2)
    fine = max(step // 4, 1)  # points along a line
    for i in range(step // 2, height, step):
        draw.line(np.stack([x[i, ::fine], y[i, ::fine]], axis=1).ravel().tolist(), fill=(255, 196, 60), width=2)
    for j in range(step // 2, width, step):
        draw.line(np.stack([x[::fine, j], y[::fine, j]], axis=1).ravel().tolist(), fill=(255, 196, 60), width=2)
    return np.asarray(image.resize(size, PILImage.Resampling.BOX))
