"""Global alignment: known turns, sizes and shifts are found; what is aligned stays; files of other tools are read."""

import json
import math
import re

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import map_coordinates

from cnnreg.engine.initial import find_initial
from cnnreg.errors import ImageError
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.transformfile import read_affine, write_affine
from cnnreg.images.image import Grid
from tests.conftest import smooth_image, write_itk, write_png

HERE = Affine.identity()


def picture(size: tuple[int, int] = (150, 190), seed: int = 0) -> np.ndarray:
    """Blobs of several scales on a flat ground, unlike themselves under any turn."""
    parts = [smooth_image(size, seed=seed + n, scale=scale) * weight for n, scale, weight in ((0, 4, 1), (1, 9, 1.5))]
    rows, columns = np.mgrid[: size[0], : size[1]]
    body = np.hypot((rows - size[0] / 2) / size[0], (columns - size[1] * 0.45) / size[1]) < 0.36
    values = np.where(body, sum(parts), 0.6)
    return ((values - values.min()) / np.ptp(values)).astype(np.float32)


def turned(
    image: np.ndarray, degrees: float, size: float, shift: tuple[float, float], canvas: tuple[int, int]
) -> tuple[np.ndarray, Affine]:
    """The image turned, enlarged and shifted on a canvas, and the map from its pixels to the canvas."""
    angle = math.radians(degrees)
    matrix = size * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = (np.array(image.shape) - 1) / 2
    truth = Affine(matrix, (np.array(canvas) - 1) / 2 + shift - matrix @ middle)
    points = truth.inverse()(np.mgrid[: canvas[0], : canvas[1]].reshape(2, -1).T)
    return map_coordinates(image, points.T, order=1, mode="nearest").reshape(canvas).astype(np.float32), truth


def tensor(image: np.ndarray) -> torch.Tensor:
    """Intensities, and a mask that is 1 everywhere."""
    return torch.from_numpy(np.stack([image, np.ones(image.shape)]).astype(np.float32))[None]


def error(found: Affine, truth: Affine, size: tuple[int, int]) -> float:
    """Mean distance over the inner part of the fixed image, in pixels of the moving one."""
    rows, columns = np.mgrid[size[0] // 5 : 4 * size[0] // 5 : 5, size[1] // 5 : 4 * size[1] // 5 : 5]
    points = np.stack([rows.ravel(), columns.ravel()], 1)
    return float(np.linalg.norm(found(points) - truth(points), axis=1).mean())


@pytest.mark.parametrize(
    ("degrees", "size", "shift", "contrast"),
    [
        (40, 1.0, (0, 0), "same"),
        (-100, 0.7, (10, -15), "inverted"),
        (180, 1.3, (-20, 8), "same"),
        (75, 1.5, (0, 12), "gamma"),
        (5, 1.0, (45, -50), "inverted"),
    ],
)
def test_any_turn_size_and_shift_is_found(degrees, size, shift, contrast):
    """To a pixel of the moving image, with images of different sizes, and with inverted or bent contrast."""
    fixed = picture()
    canvas = (int(170 * max(size, 1)), int(160 * max(size, 1)))
    moving, truth = turned(fixed, degrees, size, shift, canvas)
    moving = {"same": moving, "inverted": 1 - moving, "gamma": moving**0.5}[contrast]
    result = find_initial(tensor(fixed), tensor(moving), HERE, method="auto")
    assert result.needed
    assert error(result.affine, truth, fixed.shape) < 1.0
    told = re.search(r"rotation (\S+) degrees (\S+)", result.how)
    found = float(told[1]) * (1 if told[2].startswith("counter") else -1)
    assert (found - degrees + 180) % 360 - 180 == pytest.approx(0, abs=1)


def test_what_is_aligned_stays_as_it_is():
    """Small local deformations, noise and other contrast are the field's business."""
    fixed = picture()
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:150, :190].astype(float)
    bent = map_coordinates(fixed, [rows + 1.5 * np.sin(columns / 15), columns + 1.5 * np.sin(rows / 12)], order=1)
    for moving in (fixed, 1 - fixed, bent, np.clip(fixed + 0.05 * rng.standard_normal(fixed.shape), 0, 1)):
        result = find_initial(tensor(fixed), tensor(moving), HERE, method="auto")
        assert not result.needed, result.how
        assert "already aligned" in result.how
    assert result.map is None


def test_unlike_images_are_left_where_they_are():
    """A search without evidence changes nothing."""
    result = find_initial(
        tensor(smooth_image((90, 100), seed=1, scale=2)),
        tensor(smooth_image((90, 100), seed=7, scale=2)),
        HERE,
        method="auto",
    )
    assert result.needed is False or "searched" in result.how
    none = find_initial(tensor(picture()), tensor(picture(seed=5)), HERE, method="none")
    assert (none.needed, none.how) == (False, "identity (header geometry kept)")


def test_rigid_keeps_the_size_and_similarity_the_angles():
    fixed = picture()
    moving, truth = turned(fixed, 30, 1.0, (5, -9), (150, 190))
    rigid = find_initial(tensor(fixed), tensor(moving), HERE, method="rigid").affine
    assert error(rigid, truth, fixed.shape) < 0.7
    np.testing.assert_allclose(rigid.matrix.T @ rigid.matrix, np.eye(2), atol=0.02)
    moving, truth = turned(fixed, -50, 1.2, (5, -9), (180, 200))
    similar = find_initial(tensor(fixed), tensor(moving), HERE, method="similarity").affine
    assert error(similar, truth, fixed.shape) < 0.7
    assert similar.matrix.T @ similar.matrix == pytest.approx(1.44 * np.eye(2), abs=0.05)


def test_center_and_moments():
    """Middles of the images; middles of what differs from the ground."""
    fixed, moving = np.zeros((60, 80)), np.zeros((100, 90))
    fixed[10:20, 30:40] = 1
    moving[50:60, 10:20] = 1
    center = find_initial(tensor(fixed), tensor(moving), HERE, method="center").affine
    assert center(np.array([[29.5, 39.5]]))[0] == pytest.approx([49.5, 44.5])
    moments = find_initial(tensor(fixed), tensor(moving), HERE, method="moments").affine
    assert moments(np.array([[14.5, 34.5]]))[0] == pytest.approx([54.5, 14.5])


def test_the_files_geometry_counts():
    """Pixels of 0.5 and 2 mm: the size that the files say is tried first, and the answer is in pixels."""
    fixed = picture((120, 160))
    moving, truth = turned(fixed, 0, 0.5, (0, 0), (70, 90))
    given = Affine(np.eye(2) * 0.5, truth.offset + 0.4)
    result = find_initial(tensor(fixed), tensor(moving), given, method="auto")
    assert not result.needed
    assert "already aligned" in result.how


GRIDS = (
    Grid((40, 50), (0.5, 2.0), (3.0, -7.0), (0.8, -0.6, 0.6, 0.8), "mm"),
    Grid((60, 30), (1.5, 1.0), (-20.0, 4.0), unit="mm"),
)


@pytest.mark.parametrize("suffix", [".tfm", ".h5", ".txt", ".mat"])
def test_transform_files_are_itks(tmp_path, suffix):
    """Written and read back; and SimpleITK takes the same points to the same places."""
    affine = Affine(np.array([[0.9, 0.2], [-0.3, 1.2]]), np.array([4.0, -6.0]))
    path = tmp_path / f"affine{suffix}"
    write_affine(affine, *GRIDS, path)
    again = read_affine(path, *GRIDS)
    np.testing.assert_allclose(again.matrix, affine.matrix, atol=1e-9)
    np.testing.assert_allclose(again.offset, affine.offset, atol=1e-8)
    if suffix == ".mat":
        return  # SimpleITK reads it without telling that it is affine
    transform = sitk.ReadTransform(str(path))
    images = [sitk.Image(grid.size[1], grid.size[0], sitk.sitkFloat32) for grid in GRIDS]
    for image, grid in zip(images, GRIDS, strict=True):
        image.SetSpacing(grid.spacing)
        image.SetOrigin(grid.origin)
        image.SetDirection(grid.direction)
    for row, column in ((0, 0), (39, 49), (12, 31)):
        point = transform.TransformPoint(images[0].TransformContinuousIndexToPhysicalPoint((column, row)))
        x, y = images[1].TransformPhysicalPointToContinuousIndex(point)
        assert affine(np.array([[row, column]]))[0] == pytest.approx([y, x])


def test_elastix_parameter_files_are_read(tmp_path):
    """A rotation about a centre, as elastix writes it."""
    (tmp_path / "TransformParameters.0.txt").write_text(
        '(Transform "EulerTransform")\n(NumberOfParameters 3)\n(TransformParameters 0.5 3.0 -2.0)\n'
        "(CenterOfRotationPoint 10.0 20.0)\n"
    )
    grid = Grid((50, 60))
    affine = read_affine(tmp_path / "TransformParameters.0.txt", grid, grid)
    assert affine(np.array([[20.0, 10.0]]))[0] == pytest.approx([18.0, 13.0])
    assert affine.matrix == pytest.approx(np.array([[math.cos(0.5), math.sin(0.5)], [-math.sin(0.5), math.cos(0.5)]]))


def test_transform_files_that_will_not_do(tmp_path):
    grid = Grid((50, 60))
    (tmp_path / "a.tfm").write_text("no transform")
    (tmp_path / "b.txt").write_text('(Transform "BSplineTransform")\n(TransformParameters 1 2)\n')
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "c.tfm"))
    for name, said in (
        ("a.tfm", "is not a transform"),
        ("b.txt", "elastix transform 'BSplineTransform'"),
        ("c.tfm", "3D transform"),
        ("d.tfm", "there is no transform file"),
    ):
        with pytest.raises(ImageError, match=said):
            read_affine(tmp_path / name, grid, grid)


def test_register_aligns_composes_and_resamples_once(cli, tmp_path):
    """Turned by 60 degrees on a canvas of another size: landmarks within a pixel, and all files agree."""
    fixed = picture()
    moving, truth = turned(fixed, 60, 1.2, (8, -5), (200, 180))
    files = write_png(tmp_path / "fixed.png", fixed), write_png(tmp_path / "moving.png", moving)
    points = np.array([[50.0, 60], [90, 120], [70, 80], [100, 60]])
    for name, values in (("pf", points), ("pm", truth(points))):
        (tmp_path / f"{name}.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for y, x in values))
    marks = ["--points-fixed", tmp_path / "pf.csv", "--points-moving", tmp_path / "pm.csv"]
    command = ["register", *files, "--model", "none", "--adapt", 10, *marks]
    ended = cli(*command, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "initial transform: searched: rotation 60.0 degrees counter-clockwise" in ended.out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["metrics"]) == ["before", "alignment", "adaptation"]
    assert report["metrics"]["before"]["landmarks"]["tre_px"] > 30
    assert report["metrics"]["adaptation"]["landmarks"]["tre_px"] < 1
    assert report["metrics"]["adaptation"]["folding_percent"] == 0
    assert report["alignment"]["file"] == "affine.tfm"
    affine = read_affine(tmp_path / "out" / "affine.tfm", Grid((150, 190)), Grid((200, 180)))
    assert error(affine, truth, fixed.shape) < 1
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "out" / "field.mha")))
    theirs = sitk.Resample(sitk.ReadImage(str(files[1])), sitk.ReadImage(str(files[0])), field)
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "warped.png"))).astype(int)
    assert np.abs(sitk.GetArrayFromImage(theirs).astype(int) - ours)[3:-3, 3:-3].mean() < 0.5
    again = cli(*command, "-o", tmp_path / "again", "--init", tmp_path / "out" / "affine.tfm", "-q")
    assert again.code == 0, again.err
    told = json.loads((tmp_path / "again" / "report.json").read_text())
    assert told["alignment"]["how"] == "from affine.tfm"
    assert told["metrics"]["adaptation"]["landmarks"]["tre_px"] == pytest.approx(
        report["metrics"]["adaptation"]["landmarks"]["tre_px"], abs=0.01
    )
    wrong = cli(*command, "-o", tmp_path / "wrong", "--init", "afine")
    assert wrong.code != 0
    assert "affine" in wrong.err
    assert not (tmp_path / "wrong").exists()


def test_images_that_do_not_touch_in_space_are_brought_together(cli, tmp_path):
    """Origins a metre apart: an error that names the way out, and the way out works."""
    image = picture((90, 110))
    files = [
        write_itk(tmp_path / f"{n}.mha", image, spacing=(1.0, 1.0), origin=(x, 0.0)) for n, x in ((0, 0.0), (1, 1000.0))
    ]
    command = ["register", *files, "--model", "none", "-a", 5]
    ended = cli(*command, "-o", tmp_path / "no", "--init", "none")
    assert ended.code == 1
    assert "--init affine" in ended.err
    assert cli(*command, "-o", tmp_path / "yes", "-q").code == 0
    report = json.loads((tmp_path / "yes" / "report.json").read_text())
    assert report["metrics"]["adaptation"]["ncc"] > 0.99


def test_what_lies_outside_the_moving_image_does_not_count(cli, tmp_path):
    """A moving image that ends in the middle of the fixed one: the seen half is registered, the rest stays calm."""
    fixed = picture((120, 160))
    moving = np.roll(fixed, (2, 0), (0, 1))[:, :90]
    files = write_png(tmp_path / "f.png", fixed), write_png(tmp_path / "m.png", moving)
    ended = cli("register", *files, "--model", "none", "-a", 50, "--init", "none", "-o", tmp_path / "out", "-q")
    assert ended.code == 0, ended.err
    field = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "field.mha")))
    seen = field[20:-20, 20:80]
    assert np.median(seen[..., 1]) == pytest.approx(2, abs=0.2)
    assert np.abs(seen[..., 0]).mean() < 0.5
    assert np.abs(field[20:-20, 95:]).max() < 6


def test_masks_keep_out_what_would_mislead(cli, tmp_path):
    """A burnt-in frame and text, alike in both images, say that nothing has moved; masked, the truth comes out."""
    fixed = picture((140, 180))
    moving, truth = turned(fixed, 25, 1.0, (6, 4), (140, 180))
    frame = np.ones((140, 180), dtype=bool)
    frame[20:-20, 20:-20] = False
    marks = (np.indices((140, 180)).sum(0) // 4 % 2 == 0).astype(np.float32)
    files = [write_png(tmp_path / f"{n}.png", np.where(frame, marks, x)) for n, x in (("f", fixed), ("m", moving))]
    mask = write_png(tmp_path / "mask.png", np.where(frame, 0.0, 1.0))
    points = np.array([[60.0, 70], [80, 110], [70, 90]])
    for name, values in (("pf", points), ("pm", truth(points))):
        (tmp_path / f"{name}.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for y, x in values))
    command = ["register", *files, "--model", "none", "-a", 20, "-q"]
    command += ["--points-fixed", tmp_path / "pf.csv", "--points-moving", tmp_path / "pm.csv"]
    masks = ["--fixed-mask", mask, "--moving-mask", mask]
    errors = {}
    for name, extra in (("plain", []), ("masked", masks)):
        ended = cli(*command, *extra, "-o", tmp_path / name)
        assert ended.code == 0, ended.err
        report = json.loads((tmp_path / name / "report.json").read_text())
        errors[name] = list(report["metrics"].values())[-1]["landmarks"]["tre_px"]
    assert errors["masked"] < 1.5
    assert errors["plain"] > 2
    empty = write_png(tmp_path / "empty.png", np.zeros((140, 180)))
    assert "is empty" in cli(*command, "--fixed-mask", empty, "-o", tmp_path / "no").err
    assert not (tmp_path / "no").exists()
