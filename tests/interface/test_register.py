"""The Python interface against the command line, against itself, and in every kind of image."""

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import cnnreg
from cnnreg.images.image import read_image
from tests.conftest import smooth_pair, tree, write_png


@pytest.fixture
def arrays():
    """Fixed and moving, uint8 (48, 61), as the files of ``pair_files`` hold them."""
    return tuple(np.rint(values * 255).astype(np.uint8) for values in smooth_pair())


@pytest.fixture
def registrar(tiny_model):
    return cnnreg.Registrar(adapt=4, model=str(tiny_model), threads=1, device="cpu")


def test_arrays_and_files_give_the_same(registrar, arrays, pair_files):
    of_arrays, of_files = registrar(*arrays), registrar(*pair_files)
    assert np.array_equal(of_arrays.field_yx, of_files.field_yx)
    assert np.array_equal(of_arrays.warped, of_files.warped)
    assert of_arrays.measures == of_files.measures
    assert np.abs(of_arrays.field_yx).max() > 0.1


def test_what_comes_back_is_of_the_kind_that_came(registrar, arrays):
    """Kind, shape, number type, geometry; the numbers are those of the array."""
    fixed, moving = arrays
    expected = registrar(fixed, moving).warped
    assert expected.dtype == np.uint8
    assert expected.shape == (48, 61)
    tensor = torch.from_numpy(moving)
    for given in (tensor, tensor[None], tensor[None, None]):
        warped = registrar(fixed, given).warped
        assert (type(warped), warped.shape, warped.dtype) == (torch.Tensor, given.shape, torch.uint8)
        assert np.array_equal(warped.squeeze().numpy(), expected)
    image = registrar(sitk.GetImageFromArray(fixed), sitk.GetImageFromArray(moving)).warped
    assert image.GetSize() == (61, 48)
    assert np.array_equal(sitk.GetArrayFromImage(image), expected)
    colour = np.stack([moving, moving, moving], axis=2)
    warped = registrar(fixed, colour).warped
    assert warped.shape == (48, 61, 3)
    np.testing.assert_allclose(warped[..., 0].astype(int), expected.astype(int), atol=1)
    for kind in (np.float16, np.float64, np.int32):
        assert registrar(fixed, moving.astype(kind)).warped.dtype == kind
    assert registrar(fixed, moving > 128).warped.dtype == bool


def test_geometry_of_simpleitk_images_counts(registrar, arrays):
    """The field is in mm, and SimpleITK's own resampling by it agrees."""
    images = [sitk.GetImageFromArray(values.astype(np.float32)) for values in arrays]
    for image in images:
        image.SetSpacing((0.5, 2.0))
        image.SetOrigin((-3.0, 7.0))
    result = registrar(*images)
    np.testing.assert_allclose(result.field[..., 0], 0.5 * result.field_yx[1], rtol=1e-6)
    np.testing.assert_allclose(result.field[..., 1], 2.0 * result.field_yx[0], rtol=1e-6)
    assert result.warped.GetSpacing() == (0.5, 2.0)
    transform = sitk.DisplacementFieldTransform(result.transform.to_sitk())
    theirs = sitk.GetArrayFromImage(sitk.Resample(images[1], images[0], transform, sitk.sitkLinear, 0.0))
    inner = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(theirs[inner], sitk.GetArrayFromImage(result.warped)[inner], atol=0.05)


def test_no_pair_changes_the_next(tiny_model, arrays):
    """A, B, A gives A = A, of iterations on the weights too; and what was handed in stays as it is."""
    fixed, moving = arrays
    kept = fixed.copy(), moving.copy()
    for preset in (None, "paper"):
        registrar = cnnreg.Registrar(adapt=3, model=str(tiny_model), preset=preset, threads=1)
        first = registrar(fixed, moving).field_yx
        other = registrar(moving, fixed).field_yx
        assert np.array_equal(registrar(fixed, moving).field_yx, first)
        assert not np.array_equal(other, first)
    assert np.array_equal(fixed, kept[0])
    assert np.array_equal(moving, kept[1])


def test_save_writes_what_the_command_writes(cli, registrar, pair_files, tmp_path, tiny_model):
    """The same files with the same bytes; the reports differ in times and in how they were called."""
    ended = cli(
        "register",
        *pair_files,
        "--adapt",
        4,
        "--model",
        tiny_model,
        "--threads",
        1,
        "--device",
        "cpu",
        "-o",
        tmp_path / "a",
    )
    assert ended.code == 0, ended.err
    registrar(*pair_files).save(tmp_path / "b")
    a, b = tree(tmp_path / "a"), tree(tmp_path / "b")
    assert a.keys() == b.keys()
    assert {name for name in a if a[name] != b[name]} <= {"report.json"}
    ours, theirs = (json.loads((tmp_path / folder / "report.json").read_text()) for folder in "ab")
    for key in ("metrics", "inputs", "parameters", "model", "adaptation", "alignment"):
        assert ours[key] == theirs[key], key
    with pytest.raises(cnnreg.CnnregError, match="exists"):
        registrar(*pair_files).save(tmp_path / "b")


def test_arrays_are_saved_too(registrar, arrays, tmp_path):
    written = registrar(*arrays).save(tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["inputs"]["fixed"]["path"] == "<fixed, in memory>"
    assert len(report["inputs"]["moving"]["sha256"]) == 64
    assert all(path.is_file() for path in written)
    assert np.array_equal(read_image(tmp_path / "out" / "warped.png").pixels, registrar(*arrays).warped)


def test_apply_and_points_and_inverse(cli, registrar, arrays, pair_files, tmp_path):
    """As ``cnnreg apply`` does it with the saved field; there and back ends where it began."""
    result = registrar(*pair_files)
    result.save(tmp_path)
    labels = np.digitize(arrays[1], [60, 120, 180]).astype(np.uint8)
    write_png(tmp_path / "labels.png", labels / 255)
    (tmp_path / "points.csv").write_text("x,y\n20,15\n33.5,30.25\n")
    ended = cli(
        "apply",
        tmp_path / "field.mha",
        tmp_path / "labels.png",
        "--label",
        "--points",
        tmp_path / "points.csv",
        "-o",
        tmp_path,
    )
    assert ended.code == 0, ended.err
    theirs = read_image(tmp_path / "labels_warped.png").pixels
    assert np.array_equal(result.apply(labels, labels=True), theirs)
    assert np.array_equal(cnnreg.warp(labels, tmp_path / "field.mha", labels=True), theirs)
    assert np.array_equal(result.apply(arrays[1]), result.warped)
    points = np.array([[20, 15], [33.5, 30.25]])
    rows = np.genfromtxt(tmp_path / "points_moved.csv", delimiter=",", skip_header=1)[:, :2]
    moved = result.apply_points(points)
    np.testing.assert_allclose(moved, rows, atol=1e-4)
    np.testing.assert_allclose(result.inverse().apply_points(moved), points, atol=0.05)
    np.testing.assert_allclose(cnnreg.read_field(tmp_path / "field.mha").yx, result.field_yx, atol=1e-5)


def test_masks_label_maps_and_landmarks_in_memory(registrar, arrays):
    """They are measured by; the landmarks' error before is their distance."""
    fixed, moving = arrays
    mask = np.ones(fixed.shape, bool)
    mask[:, :20] = False
    here, there = np.array([[20.0, 15], [30, 30]]), np.array([[23.0, 19], [33, 34]])
    result = registrar(fixed, moving, fixed_mask=mask, seg=(fixed > 128, moving > 128), points=(here, there))
    assert result.measures["before"]["landmarks"]["tre_px"] == pytest.approx(5)
    assert 0 < result.measures["adaptation"]["overlap"]["dsc"] <= 1
    assert not np.array_equal(result.field_yx, registrar(fixed, moving).field_yx)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 5, 6, 7)), "must be"),
        (np.zeros((48, 61, 40)), "16 channels"),
        (np.zeros((48, 61), complex), "complex"),
        (np.zeros((48, 61)), "constant"),
        (np.full((48, 61), np.nan), "NaN"),
        (np.zeros((3, 4)), "at least 16x16"),
        (torch.zeros(2, 1, 48, 61), "tensor"),
        (sitk.Image([20, 20, 20], sitk.sitkUInt8), "dimensions"),
        ([[1, 2], [3, 4]], "list"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_refused(registrar, arrays, image, said):
    with pytest.raises(cnnreg.CnnregError, match=said):
        registrar(arrays[0], image)


def test_wrong_arguments_are_refused(arrays, tiny_model):
    for wrong in (
        {"init": "afine"},
        {"similarity": "lnccc"},
        {"adapt": -1},
        {"preset": "papr"},
        {"spacing": 0},
        {"points": (None, [[1, 2]])},
    ):
        with pytest.raises(cnnreg.CnnregError):
            cnnreg.register(*arrays, **({"model": str(tiny_model)} | wrong))
    with pytest.raises(cnnreg.CnnregError, match="adapt"):
        cnnreg.register(*arrays, model="none", adapt=0)


def test_a_result_shows_itself(registrar, arrays):
    result = registrar(*arrays)
    assert repr(result).startswith("<cnnreg.Registration: 48 x 61 pixels")
    assert result._repr_png_().startswith(b"\x89PNG")
    assert np.array_equal(result.affine, np.eye(3)) or result.result.initial.needed
    assert "48 x 61" in repr(result.transform)


def test_import_is_free_of_everything_heavy():
    code = (
        "import sys, cnnreg; assert 'register' in dir(cnnreg) and set(cnnreg.__all__) <= set(dir(cnnreg));"
        "print({'torch', 'SimpleITK', 'numpy', 'scipy', 'skimage', 'PIL'} & set(sys.modules) or 'light')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "light\n", done.stdout + done.stderr
    for name in cnnreg.__all__:
        assert getattr(cnnreg, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = cnnreg.nothing
