"""The pictures of a registration, of a subtraction and of strain, good enough for a slide."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw

from cnnreg.evaluation.metrics import contour
from cnnreg.evaluation.sheet import PANEL, Aside, Bar, Ink, Panel, sheet_of

Array = NDArray[Any]

FIXED_INK, MOVING_INK = (255, 214, 0), (0, 200, 255)  # outlines of label maps
GREEN, MAGENTA, BLACK = (0, 220, 0), (220, 0, 220), (0, 0, 0)  # of overlays, and of folds
ORANGE, PALE, BLUE, NO_INK = (230, 110, 0), (245, 245, 240), (0, 90, 200), (128, 128, 128)  # of confidence, and of none
LIGHT = 0.25  # of what is black
TINT = 0.5  # of the colour, where there is most evidence; the rest is the image
BADGES: dict[str, Ink] = {"good": (0, 115, 79), "check": (154, 91, 0), "failed": (176, 58, 0)}  # as on the page


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
    confidence: Array | None = None,
    verdict: tuple[str, float] | None = None,
    remarks: Sequence[str] = (),
    energies: Sequence[tuple[float, float]] = (),
) -> PILImage.Image:
    """Ten panels: images, overlays and grid, differences and Jacobian, and confidence.

    Beside the last one ``remarks``, sentences, and the energy by iteration. Without ``confidence`` nine panels.

    Args:
        fixed, moving, warped: (H, W) in [0, 1], on the fixed grid.
        field: (2, H, W) in pixels. jacobian: (H, W).
        outlines: label maps (fixed, moving, warped) whose borders are drawn on the overlays.
        confidence: (2, h, w) over the image, the probability of a small error, and how much evidence there is, 0 to 1.
        verdict: class and probability, for the title line.
        energies: of each iteration, with the pixels of the image that make one of the level's along each side.
    """
    spread = max(float(np.quantile(np.abs(fixed - moving), 0.995)), 1e-3)
    segs = outlines or (None, None, None)
    bar = _signed_bar(f"{spread:.2f}")
    panels = [
        Panel("fixed", grey(fixed)),
        Panel("moving", grey(moving)),
        Panel("warped", grey(warped)),
        _laid_over("before", fixed, moving, "moving", segs[0], segs[1]),
        _laid_over("after", fixed, warped, "warped", segs[0], segs[2]),
        Panel("grid of the fixed image in the moving image", _lattice(moving, field)),
        Panel("fixed - moving", _diverging((fixed - moving) / spread), bar=bar),
        Panel("fixed - warped", _diverging((fixed - warped) / spread), bar=bar),
        Panel("Jacobian determinant", area_colours(jacobian), ((BLACK, "folds (<= 0)"),), bar=AREA_BAR),
    ]
    if confidence is not None:
        keys = ((NO_INK, "no evidence"),)
        panels.append(
            Panel(
                "confidence: is the error below 1 % of the diagonal?",
                confidence_colours(fixed, confidence),
                keys,
                bar=CONFIDENCE_BAR,
            )
        )
    badge = None if verdict is None else (f"{verdict[0]} (probability {verdict[1]:.2f})", BADGES[verdict[0]])
    return sheet_of(panels, heading, caption, Aside(remarks, energies), badge)


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
        panels.append(Panel(f"{name} strain", _enlarged(inked), bar=_signed_bar(f"{limit:.2f}")))
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
    both = _laid_over("both", image, mirror, "mirror image", None, None, name="image")
    panels = [Panel("image", grey(image)), Panel("mirror image, registered to it", grey(mirror)), both]
    grey_bar = Bar(grey(np.linspace(0, 1, 65)[None])[0], f"-{spread:.2f}", "0", f"+{spread:.2f}")
    for name, difference in (("affine only", before), ("contralateral subtraction", after)):
        shown = np.where(seen, difference, 0)
        panels.append(Panel(name, grey(0.5 + shown / spread / 2), bar=grey_bar))
    panels.append(Panel("contralateral subtraction", _diverging(shown / spread), bar=_signed_bar(f"{spread:.2f}")))
    return sheet_of(panels, heading, caption)


def _laid_over(
    title: str,
    fixed: Array,
    other: Array,
    called: str,
    seg_fixed: Array | None,
    seg_other: Array | None,
    *,
    name: str = "fixed",
) -> Panel:
    """One image in green, the other in magenta, so that both together are grey; with the outlines of label maps."""
    lines: tuple[tuple[Ink, str], ...] = ()
    if seg_fixed is not None:
        lines = (FIXED_INK, f"{name} labels"), (MOVING_INK, f"{called} labels")
    pixels = _outlined(_overlay(fixed, other), seg_fixed, seg_other)
    return Panel(title, pixels, ((GREEN, name), (MAGENTA, called)), lines)


def _enlarged(pixels: Array) -> Array:
    factor = max(PANEL // max(pixels.shape[:2]), 1)
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


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


def _diverging(
    values: Array, low: Ink = (33, 82, 173), middle: Ink = (250, 250, 250), high: Ink = (186, 30, 40)
) -> Array:
    """-1 blue, 0 white, 1 red, or other colours."""
    v = values.clip(-1, 1)[..., None]
    below, white, above = (np.array(c, dtype=np.float64) for c in (low, middle, high))
    return np.where(v < 0, white + v * (white - below), white + v * (above - white)).astype(np.uint8)


def confidence_colours(image: Array, confidence: Array) -> Array:
    """The image (H, W), orange where it is not aligned, blue where it is, as far as there is evidence.

    ``confidence`` (2, h, w) over the image: a probability, and how much evidence there is, 0 to 1. Returns (H, W, 3),
    8 bits. Orange and blue differ for all who see colours, whichever they lack.
    """
    probability, evidence = (
        np.asarray(PILImage.fromarray(part.astype(np.float32)).resize(image.shape[::-1], PILImage.Resampling.BILINEAR))
        for part in confidence
    )
    weight = TINT * evidence.clip(0, 1)[..., None]
    light = grey(LIGHT + (1 - LIGHT) * image)  # colours show on dark images, too
    return np.rint((1 - weight) * light + weight * _for_and_against(probability)).astype(np.uint8)


def _for_and_against(probability: Array) -> Array:
    return _diverging(2 * probability - 1, ORANGE, PALE, BLUE)


def _signed_bar(limit: str) -> Bar:
    return Bar(_diverging(np.linspace(-1, 1, 65)), f"-{limit}", "0", f"+{limit}")


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


AREA_BAR = Bar(area_colours(2 ** np.linspace(-1, 1, 65)), "1/2", "1", "2")  # on a logarithmic scale
CONFIDENCE_BAR = Bar(_for_and_against(np.linspace(0, 1, 65)), "0", ".5", "1")  # probability
