"""Intensities as they are compared: one value a pixel, in [0, 1]."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnreg.config import InputConfig
from cnnreg.errors import ImageError
from cnnreg.geometry import fields

Window = tuple[float, float]  # the intensities that become 0 and 1


def normalise(pixels: NDArray[Any], config: InputConfig, *, name: str = "image") -> NDArray[np.float32]:
    """Luminance scaled so that the percentiles ``low`` and ``high`` become 0 and 1; values beyond are clipped."""
    return rescaled(pixels, config, name=name)[0]


def rescaled(
    pixels: NDArray[Any], config: InputConfig, *, window: Window | None = None, name: str = "image"
) -> tuple[NDArray[np.float32], Window]:
    """Luminance scaled so that ``window``, or what the percentiles say, becomes 0 and 1; and what became 0 and 1."""
    found = window or intensity_window(pixels, config, name=name)
    return _rescale(pixels, found), found


def intensity_window(pixels: NDArray[Any], config: InputConfig, *, name: str = "image") -> Window:
    """The luminances that the percentiles ``low`` and ``high`` stand for."""
    values = luminance(pixels)
    if (config.low, config.high) == (0, 100):
        low, high = values.min(), values.max()
    else:
        exact = values if values.dtype.kind in "iu" else values.astype(np.float64)
        low, high = _percentiles(exact, config.low, config.high)
    if low == high:  # a small bright object on a flat ground: no percentile reaches it
        low, high = values.min(), values.max()
    if low == high:
        raise ImageError(f"{name} is constant ({low:g} everywhere): there is nothing to align")
    return float(low), float(high)


def _percentiles(values: NDArray[Any], *wanted: float) -> list[float]:
    """``numpy.percentile`` to the last bit, without the modules that it imports."""
    places = [percent / 100 * (values.size - 1) for percent in wanted]
    below = [int(place) for place in places]
    ends = [*below, *(min(i + 1, values.size - 1) for i in below)]
    found = np.partition(values, ends, axis=None)[ends].tolist()
    parts = zip(
        found[: len(wanted)], found[len(wanted) :], (at - i for at, i in zip(places, below, strict=True)), strict=True
    )
    return [float(b - (b - a) * (1 - part) if part >= 0.5 else a + (b - a) * part) for a, b, part in parts]


def _rescale(pixels: NDArray[Any], window: Window) -> NDArray[np.float32]:
    """Luminance scaled so that ``window`` becomes 0 and 1; values beyond are clipped."""
    result = np.empty(pixels.shape[:2], np.float32)
    for rows in fields.strips(torch.from_numpy(result)[None, None]):  # in float64, of large images a part at a time
        values = luminance(pixels[rows]).astype(np.float64)
        values -= window[0]
        values /= window[1] - window[0]
        result[rows] = np.clip(values, 0, 1, out=values)
    return result


def luminance(pixels: NDArray[Any]) -> NDArray[Any]:
    """One value a pixel: grey as it is, colour by ITU-R BT.601, alpha ignored, other channels averaged."""
    if pixels.ndim == 2:
        return pixels
    channels = pixels.shape[2]
    if channels in {3, 4}:
        return pixels[..., :3] @ np.array([0.299, 0.587, 0.114])
    return pixels[..., 0] if channels <= 2 else pixels.mean(axis=2)
