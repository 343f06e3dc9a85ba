"""Affine transforms on disk, as ITK and elastix have them: physical points (x, y) of the fixed to the moving image."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from cnnreg.errors import ImageError
from cnnreg.files import replacing
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.itktransform import is_linear, is_transform_file, read_itk, unreadable
from cnnreg.images.image import Grid

_ELASTIX = {
    "TranslationTransform": lambda: sitk.TranslationTransform(2),
    "EulerTransform": sitk.Euler2DTransform,
    "SimilarityTransform": sitk.Similarity2DTransform,
    "AffineTransform": lambda: sitk.AffineTransform(2),
}


def is_affine(path: Path) -> bool:
    """Whether a file's name and beginning are those of a linear transform, not of a field."""
    if is_transform_file(path):
        return is_linear(path)
    if path.suffix != ".txt" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return "DeformationField" not in file.read(200)


def write_affine(affine: Affine, fixed: Grid, moving: Grid, path: Path) -> None:
    """Write a map of fixed to moving pixels (row, column) as an ITK affine transform between physical points."""
    transform = to_sitk(affine, fixed, moving)
    with replacing(path) as temporary:
        sitk.WriteTransform(transform, str(temporary))


def to_sitk(affine: Affine, fixed: Grid, moving: Grid) -> sitk.AffineTransform:
    """A map of fixed to moving pixels (row, column) as an ITK transform of physical points (x, y)."""
    physical = moving.matrix @ affine.matrix[::-1, ::-1] @ np.linalg.inv(fixed.matrix)  # (row, column) -> (x, y)
    origin = moving.matrix @ affine.offset[::-1] + np.asarray(moving.origin)
    transform = sitk.AffineTransform(2)
    transform.SetMatrix(physical.ravel().tolist())
    transform.SetTranslation((origin - physical @ np.asarray(fixed.origin)).tolist())
    return transform


def read_affine(path: Path, fixed: Grid, moving: Grid) -> Affine:
    """Read a linear ITK transform (.tfm, .txt, .h5, .mat; composites too) or an elastix parameter file.

    Returns:
        The map of fixed to moving pixels, row and column.

    Raises:
        ImageError: no such file, not a transform, not 2D, or not linear.
    """
    try:
        transform = _elastix(path) or read_itk(path)
    except (RuntimeError, ValueError):
        raise unreadable(path) from None
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]) * fixed.size[::-1]
    points = corners @ fixed.matrix.T + np.asarray(fixed.origin)
    moved = np.array([transform.TransformPoint(point) for point in points.tolist()])
    if not np.allclose(moved[0] + moved[3], moved[1] + moved[2], atol=1e-6 * (1 + np.abs(moved).max())):
        raise ImageError(f"{path} is not linear; give it as a displacement field")
    linear = np.linalg.solve(np.c_[points[:3], np.ones(3)], moved[:3]).T  # (x, y, 1) -> (x, y)
    inverse = np.linalg.inv(moving.matrix)
    matrix = inverse @ linear[:, :2] @ fixed.matrix
    offset = inverse @ (linear[:, :2] @ np.asarray(fixed.origin) + linear[:, 2] - np.asarray(moving.origin))
    return Affine(matrix[::-1, ::-1].copy(), offset[::-1].copy())


def _elastix(path: Path) -> sitk.Transform | None:
    """A linear transform of elastix, from lines such as (Transform "AffineTransform"); None if it is no such file."""
    if path.suffix != ".txt" or not path.is_file():
        return None
    values: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("(") and line.rstrip().endswith(")"):
            key, *rest = line.strip()[1:-1].split()
            values[key] = [word.strip('"') for word in rest]
    if "TransformParameters" not in values:
        return None
    kind = values.get("Transform", [""])[0]
    if kind not in _ELASTIX:
        raise ImageError(f"{path} holds the elastix transform {kind!r}; expected one of {', '.join(_ELASTIX)}")
    transform = _ELASTIX[kind]()
    if "CenterOfRotationPoint" in values:
        transform.SetCenter([float(v) for v in values["CenterOfRotationPoint"]])
    transform.SetParameters([float(v) for v in values["TransformParameters"]])
    return transform
