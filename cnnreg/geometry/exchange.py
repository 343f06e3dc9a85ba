"""Fields in the conventions of other tools. Ours inside, theirs at this border.

================  ==================================================================================================
itk               displacement field image, physical (x, y): .mha, .mhd, .nrrd, .nii; ITK, SimpleITK, Slicer, ANTs.
                  Or a transform file, .h5 or .tfm: any transform is read, sampled on a grid
ants              the same as NIfTI, .nii.gz, which is what ANTs writes itself
elastix           a parameter file, .txt, with the field beside it: transformix
voxelmorph        .npz with ``vol`` (H, W, 2): displacement in pixels, row then column
scipy             .npy (2, H, W): row and column in the moving image, for ``scipy.ndimage.map_coordinates``
================  ==================================================================================================
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.errors import ImageError, UsageError, unknown_name
from cnnreg.files import replacing, write_text
from cnnreg.geometry import itktransform
from cnnreg.geometry.fields import pixel_grid
from cnnreg.geometry.resampling import between, source_points
from cnnreg.images.image import Grid, read_field, write_field

SUFFIXES = {
    "itk": (".mha", ".mhd", ".nrrd", ".nii", *itktransform.SUFFIXES),
    "ants": (".nii.gz",),
    "elastix": (".txt",),
    "voxelmorph": (".npz",),
    "scipy": (".npy",),
}


def kind_of(path: Path, kind: str | None = None) -> str:
    """The convention that a file's name stands for, or ``kind`` if its suffix goes with that."""
    if kind is not None and kind not in SUFFIXES:
        raise UsageError(unknown_name("convention", kind, SUFFIXES))
    fitting = [name for name, suffixes in SUFFIXES.items() if path.name.lower().endswith(suffixes)]
    if kind is None and fitting:
        return fitting[0]
    if kind is None or kind not in fitting:
        told = f"as {kind} its suffix is {' or '.join(SUFFIXES[kind])}" if kind else "no convention has this suffix"
        raise UsageError(f"{path}: {told}; known are {', '.join(f'{k} ({v[0]})' for k, v in SUFFIXES.items())}")
    return kind


def export_field(field: Tensor, grid: Grid, path: Path, *, kind: str, moving: Grid | None = None) -> list[Path]:
    """Write a field (1, 2, H, W) in pixels of ``grid``; returns the files.

    ``moving`` is the moving image's grid, which the conventions in pixels need; by default the same as ``grid``.
    """
    if itktransform.is_transform_file(path):
        itktransform.write_itk(field, grid, path)
        return [path]
    if kind in {"itk", "ants"}:
        write_field(field[0].numpy(), grid, path)
        return [path]
    if kind == "elastix":
        beside = path.with_suffix(".mha")
        write_field(field[0].numpy(), grid, beside)
        write_text(_parameter_file(grid, beside), path)
        return [path, beside]
    points = source_points(field.double(), grid, moving or grid)[0].numpy()
    if kind == "voxelmorph":
        rows, columns = np.mgrid[: grid.size[0], : grid.size[1]]
        vectors = np.moveaxis(points - np.stack([rows, columns]), 0, 2).astype(np.float32)
        with replacing(path) as temporary:
            np.savez_compressed(temporary, vol=vectors)
    else:
        with replacing(path) as temporary:
            np.save(temporary, points)
    return [path]


def import_field(path: Path, *, kind: str, grid: Grid | None = None, moving: Grid | None = None) -> tuple[Tensor, Grid]:
    """Read a field: (1, 2, H, W) in pixels of its grid, and that grid.

    ``grid`` and ``moving`` are those of the fixed and of the moving image, which conventions in pixels do not tell; by
    default plain pixels.

    Raises:
        ImageError: no such file, or not a field of this kind, or not of the fixed image's size.
    """
    if not path.is_file():
        raise ImageError(f"there is no field {path}")
    if itktransform.is_transform_file(path):
        return itktransform.sample_itk(path, grid)
    if kind == "elastix":
        path = _beside(path)
    if kind in {"itk", "ants", "elastix"}:
        vectors, own = read_field(path)
        return torch.from_numpy(vectors)[None], own
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        values: NDArray[Any] = loaded["vol"] if kind == "voxelmorph" else loaded
    except (OSError, ValueError, KeyError, EOFError):
        expected = "an .npz file with vol (H, W, 2)" if kind == "voxelmorph" else "an .npy file of shape (2, H, W)"
        raise ImageError(f"{path} is no {kind} field: expected {expected}") from None
    values = np.moveaxis(np.squeeze(values), -1, 0) if kind == "voxelmorph" else values
    if values.ndim != 3 or values.shape[0] != 2 or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise ImageError(f"{path} is no {kind} field: its shape is {values.shape}, its type {values.dtype}")
    grid = grid or Grid((values.shape[1], values.shape[2]))
    if grid.size != values.shape[1:]:
        raise ImageError(
            f"{path} is {values.shape[2]}x{values.shape[1]} pixels, the fixed image {grid.size[1]}x{grid.size[0]}"
        )
    identity = pixel_grid(torch.zeros(1, 1, *grid.size, dtype=torch.float64))
    points = torch.from_numpy(values.astype(np.float64))[None] + (identity if kind == "voxelmorph" else 0)
    return (between(moving or grid, grid, points) - identity).float(), grid


def _parameter_file(grid: Grid, field: Path) -> str:
    """What transformix needs to apply a field on ``grid``."""
    entries: dict[str, Any] = {
        "Transform": "DeformationFieldTransform",
        "DeformationFieldFileName": str(field.resolve()),
        "DeformationFieldInterpolationOrder": 1,
        "NumberOfParameters": 0,
        "InitialTransformParametersFileName": "NoInitialTransform",
        "InitialTransformParameterFileName": "NoInitialTransform",
        "HowToCombineTransforms": "Compose",
        "FixedImageDimension": 2,
        "MovingImageDimension": 2,
        "FixedInternalImagePixelType": "float",
        "MovingInternalImagePixelType": "float",
        "Size": grid.size[::-1],
        "Index": (0, 0),
        "Spacing": grid.spacing,
        "Origin": grid.origin,
        "Direction": np.asarray(grid.direction).reshape(2, 2).T.ravel().tolist(),  # elastix lists columns
        "UseDirectionCosines": "true",
        "ResampleInterpolator": "FinalLinearInterpolator",
        "Resampler": "DefaultResampler",
        "DefaultPixelValue": 0,
        "ResultImageFormat": "mha",
        "ResultImagePixelType": "float",
        "CompressResultImage": "false",
    }
    lines = []
    for key, value in entries.items():
        values = value if isinstance(value, tuple | list) else (value,)
        words = (f'"{v}"' if isinstance(v, str) else repr(v) for v in values)
        lines.append(f"({key} {' '.join(words)})")
    return "\n".join(lines) + "\n"


def _beside(path: Path) -> Path:
    """The field that an elastix parameter file names; looked for beside it, too."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("(DeformationFieldFileName"):
            named = Path(line.split('"')[1])
            found = named if named.is_file() else path.parent / named.name
            if found.is_file():
                return found
            raise ImageError(f"{path} names the field {named}, which does not exist")
    raise ImageError(f"{path} is no elastix parameter file with a DeformationFieldFileName")
