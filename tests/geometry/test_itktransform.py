"""Transforms of ITK in .h5 and .tfm files: what SimpleITK says of a point is what we say of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import cnnreg
from cnnreg.errors import ImageError
from cnnreg.geometry import itktransform
from cnnreg.geometry.exchange import export_field, import_field, kind_of
from cnnreg.geometry.transformfile import is_affine, read_affine
from cnnreg.images.image import Grid, read_image, write_field
from tests.conftest import Ended, smooth_image, write_itk

GRID = Grid((23, 31), (0.8, 1.7), (4.0, -3.0), (0.8, -0.6, 0.6, 0.8), "mm")


def wavy() -> torch.Tensor:
    """A field (1, 2, H, W) on the grid, in its pixels."""
    y, x = np.mgrid[: GRID.size[0], : GRID.size[1]].astype(np.float32)
    return torch.from_numpy(np.stack([2 * np.sin(x / 9), 1.5 * np.cos(y / 7)]))[None]


def at(transform: sitk.Transform, row: int, column: int) -> list[float]:
    """Where a pixel of the grid goes, in its pixels, row and column."""
    point = GRID.matrix @ np.array([column, row]) + np.array(GRID.origin)
    moved = np.array(transform.TransformPoint(point.tolist())) - np.array(GRID.origin)
    return (np.linalg.inv(GRID.matrix) @ moved)[::-1].tolist()


def turned() -> sitk.Transform:
    transform = sitk.Euler2DTransform()
    transform.SetAngle(0.3)
    transform.SetTranslation((2.0, -1.0))
    return transform


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
def test_a_field_there_and_back(suffix: str, tmp_path: Path):
    """And SimpleITK carries a point as the field says."""
    path = tmp_path / f"field{suffix}"
    assert export_field(wavy(), GRID, path, kind=kind_of(path)) == [path]
    assert not is_affine(path)
    field, grid = import_field(path, kind=kind_of(path))
    assert (grid.size, grid.spacing, grid.origin) == (GRID.size, GRID.spacing, GRID.origin)
    torch.testing.assert_close(field, wavy(), atol=1e-5, rtol=0)
    expected = torch.tensor([7.0, 11.0]) + wavy()[0, :, 7, 11]
    assert at(sitk.ReadTransform(str(path)), 7, 11) == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_composite_lies_on_the_grid_of_its_first_field(tmp_path: Path):
    """As ANTs writes it: an affine transform after a displacement field."""
    write_field(wavy()[0].numpy(), GRID, tmp_path / "f.mha")
    whole = sitk.CompositeTransform(2)
    whole.AddTransform(turned())
    whole.AddTransform(sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "f.mha"))))
    sitk.WriteTransform(whole, str(tmp_path / "whole.h5"))
    field, grid = import_field(tmp_path / "whole.h5", kind="itk")
    assert grid.size == GRID.size
    for row, column in ((0, 0), (7, 11), (22, 30)):
        moved = torch.tensor([row, column]) + field[0, :, row, column]
        assert moved.tolist() == pytest.approx(at(whole, row, column), abs=1e-4)


def test_a_spline_needs_a_grid(tmp_path: Path):
    spline = sitk.BSplineTransformInitializer(sitk.Image(31, 23, sitk.sitkFloat32), [3, 3])
    spline.SetParameters(np.random.default_rng(0).normal(size=len(spline.GetParameters())).tolist())
    sitk.WriteTransform(spline, str(tmp_path / "s.h5"))
    with pytest.raises(ImageError, match="give the fixed image"):
        itktransform.sample_itk(tmp_path / "s.h5", None)
    field, _ = itktransform.sample_itk(tmp_path / "s.h5", Grid((23, 31)))
    moved = spline.TransformPoint((12.0, 9.0))
    assert (field[0, :, 9, 12] + torch.tensor([9.0, 12.0])).tolist() == pytest.approx(moved[::-1], abs=1e-4)


def test_a_linear_one_is_still_affine(tmp_path: Path):
    sitk.WriteTransform(turned(), str(tmp_path / "t.h5"))
    assert is_affine(tmp_path / "t.h5")
    affine = read_affine(tmp_path / "t.h5", GRID, GRID)
    assert affine(np.array([[7.0, 11.0]]))[0].tolist() == pytest.approx(at(turned(), 7, 11))


def test_what_is_no_transform_says_so(tmp_path: Path):
    (tmp_path / "x.h5").write_bytes(b"no transform")
    with pytest.raises(ImageError, match="is not a transform"):
        itktransform.read_itk(tmp_path / "x.h5")
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "three.tfm"))
    with pytest.raises(ImageError, match="3D"):
        itktransform.read_itk(tmp_path / "three.tfm")


def test_apply_takes_them(cli: Callable[..., Ended], tmp_path: Path):
    """A field in .h5 warps as in .mha does; a linear one, too, where a reference says on which grid."""
    image = write_itk(tmp_path / "i.nrrd", smooth_image((40, 64), seed=2), spacing=(1.1, 1.3), origin=(-9, -2))
    for name in ("f.mha", "f.h5"):
        export_field(wavy(), GRID, tmp_path / name, kind="itk")
        assert cli("apply", tmp_path / name, image, "-o", tmp_path / name[2:]).code == 0
    a, b = (read_image(tmp_path / name / "i_warped.nrrd").pixels for name in ("mha", "h5"))
    np.testing.assert_allclose(a, b, atol=1e-5)
    sitk.WriteTransform(turned(), str(tmp_path / "t.tfm"))
    assert cli("apply", tmp_path / "t.tfm", image, "-o", tmp_path / "t").code == 1
    ended = cli("apply", tmp_path / "t.tfm", image, "--reference", tmp_path / "f.mha", "-o", tmp_path / "t")
    assert ended.code == 0, ended.err
    theirs = sitk.Resample(sitk.ReadImage(str(image)), sitk.ReadImage(str(tmp_path / "f.mha")), turned())
    difference = np.abs(read_image(tmp_path / "t" / "i_warped.nrrd").pixels - sitk.GetArrayFromImage(theirs))
    assert np.quantile(difference, 0.95) < 1e-4


def test_from_python(tmp_path: Path):
    """A field is saved and read as a transform of ITK, too."""
    export_field(wavy(), GRID, tmp_path / "f.mha", kind="itk")
    field = cnnreg.read_field(tmp_path / "f.mha")
    field.save(tmp_path / "f.h5")
    np.testing.assert_allclose(cnnreg.read_field(tmp_path / "f.h5").yx, field.yx, atol=1e-5)
