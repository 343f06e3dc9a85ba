"""A sheet of panels with their legends, drawn with Pillow, which starts faster than Matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

Array = NDArray[Any]
Ink = tuple[int, int, int]

PANEL, GAP, TITLE, MARGIN, COLUMNS = 340, 14, 26, 20, 3  # pixels; panels in a row
KEY, SWATCH, BAR = 24, 12, 130  # pixels: height of a legend, side of a swatch, length of a colour bar
CURVE = 130  # pixels: height of the energy's curve, title included
REMARK, LINE = 15, 22  # pixels: of sentences, and from one line to the next
CURVE_INK: Ink = (186, 30, 40)
INK, PAPER, MUTED = (25, 28, 33), (255, 255, 255), (105, 112, 122)


@dataclass(frozen=True)
class Bar:
    """A strip of the colours from ``low`` to ``high``, and what its ends and its middle stand for."""

    colours: Array  # (N, 3)
    low: str
    middle: str
    high: str


@dataclass(frozen=True)
class Panel:
    """An image (H, W, 3), its title, and the legend below it: a colour bar, and words beside their colours."""

    title: str
    pixels: Array
    swatches: tuple[tuple[Ink, str], ...] = ()
    lines: tuple[tuple[Ink, str], ...] = ()  # swatches of outlines
    bar: Bar | None = None

    @property
    def explained(self) -> bool:
        """Whether there is a legend."""
        return bool(self.swatches or self.lines or self.bar)


@dataclass(frozen=True)
class Aside:
    """What stands beside the last panels, or below them where they fill their row: sentences, and a curve."""

    remarks: Sequence[str] = ()
    energies: Sequence[tuple[float, float]] = ()  # of each iteration, and the resolution level

    @property
    def drawn(self) -> bool:
        """Whether there is a curve."""
        return len(self.energies) > 1

    def lines(self, width: int) -> list[str]:
        """The sentences, broken to a width in pixels."""
        return [line for remark in self.remarks for line in _wrapped(remark, width, ImageFont.load_default(REMARK))]

    def height(self, width: int) -> int:
        """In pixels."""
        return LINE * len(self.lines(width)) + (CURVE + 2 * GAP if self.drawn else 0)


def sheet_of(
    panels: list[Panel], heading: str, caption: list[str], aside: Aside = Aside(), badge: tuple[str, Ink] | None = None
) -> PILImage.Image:
    """Panels of one size, three in a row, a title, and what stands aside; ``badge``: words at the title's right end."""
    size = _size(panels[0].pixels)
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    heights = [TITLE + size[1] + GAP + (KEY if any(panel.explained for panel in row) else 0) for row in rows]
    width = 2 * MARGIN + COLUMNS * (PANEL + GAP) - GAP
    beside = len(rows[-1]) % COLUMNS
    left = MARGIN + beside * (PANEL + GAP)
    needed = aside.height(width - MARGIN - left)
    if beside:
        heights[-1] = max(heights[-1], needed)
    top = MARGIN + 44
    at = top + (sum(heights[:-1]) if beside else sum(heights))
    end = at + max(TITLE + size[1] if beside else 0, needed)  # of what stands aside
    bottom = max(top + sum(heights), end + GAP if needed else 0)
    sheet = PILImage.new("RGB", (width, bottom + LINE * len(caption) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    _head(draw, heading, badge, width)
    for number, row in enumerate(rows):
        for column, panel in enumerate(row):
            _place(sheet, draw, panel, (MARGIN + column * (PANEL + GAP), top + sum(heights[:number])), size)
    _set_aside(draw, aside, (left, at, width - MARGIN, end - 4))
    for number, text in enumerate(caption):
        draw.text((MARGIN, bottom + number * LINE), text, fill=MUTED, font=ImageFont.load_default(REMARK))
    return sheet


def _head(draw: ImageDraw.ImageDraw, heading: str, badge: tuple[str, Ink] | None, width: int) -> None:
    """The title, smaller where it is long, cut in the middle where that is not enough; and the badge at the right."""
    font, right = ImageFont.load_default(22), width - MARGIN
    if badge:
        words, ink = badge
        left = right - round(draw.textlength(words, font=font)) - 2 * GAP
        draw.rounded_rectangle((left, MARGIN - 4, right, MARGIN + 28), 6, fill=ink)
        draw.text((left + GAP, MARGIN), words, fill=PAPER, font=font)
        right = left - GAP
    half, room = len(heading) // 2 + 1, right - MARGIN
    fits = [(heading, size) for size in range(22, 14, -1)]
    fits += [(f"{heading[:n]} ... {heading[-n:]}", 15) for n in range(half, 0, -1)]
    sized = ((text, ImageFont.load_default(size)) for text, size in fits)
    title, font = next(((text, own) for text, own in sized if own.getlength(text) <= room), ("", font))
    draw.text((MARGIN, MARGIN), title, fill=INK, font=font)


def _set_aside(draw: ImageDraw.ImageDraw, aside: Aside, box: tuple[int, int, int, int]) -> None:
    """Sentences, and below them the curve, which takes what is left of the box: left, top, right, bottom."""
    left, top, right, bottom = box
    for line in aside.lines(right - left):
        draw.text((left, top), line, fill=INK, font=ImageFont.load_default(REMARK))
        top += LINE
    if aside.drawn:
        _curve(draw, (left, top + (GAP if aside.remarks else 0), right, bottom), aside.energies)


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Lines of whole words that fit."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _size(pixels: Array) -> tuple[int, int]:
    """Width and height of a panel on the sheet."""
    height, width = pixels.shape[:2]
    scale = PANEL / max(height, width)
    return max(round(width * scale), 40), max(round(height * scale), 40)


def _place(
    sheet: PILImage.Image, draw: ImageDraw.ImageDraw, panel: Panel, at: tuple[int, int], size: tuple[int, int]
) -> None:
    """Title, image and legend; ``at`` is the upper left corner."""
    draw.text(at, panel.title, fill=INK, font=ImageFont.load_default(14))
    image = PILImage.fromarray(panel.pixels)
    if image.size != size:
        smooth = PILImage.Resampling.LANCZOS if image.width > size[0] else PILImage.Resampling.BICUBIC
        image = image.resize(size, smooth)
    sheet.paste(image, (at[0] + (PANEL - size[0]) // 2, at[1] + TITLE - 4))
    if panel.explained:
        _explain(sheet, draw, panel, (at[0], at[1] + TITLE + size[1] + 2))


def _explain(sheet: PILImage.Image, draw: ImageDraw.ImageDraw, panel: Panel, at: tuple[int, int]) -> None:
    """The legend from left to right."""
    font, (x, y) = ImageFont.load_default(13), at

    def say(text: str) -> None:
        nonlocal x
        draw.text((x, y - 2), text, fill=MUTED, font=font)
        x += round(draw.textlength(text, font=font)) + 10

    if panel.bar:
        say(panel.bar.low)
        strip = PILImage.fromarray(panel.bar.colours[None]).resize((BAR, SWATCH), PILImage.Resampling.BILINEAR)
        sheet.paste(strip, (x - 4, y))
        draw.rectangle((x - 5, y - 1, x - 4 + BAR, y + SWATCH), outline=MUTED)
        middle = x - 4 + BAR // 2
        draw.line(((middle, y), (middle, y + SWATCH - 1)), fill=MUTED)
        wide = draw.textlength(panel.bar.middle, font=font)
        draw.text((middle - wide - 4, y - 2), panel.bar.middle, fill=INK, font=font)
        x += BAR + 2
        say(panel.bar.high)
    for kind, entries in (("area", panel.swatches), ("line", panel.lines)):
        for ink, word in entries:
            inset = 0 if kind == "area" else SWATCH // 2 - 1
            draw.rectangle(
                (x, y + inset, x + SWATCH, y + SWATCH - inset), fill=ink, outline=MUTED if not inset else ink
            )
            x += SWATCH + 5
            say(word)


def _curve(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], energies: Sequence[tuple[float, float]]) -> None:
    """The energy by iteration, each resolution level on a scale of its own: energies of two levels do not compare."""
    left, top, right, bottom = box
    small = ImageFont.load_default(13)
    draw.text((left, top), "cost function by iteration", fill=INK, font=ImageFont.load_default(14))
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
