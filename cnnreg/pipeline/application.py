"""``cnnreg apply``: a saved field on other images, label maps and points."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cnnreg.dataset import read_points, read_table
from cnnreg.errors import ImageError, OutputError, UsageError
from cnnreg.fields import inside
from cnnreg.files import stem, write_text
from cnnreg.image import Grid, Image, read_field, read_image, suffix_for, write_image
from cnnreg.transform import move_points, source_points, warp_image


def apply_field(
    field_file: Path,
    images: list[Path],
    folder: Path,
    *,
    labels: bool = False,
    points: Path | None = None,
    like: Path | None = None,
    overwrite: bool = False,
    slice_index: int | None = None,
) -> list[Path]:
    """Warp ``images`` onto the field's grid and carry ``points`` of the fixed image to the moving one.

    ``like`` is the moving image whose geometry the images and points have, where their own files do not say.
    Everything is computed before the first file is written. Returns the files written, ``<name>_warped`` and
    ``<name>_moved``.
    """
    vectors, grid = read_field(field_file)
    field = torch.from_numpy(vectors)[None]
    like_grid = read_image(like, slice_index=slice_index).grid if like else None
    warped: dict[Path, Image] = {}
    for path in images:
        image = _on_grid(read_image(path, slice_index=slice_index), path, like_grid)
        if not inside(source_points(field, grid, image.grid), image.grid.size).any():
            raise ImageError(f"{path} and the field do not overlap in physical space; say where it lies with --like")
        result = warp_image(image, field, grid, labels=labels)
        target = folder / f"{stem(path)}_warped{suffix_for(result, grid)}"
        if target in warped:
            raise UsageError(f"two of the images would both be written as {target}; warp them into different folders")
        warped[target] = result
    moved = {folder / f"{points.stem}_moved.csv": _moved_table(points, field, grid, like_grid)} if points else {}
    targets = [*warped, *moved]
    for target in targets:
        if target.exists() and not overwrite:
            raise OutputError(f"{target} exists; give --overwrite to replace it, or another folder with -o")
    for target, image in warped.items():
        write_image(image, target)
    for target, text in moved.items():
        write_text(text, target)
    return targets


def _on_grid(image: Image, path: Path, grid: Grid | None) -> Image:
    if grid is None:
        return image
    if image.grid.size != grid.size:
        raise ImageError(
            f"{path} has {image.grid.size[1]}x{image.grid.size[0]} pixels, --like has {grid.size[1]}x{grid.size[0]}"
        )
    return replace(image, grid=grid)


def _moved_table(path: Path, field: torch.Tensor, grid: Grid, target: Grid | None) -> str:
    """The table with x and y replaced by the place in the moving image; its other columns are kept."""
    rows = read_table(path, ["x", "y"])
    moved = move_points(read_points(path), field, grid, target or grid)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row, (y, x) in zip(rows, np.round(moved, 6), strict=True):
        writer.writerow(row | {"x": x, "y": y})
    return text.getvalue()
