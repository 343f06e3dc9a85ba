"""``cnnreg apply``: a saved field on other images, label maps and points."""

import csv
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnreg.errors import FileNotice, ImageError, OutputError, UsageError
from cnnreg.files import refuse_inputs, stem, write_text
from cnnreg.geometry import itktransform
from cnnreg.geometry.fields import inside
from cnnreg.geometry.resampling import move_points, move_points_back, regrid, source_points, warp_image
from cnnreg.images.image import Grid, Image, read_field, read_image, suffix_for
from cnnreg.pairs.pointfiles import read_point_rows, read_points
from cnnreg.pairs.pointunits import check_inside
from cnnreg.pairs.storedlabels import StoredLabels, read_stored

TABLES = {".csv", ".tsv", ".pts"}  # what holds points and no image
OFF = 1e6  # pixels: the displacement of what a field says nothing about, which leads out of any image


@dataclass(frozen=True)
class Application:
    """What ``cnnreg apply`` was asked for."""

    field: Path
    folder: Path
    images: Sequence[Path] = ()  # to be warped onto the field's grid
    points: Path | None = None  # of the fixed image, to be transformed to the moving one
    moving_points: Path | None = None  # of the moving image, to be transformed to the fixed one
    labels: bool = False  # nearest-neighbour interpolation
    physical: bool = False  # the points are in physical units, not in pixels
    moving: Path | None = None  # the image whose geometry images and points have where their own files do not say
    reference: Path | None = None  # the image on whose grid the results lie, instead of the field's
    slice_index: int | None = None
    label_threshold: float | None = None  # makes masks of label maps
    spacing: tuple[float, float] | None = None  # (x, y) in mm, of images whose files do not say
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not (self.images or self.points or self.moving_points):
            raise UsageError("nothing to warp: give images, or --points")
        if self.physical and not (self.points or self.moving_points):
            raise UsageError("--physical has no effect without points")
        if self.label_threshold is not None and not self.labels:
            raise UsageError("--label-threshold makes masks of label maps: give --label, too")
        of_images = {"--label": self.labels, "--reference": self.reference}
        of_images |= {"--slice": self.slice_index is not None and not self.moving}
        if without := [name for name, given in of_images.items() if given and not self.images]:
            raise UsageError(f"{without[0]} has no effect without images")

    @property
    def inputs(self) -> list[Path]:
        """All that is read."""
        files = (self.field, *self.images, self.points, self.moving_points, self.moving, self.reference)
        return [file for file in files if file]


def apply_field(wanted: Application) -> list[Path]:
    """Warp images onto the field's grid, transform points of the fixed image to the moving one, and the other way.

    Everything is computed before the first file is written. Returns the files written, ``<name>_warped`` and
    ``<name>_transformed``.

    Raises:
        CnnregError: something cannot be read, does not overlap, or would replace a file.
    """
    field, grid = _read_field(wanted)
    moving = _grid(wanted.moving, wanted)
    warped = _warped_images(wanted, field, grid, moving)
    transformed: dict[Path, str] = {}
    for table, forward in ((wanted.points, True), (wanted.moving_points, False)):
        if table:
            target = wanted.folder / f"{table.stem}_transformed.csv"
            if target in transformed:
                raise UsageError(f"both tables of points would be written as {target}; rename one")
            transformed[target] = _transformed_table(
                table, field, grid, moving or grid, forward=forward, physical=wanted.physical
            )
    targets = [*warped, *transformed]
    refuse_inputs(targets, wanted.inputs)
    for target in targets:
        if target.exists() and not wanted.overwrite:
            raise OutputError(f"{target} exists; give --overwrite to replace it, or another folder with -o")
    for target, (stored, result) in warped.items():
        stored.write(result, target)
    for target, text in transformed.items():
        write_text(text, target)
    return targets


def _read_field(wanted: Application) -> tuple[Tensor, Grid]:
    """The field (1, 2, H, W) and its grid; a transform of ITK that has none is sampled on the reference's."""
    if itktransform.is_transform_file(wanted.field):
        return itktransform.sample_itk(wanted.field, _grid(wanted.reference, wanted))
    vectors, grid = read_field(wanted.field)
    return torch.from_numpy(vectors)[None], grid


def _grid(path: Path | None, wanted: Application) -> Grid | None:
    return read_image(path, slice_index=wanted.slice_index, spacing=wanted.spacing).grid if path else None


def _warped_images(
    wanted: Application, field: Tensor, grid: Grid, moving: Grid | None
) -> dict[Path, tuple[StoredLabels, Image]]:
    """Each image as it was and on the grid of the field, or of the reference."""
    reference = _grid(wanted.reference, wanted)
    if reference and reference != grid:
        field, grid = _on_reference(field, grid, reference, str(wanted.reference)), reference
    warped: dict[Path, tuple[StoredLabels, Image]] = {}
    for path in wanted.images:
        if path.suffix.lower() in TABLES:
            raise UsageError(f"{path} is a table and no image: give it with --points or --moving-points")
        stored = _stored(path, wanted)
        image = _on_grid(stored.image, path, moving)
        if not inside(source_points(field, grid, image.grid), image.grid.size).any():
            raise ImageError(f"{path} and the field do not overlap in physical space; say where it lies with --moving")
        result = warp_image(image, field, grid, labels=wanted.labels)
        target = wanted.folder / f"{stem(path)}_warped{suffix_for(result, grid)}"
        if target in warped:
            raise UsageError(f"two of the images would both be written as {target}; warp them into different folders")
        warped[target] = stored, result
    return warped


def _stored(path: Path, wanted: Application) -> StoredLabels:
    """A label map, or an image, which is written as it is."""
    index, spacing = wanted.slice_index, wanted.spacing
    if wanted.labels:
        return read_stored(path, slice_index=index, threshold=wanted.label_threshold, spacing=spacing)
    return StoredLabels(read_image(path, slice_index=index, spacing=spacing))


def _on_reference(field: Tensor, grid: Grid, reference: Grid, name: str) -> Tensor:
    """The field on another grid; where it says nothing, it leads out of the moving image."""
    known = inside(source_points(torch.zeros(1, 2, *reference.size), reference, grid), grid.size)
    if not known.any():
        raise ImageError(f"the reference image {name} and the field do not overlap in physical space")
    return torch.where(known[:, None], regrid(field, grid, reference), OFF)


def _on_grid(image: Image, path: Path, grid: Grid | None) -> Image:
    if grid is None:
        return image
    if image.grid.size != grid.size:
        own, other = ("{1}x{0}".format(*size) for size in (image.grid.size, grid.size))
        raise ImageError(f"{path} has {own} pixels, the moving image {other}")
    return replace(image, grid=grid)


def _transformed_table(path: Path, field: Tensor, grid: Grid, moving: Grid, *, forward: bool, physical: bool) -> str:
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
