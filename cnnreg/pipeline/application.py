"""``cnnreg apply``: a saved field on other images, label maps and points."""

import csv
import io
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cnnreg.errors import FileNotice, ImageError, OutputError, UsageError
from cnnreg.files import refuse_inputs, stem, write_text
from cnnreg.geometry.fields import inside
from cnnreg.geometry.resampling import move_points, move_points_back, source_points, warp_image
from cnnreg.images.image import Grid, Image, read_field, read_image, suffix_for, write_image
from cnnreg.pairs.pointfiles import read_point_rows, read_points
from cnnreg.pairs.pointunits import check_inside


def apply_field(
    field_file: Path,
    images: list[Path],
    folder: Path,
    *,
    labels: bool = False,
    points: Path | None = None,
    moving_points: Path | None = None,
    physical: bool = False,
    like: Path | None = None,
    overwrite: bool = False,
    slice_index: int | None = None,
    spacing: tuple[float, float] | None = None,
) -> list[Path]:
    """Warp ``images`` onto the field's grid, carry ``points`` of the fixed image to the moving one, and the other way.

    Points are in pixels, or in physical units if ``physical``. ``spacing``, (x, y) in mm, is that of the pixels of
    images whose files do not say.
    ``like`` is the moving image whose geometry the images and points have, where their own files do not say.
    Everything is computed before the first file is written. Returns the files written, ``<name>_warped`` and
    ``<name>_moved``.
    """
    vectors, grid = read_field(field_file)
    field = torch.from_numpy(vectors)[None]
    like_grid = read_image(like, slice_index=slice_index, spacing=spacing).grid if like else None
    warped: dict[Path, Image] = {}
    for path in images:
        image = _on_grid(read_image(path, slice_index=slice_index, spacing=spacing), path, like_grid)
        if not inside(source_points(field, grid, image.grid), image.grid.size).any():
            raise ImageError(f"{path} and the field do not overlap in physical space; say where it lies with --like")
        result = warp_image(image, field, grid, labels=labels)
        target = folder / f"{stem(path)}_warped{suffix_for(result, grid)}"
        if target in warped:
            raise UsageError(f"two of the images would both be written as {target}; warp them into different folders")
        warped[target] = result
    moved = {}
    for table, forward in ((points, True), (moving_points, False)):
        if table:
            target = folder / f"{table.stem}_moved.csv"
            if target in moved:
                raise UsageError(f"both tables of points would be written as {target}; rename one")
            moved[target] = _moved_table(table, field, grid, like_grid or grid, forward=forward, physical=physical)
    targets = [*warped, *moved]
    refuse_inputs(targets, [p for p in (field_file, *images, points, moving_points, like) if p])
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


def _moved_table(path: Path, field: torch.Tensor, grid: Grid, moving: Grid, *, forward: bool, physical: bool) -> str:
    """The table with x and y where the points come to lie; where they came from is in two further columns.

    Their names tell the direction: ``x_fixed, y_fixed`` beside ``x, y`` in the moving image, or ``x_moving, y_moving``
    beside ``x, y`` in the fixed one, with the residual of the inverse in pixels. Other columns are kept.
    """
    rows = read_point_rows(path, moving=not forward)
    points = read_points(path, moving=not forward, physical=physical)
    start, end = (grid, moving) if forward else (moving, grid)
    if physical:
        points = start.to_pixels(points[:, ::-1])
    if note := check_inside(points, start, which="fixed" if forward else "moving", physical=physical):
        warnings.warn(note, FileNotice, stacklevel=2)
    if forward:
        moved, further = move_points(points, field, grid, moving), {}
    else:
        moved, residual = move_points_back(points, field, grid, moving)
        further = {"residual_px": np.round(residual, 4)}
    if physical:
        moved = end.to_physical(moved)[:, ::-1]
    side = "fixed" if forward else "moving"
    text = io.StringIO()
    columns = [*rows[0], f"x_{side}", f"y_{side}", *further]
    writer = csv.DictWriter(text, list(dict.fromkeys(columns)), lineterminator="\n")
    writer.writeheader()
    for number, (row, (y, x)) in enumerate(zip(rows, np.round(moved, 6), strict=True)):
        origin = {f"x_{side}": row["x"], f"y_{side}": row["y"]}
        writer.writerow(row | {"x": x, "y": y} | origin | {name: values[number] for name, values in further.items()})
    return text.getvalue()
