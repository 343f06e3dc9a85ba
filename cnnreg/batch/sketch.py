"""The picture of a pair that could not be registered: what can be seen of its images, and the sentence."""

import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cnnreg.config import InputConfig
from cnnreg.pairs.dataset import Source, read_intensities
from cnnreg.pairs.intensities import normalise
from cnnreg.pipeline.loading import Request

SIDE, GAP, LINES = 340, 10, 90  # pixels of a panel's longer side, between panels, and for the words


def sketch(request: Request, sentence: str, path: Path) -> None:
    """Draw the fixed and the moving image, as far as they can be read, over ``sentence``."""
    canvas = Image.new("RGB", (2 * SIDE + 3 * GAP, SIDE + 2 * GAP + LINES), "white")
    draw = ImageDraw.Draw(canvas)
    sides = zip((request.fixed, request.moving), request.names, request.slices, request.spacings, strict=True)
    for number, (source, name, index, spacing) in enumerate(sides):
        left = GAP + number * (SIDE + GAP)
        panel = _panel(source, index, spacing)
        if panel is None:
            draw.rectangle((left, GAP, left + SIDE, GAP + SIDE), outline="grey")
            draw.text((left + GAP, GAP + SIDE // 2), "cannot be shown", fill="black", font_size=14)
        else:
            canvas.paste(panel, (left, GAP))
        draw.text(
            (left, SIDE + GAP + 4), f"{'fixed' if number == 0 else 'moving'}: {Path(name).name}"[:48], fill="black"
        )
    words = "\n".join(textwrap.wrap(sentence, 100)[:4])
    draw.text((GAP, SIDE + GAP + 24), words, fill=(160, 0, 0))
    canvas.save(path)


def _panel(source: Source, index: int | None, spacing: tuple[float, float] | None) -> Any:
    """An image in grey; None where it cannot be read."""
    with suppress(Exception):  # whatever was wrong with it has been told already
        image = read_intensities(source, slice_index=index, spacing=spacing, with_missing=True)
        grey: NDArray[Any] = normalise(image.pixels, InputConfig(low=0.5, high=99.5))
        panel = Image.fromarray(np.rint(grey * 255).astype(np.uint8)).convert("RGB")
        panel.thumbnail((SIDE, SIDE))
        return panel
    return None
