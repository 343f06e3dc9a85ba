"""Pairs of images: tables that list them, files that hold them, and the tensors that the network sees."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.config import InputConfig
from cnnreg.errors import ImageError, TableError
from cnnreg.geometry import fields
from cnnreg.geometry.affine import Affine, Displacement
from cnnreg.geometry.fields import inside
from cnnreg.geometry.resampling import antialiased, source_points, warp_labels
from cnnreg.images.image import MIN_SIZE, Grid, Image, index_map, read_image
from cnnreg.pairs.intensities import Window, normalise
from cnnreg.pairs.labelmaps import Labels, LabelSource, read_labels
from cnnreg.pairs.pointfiles import Points, read_points

Source = Path | Image  # an image on disk or in memory
PointSource = Path | Points


@dataclass(frozen=True)
class PairFiles:
    """One row of a table of pairs."""

    fixed: Path
    moving: Path
    seg_fixed: Path | None = None
    seg_moving: Path | None = None


@dataclass(frozen=True)
class Pair:
    """Two images, their intensities in [0, 1] on the fixed image's grid, and their label maps where there are any."""

    fixed: Image
    moving: Image
    fixed_input: Tensor  # (1, 1, H, W)
    moving_input: Tensor  # (1, 1, H, W), on the fixed grid, through the initial alignment if there is one
    moving_own: Tensor  # (1, 1, h, w), on the moving image's own grid
    seg_fixed: Labels | None = None  # on the fixed grid
    seg_moving: Labels | None = None  # on the moving image's own grid
    initial: Affine | Displacement | None = None  # of fixed pixels, from where their files put the images
    mask: Tensor | None = None  # (1, 1, H, W), 1 where both images are seen; None: everywhere
    windows: tuple[Window, Window] | None = None  # of the fixed and of the moving image, where they are to be told
    padding: tuple[float, float] = (
        0.0,
        0.0,
    )  # share of either image that was found to show nothing

    def total(self, field: Tensor) -> Tensor:
        """A field (1, 2, H, W) between the images as they were aligned, from the fixed to the moving image itself."""
        return self.initial.carry(field) if self.initial else field

    def before_initial(self, points: Points) -> Points:
        """Pixels of the moving image as those of the fixed one that the initial alignment takes there."""
        matrix, offset = index_map(self.moving.grid, self.fixed.grid)
        on_fixed = points @ matrix.T + offset
        return self.initial.undo(on_fixed) if self.initial else on_fixed


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file that must have ``columns``; others are kept."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = list(reader.fieldnames or [])
            rows = list(reader)
    except OSError as error:
        raise TableError(f"cannot read the table {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} is not a CSV file: {error}") from None
    if twice := [c for c in columns if found.count(c) > 1]:
        raise TableError(f"{path} has the column {twice[0]} {found.count(twice[0])} times; leave one")
    if missing := [c for c in columns if c not in found]:
        raise TableError(f"{path} lacks the column {', '.join(missing)}; its columns are {', '.join(found) or 'none'}")
    if not rows:
        raise TableError(f"{path} has no rows below its header")
    for number, row in enumerate(rows, start=2):
        if blank := [c for c in columns if not row[c]]:
            raise TableError(f"{path}, line {number}: there is nothing in the column {', '.join(blank)}")
        if None in row:  # where csv puts what is left over
            raise TableError(f"{path}, line {number}: there are more cells than the header has columns")
    return rows


def read_pairs(path: Path) -> list[PairFiles]:
    """A table with columns ``fixed, moving[, seg_fixed, seg_moving]``; paths are relative to the table's folder."""
    rows = read_table(path, ["fixed", "moving"])
    return [
        PairFiles(*(existing(row.get(c), path, number) for c in ("fixed", "moving", "seg_fixed", "seg_moving")))  # type: ignore[arg-type]
        for number, row in enumerate(rows, start=2)
    ]


def read_singles(path: Path) -> list[tuple[Path, Path | None]]:
    """A table of single images with columns ``image[, seg]``."""
    rows = read_table(path, ["image"])
    return [
        (existing(row["image"], path, number), existing(row.get("seg"), path, number))  # type: ignore[misc]
        for number, row in enumerate(rows, start=2)
    ]


def existing(name: str | None, table: Path, line: int) -> Path | None:
    """The file that a row names, relative to the table's folder; None where it names none."""
    if not name:
        return None
    file = table.parent / name
    if not file.is_file():
        raise TableError(f"{table}, line {line}: there is no file {file}")
    return file


def load_pair(files: PairFiles, config: InputConfig, *, slice_index: int | None = None) -> Pair:
    """Read and check two images and their label maps."""
    fixed = read_intensities(files.fixed, slice_index=slice_index)
    moving = read_intensities(files.moving, slice_index=slice_index)
    pair = make_pair(fixed, moving, config, names=(str(files.fixed), str(files.moving)))
    return with_labels(pair, (files.seg_fixed, files.seg_moving), slices=(slice_index, slice_index))


def with_labels(
    pair: Pair,
    maps: tuple[LabelSource | None, LabelSource | None],
    *,
    slices: tuple[int | None, int | None] = (None, None),
    threshold: float | None = None,
) -> Pair:
    """The pair with label maps of the fixed and of the moving image."""
    fixed, moving = (
        None if source is None else read_labels(source, image.grid, slice_index=index, threshold=threshold)
        for source, image, index in zip(maps, (pair.fixed, pair.moving), slices, strict=True)
    )
    return replace(pair, seg_fixed=fixed, seg_moving=moving)


def make_pair(
    fixed: Image,
    moving: Image,
    config: InputConfig,
    *,
    initial: Affine | Displacement | None = None,
    regions: tuple[NDArray[np.bool_] | None, ...] = (None, None),
    inputs: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    names: tuple[str, str] = ("fixed", "moving"),
) -> Pair:
    """Bring two images to [0, 1] and onto the fixed image's grid; ``names`` are for the errors.

    ``initial`` is a map of the fixed image's pixels that comes before the way to the moving image. ``regions``, of the
    fixed and of the moving image, say where they count, (H, W) and (h, w). ``inputs`` are the intensities in [0, 1] if
    they are known already.
    """
    identity = torch.zeros(1, 2, *fixed.grid.size)
    field = initial.carry(identity) if initial else identity
    points = source_points(field, fixed.grid, moving.grid)
    seen = inside(points, moving.grid.size)
    if not seen.any():
        raise ImageError(
            f"{names[0]} and {names[1]} do not overlap in physical space: origins {fixed.grid.origin} and "
            f"{moving.grid.origin}, spacings {fixed.grid.spacing} and {moving.grid.spacing}; correct their headers, "
            f"or let --init affine find where they belong"
        )
    if inputs is None:
        inputs = normalise(fixed.pixels, config, name=names[0]), normalise(moving.pixels, config, name=names[1])
    own = antialiased(inputs[1], moving.grid, fixed.grid, initial.size if initial else 1.0)
    on_fixed = fields.sample(own, points) if initial or fixed.grid != moving.grid else own
    if regions[0] is not None:
        seen &= torch.from_numpy(regions[0])
    if regions[1] is not None:
        seen &= fields.sample(torch.from_numpy(regions[1]).float()[None, None], points)[:, 0] > 0.99
    if not seen.any():
        raise ImageError(f"the masks of {names[0]} and {names[1]} have no pixel in common; check them, or --init")
    mask = None if seen.all() else seen[:, None].float()
    fixed_input = torch.from_numpy(inputs[0])[None, None]
    return Pair(fixed, moving, fixed_input, on_fixed, own, initial=initial, mask=mask)


def at_size(pair: Pair, size: int) -> Pair:
    """The pair for training: label maps on the fixed grid, all on squares of side ``size`` (0 = as it is)."""
    if pair.seg_moving is not None and pair.moving.grid != pair.fixed.grid:
        grid = pair.fixed.grid
        moved = warp_labels(pair.seg_moving, pair.moving.grid, torch.zeros(1, 2, *grid.size), grid)
        pair = replace(pair, seg_moving=moved)
    if size == 0 or pair.fixed_input.shape[2:] == (size, size):
        return pair

    def intensities(image: Tensor) -> Tensor:
        return F.interpolate(image, size=(size, size), mode="bilinear", antialias=True, align_corners=False)

    return replace(
        pair,
        fixed_input=intensities(pair.fixed_input),
        moving_input=intensities(pair.moving_input),
        seg_fixed=None if pair.seg_fixed is None else resize_labels(pair.seg_fixed, (size, size)),
        seg_moving=None if pair.seg_moving is None else resize_labels(pair.seg_moving, (size, size)),
    )


def resize_labels(labels: Labels, size: tuple[int, int]) -> Labels:
    """A label map with ``size`` pixels, the nearest of its own."""
    rows, columns = (((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip(size, labels.shape, strict=True))
    return labels[rows[:, None], columns]


def read_intensities(
    source: Source,
    *,
    name: str = "",
    slice_index: int | None = None,
    spacing: tuple[float, float] | None = None,
    with_missing: bool = False,
) -> Image:
    """An image whose pixels can be registered: finite, and not too small. For the rest see :func:`read_image`.

    ``name`` is for the errors, of an image in memory. ``with_missing`` fills pixels that are NaN.
    """
    image = source
    if isinstance(image, Path):
        image, name = read_image(image, slice_index=slice_index, spacing=spacing), str(image)
    if min(image.grid.size) < MIN_SIZE:
        height, width = image.grid.size
        raise ImageError(f"{name} is {width}x{height} pixels; at least {MIN_SIZE}x{MIN_SIZE} are needed")
    bad = image.pixels.size - int(np.isfinite(image.pixels).sum())
    if bad and with_missing and bad == np.isnan(image.pixels).sum() < image.pixels.size:  # infinity is an overflow
        return image.filled()
    if bad:
        raise ImageError(f"{name} holds NaN or infinity at {bad} pixels; replace them by finite values")
    return image


def read_landmarks(
    fixed: PointSource, moving: PointSource, *, physical: tuple[Grid, Grid] | None = None
) -> tuple[Points, Points]:
    """Corresponding landmarks: row i of one file belongs to row i of the other.

    ``physical`` are the grids of both images if the files hold physical points, (y, x), not pixels.
    """
    given = (fixed, "fixed"), (moving, "moving")
    points = (
        read_points(fixed, physical=bool(physical)) if isinstance(fixed, Path) else fixed,
        read_points(moving, moving=True, physical=bool(physical)) if isinstance(moving, Path) else moving,
    )
    if len(points[0]) != len(points[1]):
        one, other = (str(p) if isinstance(p, Path) else f"the {n} image" for p, n in given)
        raise TableError(
            f"{one} has {len(points[0])} points and {other} has {len(points[1])}; they must correspond row by row"
        )
    if physical:
        return physical[0].to_pixels(points[0][:, ::-1]), physical[1].to_pixels(points[1][:, ::-1])
    return points
