"""Where the registration starts: the initial alignment of two images, searched for only where it is needed."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cnnreg.engine.alignment import align, climb, in_place, score
from cnnreg.geometry.affine import Affine, Array, Displacement
from cnnreg.images.image import Grid, index_map

METHODS = ("auto", "none", "center", "moments", "rigid", "similarity", "affine")
TINY, SLIGHT = 0.015, 0.03  # of the image's diagonal: what moves less than the first is left to the field, and
GAIN = 0.12  # what moves less than the second and raises the score by less than this
EVIDENCE = 0.03  # a search that does not raise the score by this has found nothing


@dataclass(frozen=True)
class Initial:
    """An affine map between the pixels of the fixed and of the moving image, and why it was taken; or a field."""

    affine: Affine  # fixed pixels to moving pixels
    given: Affine  # where the files' own geometry puts them
    how: str
    field: Displacement | None = None  # instead of the affine map

    @property
    def needed(self) -> bool:
        """Whether it differs from what the files say."""
        return self.field is not None or self.affine is not self.given

    @property
    def affine_needed(self) -> bool:
        """Whether there is an affine map to tell."""
        return self.affine is not self.given

    @property
    def map(self) -> Affine | Displacement | None:
        """What it does to the fixed image's pixels before they go where the files say, if anything."""
        return self.field or (self.given.inverse().after(self.affine) if self.needed else None)


def given_alignment(fixed: Grid, moving: Grid) -> Affine:
    """Fixed to moving pixels, as the files' geometry says."""
    return Affine(*index_map(fixed, moving))


def find_initial(fixed: Tensor, moving: Tensor, given: Affine, *, method: str) -> Initial:
    """The initial alignment of (1, 2, H, W) and (1, 2, h, w): intensities in [0, 1] and masks, 1 where they count.

    "auto" keeps what the files say where the images already lie on each other, climbs from there where they nearly do,
    and else searches every place, turn and size; "none" keeps it always. "center" lays the images' middles onto each
    other, "moments" the middles of their brightness. "rigid", "similarity" and "affine" search always.
    """
    if method == "none":
        return Initial(given, given, "as the files say")
    if method in {"center", "moments"}:
        middles = [_middle(image, by_brightness=method == "moments") for image in (fixed, moving)]
        shifted = Affine(given.matrix, middles[1] - given.matrix @ middles[0])
        return Initial(shifted, given, f"{'middles' if method == 'center' else 'centres of brightness'} of the images")
    if method != "auto":
        best = align(fixed, moving, given, kind=method)
        return Initial(best.affine, given, f"{method} search: {describe(best.affine, given, fixed)}")
    before = score(fixed, moving, given)
    if near := in_place(fixed, moving, given):
        best = climb(fixed, moving, [given], kind="affine")
        moved = _moved(best.affine, given, fixed)
        if moved < TINY or (moved < SLIGHT and best.score - before < GAIN):
            return Initial(given, given, f"already aligned (similarity {before:.2f})")
    else:
        best = align(fixed, moving, given, kind="affine")
    told = f"similarity {before:.2f} -> {best.score:.2f}"
    if best.score - before < EVIDENCE:
        return Initial(given, given, f"as the files say: a search found nothing better ({told})")
    how = "nearly aligned, adjusted" if near else "searched"
    return Initial(best.affine, given, f"{how}: {describe(best.affine, given, fixed)}, {told}")


def describe(affine: Affine, given: Affine, fixed: Tensor) -> str:
    """Turn, size and shift against what the files say, in words."""
    relative = given.inverse().after(affine)
    middle = (np.array(fixed.shape[2:]) - 1) / 2
    down, right = relative(middle[None])[0] - middle
    return f"turned {relative.turn}, size x {relative.size:.3f}, shifted ({right:+.1f}, {down:+.1f}) px"


def _moved(affine: Affine, given: Affine, fixed: Tensor) -> float:
    """Mean way of the corners, sides and middle, in units of the diagonal."""
    height, width = fixed.shape[2:]
    points = np.array([[y, x] for y in (0, height / 2, height - 1) for x in (0, width / 2, width - 1)])
    way = given.inverse().after(affine)(points) - points
    return float(np.linalg.norm(way, axis=1).mean() / math.hypot(height, width))


def _middle(image: Tensor, *, by_brightness: bool) -> Array:
    height, width = image.shape[2:]
    if not by_brightness:
        return np.array([(height - 1) / 2, (width - 1) / 2])
    rim = torch.cat([image[0, 0, [0, -1]].flatten(), image[0, 0, :, [0, -1]].flatten()])
    weight = (image[0, 0] - rim.median()).abs().double().numpy()
    rows, columns = np.mgrid[:height, :width]
    return np.array([(weight * rows).sum(), (weight * columns).sum()]) / max(weight.sum(), 1e-12)
