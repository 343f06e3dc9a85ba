"""``cnnreg evaluate`` and ``cnnreg apply`` on files, against deformations known by construction."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from cnnreg.images.image import Grid, read_image, write_field
from tests.conftest import SIZE, smooth_image, write_itk, write_png


def shift_field(path: Path, dy: float, dx: float, grid: Grid | None = None) -> Path:
    """A field that pulls from (dy, dx) pixels away."""
    grid = grid or Grid(SIZE)
    write_field(np.stack([np.full(grid.size, dy), np.full(grid.size, dx)]), grid, path)
    return path


def blob(top: int, left: int, value: int = 255, side: int = 10) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[top : top + side, left : left + side] = value
    return mask


def write_mask(path: Path, mask: np.ndarray) -> Path:
    return write_png(path, mask / 255)


def evaluate(cli, *arguments: object) -> dict:
    ended = cli("evaluate", *arguments, "--json")
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)["metrics"]


@pytest.mark.parametrize("values", [(255, 255), (1, 255), (255, 1)])
def test_two_masks_alone_are_compared(cli, tmp_path, values):
    """A 10x10 square shifted by 3 columns: DSC 0.7, whatever stands for foreground."""
    a = write_mask(tmp_path / "a.png", blob(5, 7, values[0]))
    b = write_mask(tmp_path / "b.png", blob(5, 10, values[1]))
    metrics = evaluate(cli, "--seg-fixed", a, "--seg-moving", b)
    assert metrics["value"]["overlap"]["dsc"] == pytest.approx(0.7)
    assert metrics["value"]["overlap"]["cmd_mm"] is None  # PNG says nothing about millimetres


def test_several_labels(cli, tmp_path):
    """Labels 1 and 2: each its own Dice, and their mean; the table shows both."""
    a = write_mask(tmp_path / "a.png", blob(5, 7, 1) + blob(30, 40, 2))
    b = write_mask(tmp_path / "b.png", blob(5, 10, 1) + blob(30, 40, 2))
    overlap = evaluate(cli, "--seg-fixed", a, "--seg-moving", b)["value"]["overlap"]
    assert {k: v["dsc"] for k, v in overlap["labels"].items()} == {"1": pytest.approx(0.7), "2": 1.0}
    assert overlap["dsc"] == pytest.approx(0.85)
    out = cli("evaluate", "--seg-fixed", a, "--seg-moving", b).out
    assert "DSC, label 1" in out
    assert "0.8500" in out


def test_a_field_warps_the_mask_first(cli, tmp_path):
    """The right field brings the Dice to 1; pulled from 3 columns to the right, the square moves 3 to the left."""
    a, b = write_mask(tmp_path / "a.png", blob(5, 7)), write_mask(tmp_path / "b.png", blob(5, 10))
    field = shift_field(tmp_path / "f.mha", 0, 3)
    metrics = evaluate(cli, "--seg-fixed", a, "--seg-moving", b, "--field", field)
    assert metrics["before"]["overlap"]["dsc"] == pytest.approx(0.7)
    assert metrics["after"]["overlap"]["dsc"] == 1
    assert metrics["after"]["folding_percent"] == 0
    assert metrics["after"]["displacement_mean_px"] == pytest.approx(3)


def test_millimetres_come_from_the_file(cli, tmp_path):
    """Rows of 2.5 mm: a single pixel 4 rows away is 10 mm away."""
    paths = []
    for name, row in (("a", 5), ("b", 9)):
        mask = np.zeros(SIZE, dtype=np.uint8)
        mask[row, 7] = 1
        paths.append(write_itk(tmp_path / f"{name}.nii.gz", mask, spacing=(0.5, 2.5)))
    overlap = evaluate(cli, "--seg-fixed", paths[0], "--seg-moving", paths[1])["value"]["overlap"]
    assert (overlap["cmd_px"], overlap["cmd_mm"], overlap["hd95_mm"]) == (4, pytest.approx(10), pytest.approx(10))


def test_images_field_and_warped_image_agree(cli, tmp_path):
    """MAD and NCC of fixed and moving, then of fixed and warped, whether warped here or read from the file."""
    fixed = np.pad(smooth_image()[5:-5, 5:-5], 5)  # a black rim: outside is 0 on disk, and the border in memory
    moving = np.roll(fixed, (2, -3), axis=(0, 1))
    files = {n: write_png(tmp_path / f"{n}.png", x) for n, x in (("fixed", fixed), ("moving", moving))}
    field = shift_field(tmp_path / "f.mha", 2, -3)
    assert cli("apply", field, files["moving"], "-o", tmp_path).code == 0
    both = ["--fixed", files["fixed"], "--moving", files["moving"]]
    metrics = evaluate(cli, *both, "--field", field)
    assert metrics["after"]["ncc"] > 0.9 > metrics["before"]["ncc"]
    assert metrics["after"]["mad"] < 0.05 < metrics["before"]["mad"]
    direct = evaluate(cli, *both, "--warped", tmp_path / "moving_warped.png")
    assert direct["after"]["mad"] == pytest.approx(metrics["after"]["mad"], abs=0.005)
    assert evaluate(cli, *both)["value"] == metrics["before"]


def test_landmarks(cli, tmp_path):
    """Fixed points go to the moving image: +field brings them home, and the relative error divides by the diagonal."""
    (tmp_path / "pf.csv").write_text("name,x,y\na,20,20\nb,40,25\n")
    (tmp_path / "pm.csv").write_text("x,y\n17,22\n37,27\n")
    points = ["--points-fixed", tmp_path / "pf.csv", "--points-moving", tmp_path / "pm.csv"]
    assert evaluate(cli, *points)["value"]["landmarks"]["tre_px"] == pytest.approx(np.hypot(2, 3))
    metrics = evaluate(cli, *points, "--field", shift_field(tmp_path / "f.mha", 2, -3))
    assert metrics["before"]["landmarks"]["rtre"] == pytest.approx(np.hypot(2, 3) / np.hypot(*SIZE))
    assert metrics["after"]["landmarks"]["tre_px"] == pytest.approx(0, abs=1e-6)


def test_a_field_alone_has_its_regularity(cli, tmp_path):
    """Half of a field folds: u_x = -2x there."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    write_field(np.stack([0 * y, np.where(y < 24, -2 * x, 0)]), Grid(SIZE), tmp_path / "f.mha")
    metrics = evaluate(cli, "--field", tmp_path / "f.mha")
    assert metrics["after"]["folding_percent"] == pytest.approx(50, abs=2.5)


def test_rows_are_appended_to_a_csv(cli, tmp_path):
    """Two evaluations, the second with more columns: two rows, nothing lost."""
    a, b = write_mask(tmp_path / "a.png", blob(5, 7)), write_mask(tmp_path / "b.png", blob(5, 10))
    field = shift_field(tmp_path / "f.mha", 0, 3)
    table = tmp_path / "all.csv"
    segs = ["--seg-fixed", a, "--seg-moving", b, "--csv", table]
    assert cli("evaluate", *segs).code == 0
    assert cli("evaluate", *segs, "--field", field).code == 0
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["seg_fixed"] for row in rows] == [str(a)] * 2
    assert float(rows[0]["value.overlap.dsc"]) == pytest.approx(0.7)
    assert rows[0]["after.overlap.dsc"] == ""
    assert float(rows[1]["after.overlap.dsc"]) == 1


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--fixed", "f.png"], "nothing to measure"),
        (["--field", "f.mha", "--fixed", "f.png"], "--fixed has no effect"),
        (["--warped", "f.png"], "give --fixed too"),
        (["--seg-fixed", "f.png"], "--seg-fixed and --seg-moving go together"),
    ],
)
def test_options_without_effect_are_errors(cli, tmp_path, arguments, fragment):
    """Exit code 2, and what to give instead."""
    ended = cli("evaluate", *arguments)
    assert ended.code == 2
    assert fragment in ended.err


def test_apply_warps_labels_without_new_values(cli, tmp_path):
    """Half-pixel shifts mix no labels; without --label they would."""
    labels = write_mask(tmp_path / "l.png", blob(5, 7, 3) + blob(30, 40, 200))
    field = shift_field(tmp_path / "f.mha", 0.4, -0.4)
    assert cli("apply", field, labels, "--label", "-o", tmp_path / "nearest").code == 0
    assert cli("apply", field, labels, "-o", tmp_path / "linear").code == 0
    nearest, linear = (read_image(tmp_path / d / "l_warped.png").pixels for d in ("nearest", "linear"))
    assert set(np.unique(nearest)) == {0, 3, 200}
    assert len(np.unique(linear)) > 3


def test_apply_equals_simpleitk_on_a_rotated_anisotropic_grid(cli, tmp_path):
    """Any image with geometry, through a field with another: as sitk.Resample does it."""
    grid = Grid(SIZE, (0.8, 1.7), (4.0, -3.0), (np.cos(0.2), -np.sin(0.2), np.sin(0.2), np.cos(0.2)), "mm")
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    field = tmp_path / "f.mha"
    write_field(np.stack([2 * np.sin(x / 9), 3 * np.cos(y / 11)]), grid, field)
    image = write_itk(tmp_path / "i.nrrd", smooth_image((70, 64), seed=2), spacing=(1.1, 1.3), origin=(-9, -2))
    assert cli("apply", field, image, "-o", tmp_path / "out", "-q").code == 0
    ours = sitk.ReadImage(str(tmp_path / "out" / "i_warped.nrrd"))
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field)))
    theirs = sitk.Resample(sitk.ReadImage(str(image)), sitk.ReadImage(str(field)), transform)
    difference = np.abs(sitk.GetArrayFromImage(ours) - sitk.GetArrayFromImage(theirs))
    assert np.quantile(difference, 0.995) < 1e-4
    assert ours.GetDirection() == pytest.approx(theirs.GetDirection())


def test_apply_on_the_grid_of_a_reference(cli, tmp_path):
    """Finer, elsewhere, larger than the field: as SimpleITK resamples it, and 0 where the field says nothing."""
    field = shift_field(tmp_path / "f.mha", 2, -3)
    image = write_itk(tmp_path / "i.mha", smooth_image((60, 70)) + 1)
    reference = write_itk(tmp_path / "r.mha", smooth_image((90, 100)), spacing=(0.75, 0.75), origin=(-5, 10.25))
    ended = cli("apply", field, image, "--reference", reference, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    ours = sitk.ReadImage(str(tmp_path / "out" / "i_warped.mha"))
    assert (ours.GetSize(), ours.GetSpacing(), ours.GetOrigin()) == ((100, 90), (0.75, 0.75), (-5.0, 10.25))
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field)))
    theirs = sitk.Resample(sitk.ReadImage(str(image)), sitk.ReadImage(str(reference)), transform)
    ours, theirs = sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs)
    y, x = np.mgrid[:90, :100] * 0.75 + np.array([10.25, -5])[:, None, None]
    known = (y >= 0) & (y <= SIZE[0] - 1) & (x >= 0) & (x <= SIZE[1] - 1)
    np.testing.assert_allclose(ours[known], theirs[known], atol=1e-4)
    assert not ours[(y > SIZE[0]) | (x < -1) | (x > SIZE[1])].any()
    far = write_itk(tmp_path / "far.mha", smooth_image(), origin=(900, 0))
    ended = cli("apply", field, image, "--reference", far, "-o", tmp_path / "far")
    assert (ended.code, "do not overlap" in ended.err) == (1, True)


def test_interpolation_has_its_usual_name(cli, tmp_path):
    """nearest is --label; a table is not taken for an image."""
    labels = write_mask(tmp_path / "l.png", blob(5, 7, 3) + blob(30, 40, 200))
    field = shift_field(tmp_path / "f.mha", 0.4, -0.4)
    for name, chosen in (("a", ["--label"]), ("b", ["--interpolation", "nearest"])):
        assert cli("apply", field, labels, *chosen, "-o", tmp_path / name).code == 0
    assert (tmp_path / "a" / "l_warped.png").read_bytes() == (tmp_path / "b" / "l_warped.png").read_bytes()
    assert cli("apply", field, labels, "--label", "--interpolation", "linear", "-o", tmp_path / "c").code == 2
    (tmp_path / "p.csv").write_text("x,y\n1,2\n")
    ended = cli("apply", field, tmp_path / "p.csv", "-o", tmp_path / "c")
    assert (ended.code, "give it with --points" in ended.err) == (2, True)


def test_apply_carries_points_and_keeps_their_columns(cli, tmp_path):
    """x and y move by the field, in the direction fixed to moving."""
    (tmp_path / "p.csv").write_text("name,x,y\napex,20,20\nbase,40,25.5\n")
    field = shift_field(tmp_path / "f.mha", 2, -3)
    assert cli("apply", field, "--points", tmp_path / "p.csv", "-o", tmp_path / "out").code == 0
    with (tmp_path / "out" / "p_transformed.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["apex", "base"]
    assert [(float(row["x"]), float(row["y"])) for row in rows] == [(17, 22), (37, 27.5)]


def test_apply_to_several_images_writes_all_or_none(cli, tmp_path):
    """One bad image: nothing is written. Two of the same name: an error, not one file."""
    field = shift_field(tmp_path / "f.mha", 1, 0)
    good = write_png(tmp_path / "good.png", smooth_image())
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert cli("apply", field, good, tmp_path / "bad.png", "-o", tmp_path / "out").code == 1
    assert not (tmp_path / "out").exists()
    (tmp_path / "sub").mkdir()
    again = write_png(tmp_path / "sub" / "good.png", smooth_image())
    assert cli("apply", field, good, again, "-o", tmp_path / "out").code == 2
    assert not (tmp_path / "out").exists()
    assert cli("apply", field, good, "-o", tmp_path / "out").code == 0
    assert cli("apply", field, good, "-o", tmp_path / "out").code == 1
    assert cli("apply", field, good, "-o", tmp_path / "out", "--overwrite").code == 0


@pytest.mark.parametrize("which", ["--moving", "--warped"])
def test_pixels_that_are_nan_do_not_count(cli, tmp_path, which):
    """Of two equal images, one without a third: all that is left agrees, whatever fills the rest."""
    pixels = smooth_image()
    write_itk(tmp_path / "fixed.mha", pixels)
    pixels[:, 45:] = np.nan
    pixels[0, :2] = smooth_image().min(), smooth_image().max()  # the same range
    fixed = smooth_image()
    fixed[0, :2] = pixels[0, :2]
    write_itk(tmp_path / "fixed.mha", fixed)
    write_itk(tmp_path / "other.mha", pixels)
    ended = cli("evaluate", "--fixed", tmp_path / "fixed.mha", which, tmp_path / "other.mha", "--json")
    metrics = json.loads(ended.out)["metrics"]
    (measures,) = metrics.values()
    assert measures["mad"] == pytest.approx(0, abs=1e-6)
    assert measures["ncc"] == pytest.approx(1)
    assert "pixels are NaN and do not count" in ended.err
