"""What a registration of large images will take, told before it begins."""

import time
from dataclasses import dataclass

import torch

from cnnreg.config import RefinementConfig
from cnnreg.engine.refinement import refine
from cnnreg.images.image import Image
from cnnreg.memory import available

PROBE = 0.025  # seconds that the small registration takes where the numbers below were measured, on one core
MEBIBYTE, MEGAPIXEL = 2**20, 10**6
LONG, LARGE = 10.0, 2**30  # seconds, bytes: from here on it is told


@dataclass(frozen=True)
class Forecast:
    """Seconds and peak memory in bytes, to within a fifth or so where they were measured."""

    seconds: float
    memory: float
    available: int  # bytes, of this machine or job
    size: tuple[int, int]  # rows, columns of the finest resolution level

    @property
    def notable(self) -> bool:
        """Whether it is worth telling."""
        return self.seconds > LONG or self.memory > LARGE

    def __str__(self) -> str:
        height, width = self.size
        told = f"this registration takes about {self.seconds:.0f} s and {self.memory / 2**30:.1f} GB of memory"
        if self.memory > self.available:
            told += f", more than the {self.available / 2**30:.1f} GB that there are"
        return f"{told}; the finest resolution level has {width} x {height} pixels (--max-size)"


def forecast(fixed: Image, moving: Image, *, steps: int, max_size: int, device: str) -> Forecast:
    """Of a registration with ``steps`` iterations on the field.

    Memory is the largest of what the stages hold at once: the refinement, the measures, and reading a large moving
    image. Times are for one core, scaled by how long a small registration takes here.
    """
    rows, columns = fixed.grid.size
    shrunk = min(max_size / max(rows, columns), 1.0)
    size = round(rows * shrunk), round(columns * shrunk)
    f, m, r = (rows * columns / MEGAPIXEL for rows, columns in (fixed.grid.size, moving.grid.size, size))
    colour = fixed.pixels.ndim == 3 or moving.pixels.ndim == 3
    memory = max(450.0, 380 + 44 * f + (258 if colour else 220) * r, 380 + 119 * f, 380 + 75 * m)
    seconds = 1.5 + 0.12 * (f + m) + 0.02 * r * steps + 0.9 * f + (0.5 * f if colour else 0.0)
    slower = 1.0 if seconds < LONG / 2 and memory * MEBIBYTE < LARGE else _probe(device) / PROBE
    return Forecast(seconds * slower, memory * MEBIBYTE, available(), size)


def _probe(device: str) -> float:
    """Seconds of a small registration, the quickest of three."""
    images = torch.rand(2, 1, 1, 256, 256, generator=torch.Generator().manual_seed(0)).to(device)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        refine(images[0], images[1], {}, steps=12, config=RefinementConfig()).field.cpu()
        times.append(time.perf_counter() - start)
    return min(times)
