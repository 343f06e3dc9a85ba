"""``cnnreg transform``: fields and affine transforms inverted, composed, looked at, and translated for other tools."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnreg.errors import OutputError, UsageError
from cnnreg.evaluation import metrics
from cnnreg.files import refuse_inputs
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.decomposition import decompose
from cnnreg.geometry.exchange import export_field, import_field, kind_of
from cnnreg.geometry.fields import handedness, jacobian_determinant, lengths, pixel_grid, sample
from cnnreg.geometry.resampling import between, invert_field
from cnnreg.geometry.transformfile import is_affine, read_affine, write_affine
from cnnreg.images.image import Grid, Image, read_image, write_image

PLANE = Grid((2, 2))  # pixels that are physical units


@dataclass(frozen=True)
class Deformation:
    """A field (1, 2, H, W), in pixels of the grid it lives on."""

    field: Tensor
    grid: Grid


Transform = Affine | Deformation  # an affine map is between physical points, (y, x)


def read_transform(
    path: Path, *, kind: str | None = None, like: Path | None = None, moving: Path | None = None
) -> Transform:
    """A field in any convention, or an affine transform, between the images ``like`` and ``moving``."""
    if kind is None and is_affine(path):
        return read_affine(path, PLANE, PLANE)
    grids = (read_image(image).grid if image else None for image in (like, moving))
    return Deformation(*import_field(path, kind=kind_of(path, kind), grid=next(grids), moving=next(grids)))


def write_transform(
    transform: Transform, path: Path, *, kind: str | None = None, moving: Path | None = None
) -> list[Path]:
    """Write a transform in the convention that the name or ``kind`` says; returns the files."""
    if isinstance(transform, Affine):
        write_affine(transform, PLANE, PLANE, path)
        return [path]
    grid = read_image(moving).grid if moving else None
    return export_field(transform.field, transform.grid, path, kind=kind_of(path, kind), moving=grid)


def claim_file(path: Path, *, overwrite: bool, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse, before any work, to replace a file that was not to be replaced, or one of ``inputs``."""
    targets = _with_field(path)
    refuse_inputs(targets, [file for p in inputs if p for file in _with_field(p)])
    for target in targets:
        if target.exists() and not overwrite:
            raise OutputError(f"{target} exists; give --overwrite to replace it, or another name with -o")


def _with_field(path: Path) -> list[Path]:
    """A file, and the field beside it where it is elastix's."""
    return [path, *([path.with_suffix(".mha")] if path.suffix.lower() == ".txt" else [])]


def invert(transform: Transform, *, like: Path | None) -> tuple[Transform, dict[str, float]]:
    """The inverse, on the grid of ``like``, the moving image, and its inverse consistency error."""
    if isinstance(transform, Affine):
        return transform.inverse(), {}
    grid = read_image(like).grid if like else transform.grid
    field, residual, covered = invert_field(transform.field, transform.grid, grid)
    rest = residual[covered]
    told = {"covered_percent": 100 * covered.float().mean().item()}
    if len(rest):
        told |= {"residual_mean_px": rest.mean().item(), "residual_max_px": rest.max().item()}
    return Deformation(field, grid), told


def compose(transforms: list[Transform], *, like: Path | None) -> Transform:
    """First the first, then the next: points of the fixed image go through them in this order.

    The result lives on the grid of ``like``, or of the first transform if that is a field.
    """
    if all(isinstance(t, Affine) for t in transforms):
        whole = Affine.identity()
        for transform in transforms:
            assert isinstance(transform, Affine)
            whole = transform.after(whole)
        return whole
    first = transforms[0]
    if like is None and isinstance(first, Affine):
        raise UsageError(
            "the first transform is affine, so it does not say on which grid the result lies: give --reference FIXED"
        )
    grid = read_image(like).grid if like else first.grid  # type: ignore[union-attr]
    start = pixel_grid(torch.zeros(1, 1, *grid.size, dtype=torch.float64))
    points = between(grid, PLANE, start)
    for transform in transforms:
        points = _carry(transform, points)
    return Deformation((between(PLANE, grid, points) - start).float(), grid)


def _carry(transform: Transform, points: Tensor) -> Tensor:
    """Physical points (1, 2, H, W), (y, x), through a transform; off a field's grid its rim counts."""
    if isinstance(transform, Affine):
        return transform.at(points)
    at = between(PLANE, transform.grid, points)
    return between(transform.grid, PLANE, at + sample(transform.field.double(), at))


def jacobian(transform: Transform) -> tuple[Image, dict[str, float]]:
    """The determinant at every pixel, and its summary."""
    if isinstance(transform, Affine):
        raise UsageError("the Jacobian of an affine transform is the same everywhere: see 'cnnreg transform info'")
    determinant = jacobian_determinant(transform.field)[0].numpy()
    summary = metrics.regularity(handedness(transform.field) * determinant)
    summary |= {"smallest": float(determinant.min()), "largest": float(determinant.max())}
    return Image(determinant, transform.grid), summary


def save_map(image: Image, path: Path) -> None:
    """Write a map of numbers; its suffix decides the format, which must hold floats."""
    if not path.name.lower().endswith((".mha", ".mhd", ".nrrd", ".nii", ".nii.gz", ".tif", ".tiff")):
        raise UsageError(f"{path}: a map of numbers is written as .mha, .nrrd, .nii.gz or .tif")
    write_image(image, path)


def describe(transform: Transform) -> dict[str, Any]:
    """What a transform is and does, in a few entries."""
    if isinstance(transform, Affine):
        (a, b), (c, d) = transform.matrix[::-1, ::-1].tolist()
        parts = decompose(transform, PLANE.size)
        return {
            "kind": "affine transform, physical points (x, y) of the fixed to the moving image",
            "matrix": f"[{a:.6g} {b:.6g}; {c:.6g} {d:.6g}]",
            "translation": "({:.6g}, {:.6g})".format(*transform.offset[::-1]),
            "rotation": f"{parts.turn} (y downwards){', after mirroring left to right' if parts.mirrored else ''}",
            "scale": f"{parts.scale:.5g}, stretch {parts.stretch:.5g}",
        }
    grid, length = transform.grid, lengths(transform.field)
    mirrors = handedness(transform.field) < 0
    summary = metrics.regularity((-1 if mirrors else 1) * jacobian_determinant(transform.field)[0].numpy())
    return {
        "kind": f"displacement field, points of the fixed to the moving image{', mirrored' if mirrors else ''}",
        "size": f"{grid.size[1]} x {grid.size[0]} pixels",
        "spacing": f"{grid.spacing[0]:g} x {grid.spacing[1]:g} {grid.unit}",
        "origin": "({:g}, {:g})".format(*grid.origin),
        "direction": " ".join(f"{value:g}" for value in grid.direction),
        "length": f"mean {length.mean().item():.3f}, largest {length.max().item():.3f} pixels",
        "folding": f"{summary['folding_percent']:.3f} %",
        "SD log J": f"{summary['sd_log_jacobian']:.4f}",
    }
