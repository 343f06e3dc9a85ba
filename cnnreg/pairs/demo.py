"""A pair of images whose deformation is known: a photograph from scikit-image's wheel, and a smooth warp of it."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.files import claim_results, publishing, write_text
from cnnreg.geometry import fields
from cnnreg.geometry.resampling import warp_image
from cnnreg.images.image import Grid, Image, write_image

IMAGES = ("fixed.png", "moving.png", "seg_fixed.png", "seg_moving.png")
FILES = (*IMAGES, "points_fixed.csv", "points_moving.csv", "demo.json")  # the last lists them


@dataclass(frozen=True)
class DemoPair:
    """Everything about the pair, the truth included."""

    fixed: Image
    moving: Image
    seg_fixed: Image
    seg_moving: Image
    points_fixed: NDArray[np.float64]  # (N, 2), row and column
    points_moving: NDArray[np.float64]
    field: Tensor  # (1, 2, H, W): what registration should find


def make_demo(seed: int = 7) -> DemoPair:
    """The coins of scikit-image, as fixed image, and the same coins bent by up to about ten pixels, as moving image.

    ``bend`` pulls the fixed image out of the photograph, so fixed points p lie at p + bend(p) in it. The photograph
    itself is the moving image, hence the field to be found is ``bend`` exactly.
    """
    from scipy.ndimage import binary_fill_holes
    from skimage.data import coins
    from skimage.filters import threshold_local
    from skimage.morphology import closing, disk, opening

    photograph = coins()
    grid = Grid(photograph.shape)
    bend = smooth_field(grid.size, length=9.0, scale=56.0, seed=seed)
    bright = photograph > threshold_local(photograph, 181, method="mean", offset=-12)  # than the ground around
    coin = opening(binary_fill_holes(closing(bright, disk(3))), disk(8))
    moving = Image(photograph, grid, "png", ".png")
    seg_moving = Image(coin.astype(np.uint8) * 255, grid, "png", ".png")
    points = np.stack([a.ravel() for a in np.mgrid[30 : grid.size[0] - 29 : 35, 30 : grid.size[1] - 29 : 35]], axis=1)
    at: Any = torch.from_numpy(points.T.reshape(1, 2, 1, -1)).float()
    return DemoPair(
        warp_image(moving, bend, grid),
        moving,
        warp_image(seg_moving, bend, grid, labels=True),
        seg_moving,
        points.astype(np.float64),
        points + fields.sample(bend, at)[0, :, 0].T.double().numpy(),
        bend,
    )


def smooth_field(size: tuple[int, int], *, length: float, scale: float, seed: int) -> Tensor:
    """A random field (1, 2, H, W) without folds: sinusoids of wavelengths above ``scale`` pixels, 0 at the rim."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    field = np.zeros((2, *size))
    for axis in range(2):
        for _ in range(6):
            angle, phase = random.uniform(0, 2 * np.pi, 2)
            wave = 2 * np.pi / (scale * random.uniform(2, 4))
            field[axis] += np.sin(wave * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    rim = np.sin(np.pi * (y + 0.5) / size[0]) * np.sin(np.pi * (x + 0.5) / size[1])
    field *= np.sqrt(rim)
    field *= length / np.linalg.norm(field, axis=0).max()
    return torch.from_numpy(field[None]).float()


def write_demo(folder: Path, *, overwrite: bool) -> DemoPair:
    """Make the pair and write it to ``folder``."""
    claim_results(folder, FILES, overwrite=overwrite)
    pair = make_demo()
    with publishing(folder, replaces=FILES, overwrite=overwrite) as staging:
        for name in IMAGES:
            write_image(getattr(pair, name.removesuffix(".png")), staging / name)
        for name in ("points_fixed", "points_moving"):
            with (staging / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["x", "y"])
                writer.writerows(getattr(pair, name)[:, ::-1].round(4).tolist())
        write_text(json.dumps({"files": FILES}, indent=2) + "\n", staging / FILES[-1])
    return pair
