"""Fields for other tools: there and back, and what SimpleITK, SciPy, ANTs and transformix themselves make of them."""

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import map_coordinates

from cnnreg.geometry.exchange import export_field, import_field
from cnnreg.geometry.resampling import move_points, warp_image
from cnnreg.images.image import Grid, Image, read_image, write_image
from tests.conftest import smooth_image
from tests.engine.test_refinement import smooth_field

TURNED = (0.96, -0.28, 0.28, 0.96)
GRIDS = {
    "plain": (Grid((70, 93)), Grid((70, 93))),
    "anisotropic": (
        Grid((70, 93), (0.5, 1.25), (10.0, -20.0), unit="mm"),
        Grid((80, 60), (0.8, 1.1), (9.0, -21.0), unit="mm"),
    ),
    "rotated": (
        Grid((70, 93), (0.5, 1.25), (10.0, -20.0), TURNED, "mm"),
        Grid((80, 75), (0.9, 1.2), (-12.0, -22.0), (0.8, 0.6, -0.6, 0.8), "mm"),
    ),
}
KINDS = {"itk": ".mha", "ants": ".nii.gz", "elastix": ".txt", "voxelmorph": ".npz", "scipy": ".npy"}
POINTS = np.array([[20.0, 30], [40, 70], [55.5, 44.25], [33, 15]])


@pytest.fixture(params=GRIDS)
def case(request, tmp_path):
    """A field, its grids, and the moving image with our own warp of it."""
    grid, moving_grid = GRIDS[request.param]
    field = smooth_field(3, 6.0, grid.size)
    image = Image(smooth_image(moving_grid.size, scale=4), moving_grid)
    fixed = Image(smooth_image(grid.size, seed=1), grid)
    write_image(image, tmp_path / "moving.mha")
    write_image(fixed, tmp_path / "fixed.mha")
    return field, grid, image, warp_image(image, field, grid).pixels, tmp_path


def seen(case) -> np.ndarray:
    """Pixels well inside both images, where no convention about rims plays a part."""
    field, grid, image, _, _ = case
    ones = warp_image(Image(np.pad(np.ones([n - 6 for n in image.grid.size], np.float32), 3), image.grid), field, grid)
    mask = ones.pixels > 0.999
    mask[:2], mask[-2:], mask[:, :2], mask[:, -2:] = False, False, False, False
    assert mask.mean() > 0.15
    return mask


def agrees(case, theirs: np.ndarray) -> None:
    """To half a percent of the range, everywhere inside."""
    mine = case[3]
    assert theirs.shape == mine.shape
    assert np.abs(theirs - mine)[seen(case)].max() < 0.005 * np.ptp(mine)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(case, kind):
    """Every convention gives back the field to a thousandth of a pixel, whatever the two grids."""
    field, grid, image, _, folder = case
    path = folder / f"field{KINDS[kind]}"
    written = export_field(field, grid, path, kind=kind, moving=image.grid)
    assert all(file.is_file() for file in written)
    again, own = import_field(path, kind=kind, grid=grid, moving=image.grid)
    assert (again - field).abs().max() < 1e-3
    assert own.size == grid.size


def test_simpleitk_agrees(case):
    field, grid, _, _, folder = case
    export_field(field, grid, folder / "field.mha", kind="itk")
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(folder / "field.mha")))
    moving, fixed = (sitk.ReadImage(str(folder / f"{name}.mha")) for name in ("moving", "fixed"))
    agrees(case, sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform)))
    moved = move_points(POINTS, field, grid, read_image(folder / "moving.mha").grid)
    for (row, column), ours in zip(POINTS, moved, strict=True):
        point = transform.TransformPoint(fixed.TransformContinuousIndexToPhysicalPoint((column, row)))
        assert moving.TransformPhysicalPointToContinuousIndex(point)[::-1] == pytest.approx(ours, abs=0.05)


def test_scipy_agrees(case):
    """map_coordinates, given the .npy as it is, and the VoxelMorph file read as its users do."""
    field, grid, image, _, folder = case
    export_field(field, grid, folder / "field.npy", kind="scipy", moving=image.grid)
    coordinates = np.load(folder / "field.npy")
    agrees(case, map_coordinates(image.pixels, coordinates, order=1))
    moved = move_points(POINTS, field, grid, image.grid)
    theirs = np.stack([map_coordinates(c, POINTS.T, order=1) for c in coordinates], 1)
    assert theirs == pytest.approx(moved, abs=0.05)
    export_field(field, grid, folder / "field.npz", kind="voxelmorph", moving=image.grid)
    vectors = np.load(folder / "field.npz")["vol"]
    assert vectors.shape == (*grid.size, 2)
    rows, columns = np.mgrid[: grid.size[0], : grid.size[1]]
    agrees(case, map_coordinates(image.pixels, [rows + vectors[..., 0], columns + vectors[..., 1]], order=1))


def test_ants_agrees(case):
    """antsApplyTransforms on the NIfTI field, images and points."""
    ants = pytest.importorskip("ants", reason="ANTS MISSING: pip install 'cnnreg[peers]'; this test did not run")
    import pandas

    field, grid, image, _, folder = case
    export_field(field, grid, folder / "field.nii.gz", kind="ants")
    fixed, moving = (ants.image_read(str(folder / f"{name}.mha")) for name in ("fixed", "moving"))
    theirs = ants.apply_transforms(fixed, moving, [str(folder / "field.nii.gz")], interpolator="linear")
    agrees(case, theirs.numpy().T)
    matrix, origin = grid.matrix, np.asarray(grid.origin)
    physical = POINTS[:, ::-1] @ matrix.T + origin
    frame = pandas.DataFrame(physical, columns=["x", "y"])
    there = ants.apply_transforms_to_points(2, frame, [str(folder / "field.nii.gz")]).to_numpy()[:, :2]
    back = np.linalg.inv(image.grid.matrix)
    theirs_px = ((there - np.asarray(image.grid.origin)) @ back.T)[:, ::-1]
    assert theirs_px == pytest.approx(move_points(POINTS, field, grid, image.grid), abs=0.05)


def test_transformix_agrees(case, monkeypatch):
    """transformix on the parameter file, images and points."""
    itk = pytest.importorskip("itk", reason="ELASTIX MISSING: pip install 'cnnreg[peers]'; this test did not run")
    field, grid, image, _, folder = case
    monkeypatch.chdir(folder)
    export_field(field, grid, folder / "TransformParameters.0.txt", kind="elastix")
    parameters = itk.ParameterObject.New()
    parameters.ReadParameterFile(str(folder / "TransformParameters.0.txt"))
    moving = itk.imread(str(folder / "moving.mha"), itk.F)
    theirs = itk.array_from_image(itk.transformix_filter(moving, parameters, log_to_console=False))
    agrees(case, theirs)
    physical = POINTS[:, ::-1] @ grid.matrix.T + np.asarray(grid.origin)
    (folder / "points.txt").write_text(f"point\n{len(POINTS)}\n" + "".join(f"{x} {y}\n" for x, y in physical))
    itk.transformix_filter(
        moving,
        parameters,
        fixed_point_set_file_name=str(folder / "points.txt"),
        output_directory=str(folder),
        log_to_console=False,
    )
    lines = (folder / "outputpoints.txt").read_text().splitlines()
    there = np.array(
        [[float(v) for v in line.split("OutputPoint = [")[1].split("]")[0].split()] for line in lines if line]
    )
    back = np.linalg.inv(image.grid.matrix)
    theirs_px = ((there - np.asarray(image.grid.origin)) @ back.T)[:, ::-1]
    assert theirs_px == pytest.approx(move_points(POINTS, field, grid, image.grid), abs=0.05)


def test_commands(cli, case):
    """info, convert, invert, compose and jacobian on files: the inverse undoes the field, folding is told."""
    field, grid, _, _, folder = case
    export_field(field, grid, folder / "field.mha", kind="itk")
    images = ["--fixed", folder / "fixed.mha", "--moving", folder / "moving.mha"]
    told = cli("transform", "info", folder / "field.mha")
    assert (told.code, "folding:     0.000 %" in told.out) == (0, True)
    assert cli("transform", "convert", folder / "field.mha", "-o", folder / "f.npz", *images).code == 0
    assert cli("transform", "convert", folder / "f.npz", "-o", folder / "f.nii.gz", *images).code == 0
    again, _ = import_field(folder / "f.nii.gz", kind="ants")
    assert (again - field).abs().max() < 1e-3
    ended = cli("transform", "invert", folder / "field.mha", "-o", folder / "back.mha", "--like", folder / "moving.mha")
    assert ended.code == 0, ended.err
    assert "residual_mean_px" in ended.out
    ended = cli("transform", "compose", folder / "field.mha", folder / "back.mha", "-o", folder / "both.mha")
    assert ended.code == 0, ended.err
    both, _ = import_field(folder / "both.mha", kind="itk")
    assert both.norm(dim=1)[0].numpy()[seen(case)].max() < 0.15
    ended = cli("transform", "jacobian", folder / "field.mha", "-o", folder / "jac.mha")
    assert "folding_percent 0" in ended.out
    from cnnreg.geometry.fields import jacobian_determinant

    assert read_image(folder / "jac.mha").pixels == pytest.approx(jacobian_determinant(field)[0].numpy(), abs=1e-3)
    assert "--overwrite" in cli("transform", "jacobian", folder / "field.mha", "-o", folder / "jac.mha").err


def test_affine_transforms_compose_and_invert(cli, tmp_path):
    """As SimpleITK's composite does it, fields and affine maps mixed; the order is that of the points' way."""
    affine = sitk.AffineTransform(2)
    affine.SetMatrix([1.1, 0.2, -0.1, 0.9])
    affine.SetTranslation([3.0, -2.0])
    sitk.WriteTransform(affine, str(tmp_path / "a.tfm"))
    grid = Grid((50, 60), (0.5, 0.8), (2.0, 1.0), unit="mm")
    write_image(Image(smooth_image(grid.size), grid), tmp_path / "fixed.mha")
    field = smooth_field(1, 4.0, grid.size)
    export_field(field, grid, tmp_path / "f.mha", kind="itk")
    warp = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "f.mha")))
    ended = cli("transform", "compose", tmp_path / "f.mha", tmp_path / "a.tfm", "-o", tmp_path / "fa.mha")
    assert ended.code == 0, ended.err
    whole = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "fa.mha")))
    for point in ((10.0, 12.0), (20.5, 30.0), (5.0, 33.0)):
        assert whole.TransformPoint(point) == pytest.approx(affine.TransformPoint(warp.TransformPoint(point)), abs=1e-3)
    assert cli("transform", "invert", tmp_path / "a.tfm", "-o", tmp_path / "b.tfm").code == 0
    assert cli("transform", "compose", tmp_path / "a.tfm", tmp_path / "b.tfm", "-o", tmp_path / "i.tfm").code == 0
    identity = sitk.ReadTransform(str(tmp_path / "i.tfm"))
    assert identity.TransformPoint((7.0, -3.0)) == pytest.approx((7.0, -3.0))
    told = cli("transform", "info", tmp_path / "a.tfm").out
    assert "matrix:      [1.1 0.2; -0.1 0.9]" in told
    assert "translation: (3, -2)" in told
    ended = cli("transform", "compose", tmp_path / "a.tfm", tmp_path / "f.mha", "-o", tmp_path / "no.mha")
    assert (ended.code, "--reference FIXED" in ended.err) == (2, True)
    like = ["--like", tmp_path / "fixed.mha"]
    assert (
        cli("transform", "compose", tmp_path / "a.tfm", tmp_path / "f.mha", "-o", tmp_path / "af.mha", *like).code == 0
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("info none.mha", "there is no field"),
        ("info noise.npz", "is no voxelmorph field"),
        ("convert f.npy -o f.xyz", "no convention has this suffix"),
        ("convert f.npy -o f.mha --to scipy", "as scipy its suffix is .npy"),
        ("convert f.npy -o f.mha --to vxm", "'vxm' is not one of 'itk'"),
        ("jacobian f.npy -o j.png", "a map of numbers is written as"),
        ("info f.npy --fixed small.mha", "the fixed image 20x20"),
    ],
)
def test_what_will_not_do_is_explained(cli, tmp_path, monkeypatch, command, said):
    monkeypatch.chdir(tmp_path)
    export_field(torch.zeros(1, 2, 30, 40), Grid((30, 40)), Path("f.npy"), kind="scipy")
    np.savez("noise.npz", other=np.zeros(3))
    write_image(Image(smooth_image((20, 20)), Grid((20, 20))), Path("small.mha"))
    ended = cli("transform", *command.split())
    assert ended.code in {1, 2}
    assert said in ended.err
    assert not any(Path(name).exists() for name in ("f.xyz", "f.mha", "j.png"))


def test_points_go_there_and_back(cli, case):
    """apply carries fixed points to the moving image and moving points to the fixed one, in pixels and physically."""
    field, grid, image, _, folder = case
    export_field(field, grid, folder / "field.mha", kind="itk")
    (folder / "p.csv").write_text("name,x,y\n" + "".join(f"p{n},{x},{y}\n" for n, (y, x) in enumerate(POINTS)))
    like = ["--like", folder / "moving.mha", "-o", folder]
    ended = cli("apply", folder / "field.mha", "--points", folder / "p.csv", *like, "-q")
    assert ended.code == 0, ended.err
    with (folder / "p_transformed.csv").open() as file:
        there = list(csv.DictReader(file))
    assert list(there[0]) == ["name", "x", "y", "x_fixed", "y_fixed"]
    moved = np.array([[float(row["y"]), float(row["x"])] for row in there])
    assert moved == pytest.approx(move_points(POINTS, field, grid, image.grid), abs=1e-4)
    (folder / "q.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for y, x in moved))
    assert cli("apply", folder / "field.mha", "--moving-points", folder / "q.csv", *like, "-q").code == 0
    with (folder / "q_transformed.csv").open() as file:
        back = list(csv.DictReader(file))
    assert list(back[0]) == ["x", "y", "x_moving", "y_moving", "residual_px"]
    assert np.array([[float(row["y"]), float(row["x"])] for row in back]) == pytest.approx(POINTS, abs=0.02)
    assert max(float(row["residual_px"]) for row in back) < 0.01
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(folder / "field.mha")))
    physical = POINTS[:, ::-1] @ grid.matrix.T + np.asarray(grid.origin)
    (folder / "r.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in physical))
    assert cli("apply", folder / "field.mha", "--points", folder / "r.csv", "--physical", *like, "-q").code == 0
    with (folder / "r_transformed.csv").open() as file:
        for row, point in zip(csv.DictReader(file), physical.tolist(), strict=True):
            assert (float(row["x"]), float(row["y"])) == pytest.approx(transform.TransformPoint(point), abs=0.05)
