"""An affine map as rotation, scale and translation, for people and for reports."""

import math
from dataclasses import dataclass

import numpy as np

from cnnreg.geometry.affine import Affine

STRETCH = 1.25  # what is stretched by less is told by its scale alone


@dataclass(frozen=True)
class Decomposition:
    """What a map of an image's pixels to themselves does, about the image's centre."""

    mirrored: bool  # left to right, before all else
    rotation: float  # degrees, clockwise as seen with rows downwards
    scale: float  # the root of the change of area
    stretch: float  # the larger of the two scales along the principal axes, divided by the smaller
    translation: tuple[float, float]  # (x, y) of the centre, in pixels

    @property
    def turn(self) -> str:
        """The rotation in words."""
        return f"{abs(self.rotation):.1f} degrees {'clockwise' if self.rotation > 0 else 'counter-clockwise'}"

    def __str__(self) -> str:
        words = ["mirrored left to right"] if self.mirrored else []
        words += [f"rotation {self.turn}", f"scale {self.scale:.3f}"]
        words += [f"stretch {self.stretch:.2f}"] if self.stretch > STRETCH else []
        right, down = (round(length, 1) + 0.0 for length in self.translation)  # no minus before nothing
        return ", ".join([*words, f"translation ({right:.1f}, {down:.1f}) px (x, y)"])


def decompose(affine: Affine, size: tuple[int, int], spacing: tuple[float, float] = (1.0, 1.0)) -> Decomposition:
    """Of a map of the pixels (row, column) of an image of ``size`` to each other.

    Rotation, scale and stretch are those of physical space, where pixels measure ``spacing`` (row, column).
    """
    centre, measure = (np.array(size) - 1) / 2, np.diag(spacing)
    down, right = (affine(centre[None])[0] - centre).tolist()
    mirrored = affine.mirrors
    if mirrored:
        affine = affine.after(Affine(np.diag([1.0, -1.0]), np.array([0.0, 2 * centre[1]])))
    matrix = measure @ affine.matrix @ np.linalg.inv(measure)
    (a, b), (c, d) = matrix
    long, short = np.linalg.svd(matrix, compute_uv=False).tolist()
    rotation = math.degrees(math.atan2(b - c, a + d))
    return Decomposition(mirrored, rotation, affine.size, long / max(short, 1e-12), (right, down))
