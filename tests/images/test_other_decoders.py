"""Valid files that SimpleITK refuses, or reads wrongly: another decoder reads them."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image as PILImage

from cnnreg.errors import FileNotice
from cnnreg.images.image import Image, read_image, write_image
from tests.conftest import smooth_image, write_dicom

GREY = (smooth_image((40, 56)) * 255).astype(np.uint8)


def turned(axis, degrees):
    """A rotation matrix (3, 3)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    rows = [n for n in range(3) if n != axis]
    matrix[np.ix_(rows, rows)] = [[c, -s], [s, c]]
    return matrix


@pytest.mark.parametrize("preamble", [b"II*\0\x08\0\0\0", b"MM\0*", b"\x5c\x01\0\0", b"\x1f\x8b"])
def test_a_dicom_file_is_one_whatever_its_preamble_looks_like(tmp_path, preamble):
    write_dicom(tmp_path / "d.dcm", GREY.astype(np.uint16), spacing=(0.5, 0.7))
    before = read_image(tmp_path / "d.dcm")
    content = bytearray((tmp_path / "d.dcm").read_bytes())
    content[: len(preamble)] = preamble
    (tmp_path / "d.dcm").write_bytes(content)
    after = read_image(tmp_path / "d.dcm")
    assert (after.format, after.grid) == ("dicom", before.grid)
    assert np.array_equal(after.pixels, before.pixels)


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "LA"])
def test_grey_png_with_transparency(tmp_path, mode):
    wide = GREY.astype(np.uint16) * 257
    image = {
        "1": PILImage.fromarray(GREY).convert("1"),
        "L": PILImage.fromarray(GREY),
        "I;16": PILImage.fromarray(wide),
        "LA": PILImage.merge("LA", [PILImage.fromarray(GREY), PILImage.fromarray(255 - GREY)]),
    }[mode]
    image.save(tmp_path / "x.png", **({} if mode == "LA" else {"transparency": 0}))
    pixels = read_image(tmp_path / "x.png").pixels
    expected = {"1": np.asarray(image) * np.uint8(255), "I;16": wide}.get(mode, GREY)
    assert np.array_equal(pixels[..., 0] if mode == "LA" else pixels, expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_tiff_by_planes(tmp_path, dtype):
    """Of more than 8 bits, which Pillow cannot read either."""
    planes = np.stack([GREY, GREY // 2, 255 - GREY]).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", planes, planarconfig="separate", photometric="rgb")
    assert np.array_equal(read_image(tmp_path / "x.tif").pixels, planes.transpose(1, 2, 0))


def test_a_sheared_nifti_gets_the_nearest_frame(tmp_path):
    affine = np.diag([0.7, 0.9, 2.0, 1.0])
    affine[0, 1] = 0.1
    nibabel.Nifti1Image(GREY.T[..., None], affine).to_filename(tmp_path / "x.nii.gz")
    with pytest.warns(FileNotice, match="not at right angles"):
        image = read_image(tmp_path / "x.nii.gz")
    assert np.array_equal(image.pixels, GREY)
    assert image.grid.spacing == pytest.approx((0.7, np.hypot(0.1, 0.9)))
    direction = np.reshape(image.grid.direction, (2, 2))
    assert np.allclose(direction @ direction.T, np.eye(2))


def test_nifti_2(tmp_path):
    image = nibabel.Nifti2Image(GREY.T[..., None], np.diag([-0.7, -0.9, 2.0, 1.0]))
    image.to_filename(tmp_path / "x.nii.gz")
    (tmp_path / "y.nii").write_bytes(gzip.decompress((tmp_path / "x.nii.gz").read_bytes()))
    for name in ("x.nii.gz", "y.nii"):
        found = read_image(tmp_path / name)
        assert np.array_equal(found.pixels, GREY)
        assert (found.grid.spacing, found.grid.direction) == (pytest.approx((0.7, 0.9)), (1, 0, 0, 1))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    "direction",
    [
        np.eye(3),
        turned(2, 30),
        turned(0, 40) @ turned(2, 25) @ turned(1, 50),
        turned(1, 90) @ turned(0, 20),
        turned(0, 90),
        turned(0, 30) @ np.diag([-1.0, -1, 1]),
    ],
    ids=["axial", "turned", "doubly oblique", "sagittal", "coronal", "flipped"],
)
def test_a_slice_has_the_geometry_of_its_own_plane(tmp_path, direction, flat):
    """Distances and angles between any pixels are those in space; written and read again it is the same."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1, -1, 1]) @ direction * (0.7, 0.9, 3.0)
    affine[:3, 3] = np.diag([-1, -1, 1]) @ (11.0, -7.0, 5.0)
    pixels = GREY.T if flat else GREY.T[..., None]
    nibabel.Nifti1Image(pixels, affine).to_filename(tmp_path / "x.nii.gz")
    image = read_image(tmp_path / "x.nii.gz")
    corners = np.array([[0.0, 0], [39, 0], [0, 55], [39, 55]])  # row, column
    in_space = np.c_[corners[:, ::-1], np.zeros(4), np.ones(4)] @ affine.T
    in_plane = image.grid.to_physical(corners)
    offsets = [points[1:] - points[0] for points in (in_space[:, :3], in_plane)]
    assert np.allclose(offsets[0] @ offsets[0].T, offsets[1] @ offsets[1].T, atol=1e-3)  # of some thousand
    write_image(Image(image.pixels, image.grid), tmp_path / "y.nii.gz")
    again = read_image(tmp_path / "y.nii.gz").grid
    theirs = sitk.ReadImage(str(tmp_path / "y.nii.gz"))
    for grid in (again, theirs):
        values = (
            (grid.spacing, grid.origin, grid.direction)
            if grid is again
            else (grid.GetSpacing(), grid.GetOrigin(), grid.GetDirection())
        )
        for ours, found in zip((image.grid.spacing, image.grid.origin, image.grid.direction), values, strict=True):
            assert np.allclose(ours, found, atol=1e-5)


def test_parallel_slices_lie_where_they_lie(tmp_path):
    """Two volumes that share a plane, one begun elsewhere in it."""
    direction = turned(0, 40) @ turned(2, 25)
    origins = []
    for name, shift in (("a", (0, 0)), ("b", (3, 2))):
        affine = np.eye(4)
        affine[:3, :3] = np.diag([-1, -1, 1]) @ direction
        affine[:3, 3] = np.diag([-1, -1, 1]) @ (direction @ (*shift, 0))
        nibabel.Nifti1Image(GREY.T[..., None], affine).to_filename(tmp_path / f"{name}.nii.gz")
        grid = read_image(tmp_path / f"{name}.nii.gz").grid
        origins.append(grid)
    assert np.allclose(origins[0].to_pixels(np.array([origins[1].origin])), [[2, 3]], atol=1e-5)


def test_what_nothing_reads_says_why(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"II*\0" + b"\xff" * 60)
    with pytest.raises(Exception, match=r"x\.tif begins like a TIFF file but cannot be read: damaged or truncated \("):
        read_image(tmp_path / "x.tif")
