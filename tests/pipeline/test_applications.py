"""Strain against fields whose strain is known; contralateral subtraction of images whose asymmetry is known."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from cnnreg.geometry.strain import centroid, green_lagrange, polar, positions, segments, wall
from cnnreg.images.image import Grid, write_field
from tests.conftest import smooth_image, write_itk, write_png

TURN = np.radians(25)
TURNED = (float(np.cos(TURN)), float(-np.sin(TURN)), float(np.sin(TURN)), float(np.cos(TURN)))
GRIDS = [
    Grid((61, 48)),
    Grid((61, 48), (0.5, 1.25), (-3.0, 7.0), unit="mm"),
    Grid((61, 48), (0.5, 1.25), (-3.0, 7.0), TURNED, "mm"),
]


def field_of(grid: Grid, move) -> np.ndarray:
    """The field (2, H, W), in pixels, of a map of physical points (2, N) to physical points."""
    points = positions(grid)
    moved = move(points.reshape(2, -1)).reshape(points.shape) - points
    return np.einsum("ij,jhw->ihw", np.linalg.inv(grid.matrix), moved)[::-1]


def middle(grid: Grid) -> np.ndarray:
    return positions(grid)[:, 30, 24]


@pytest.mark.parametrize("grid", GRIDS)
def test_linear_maps_have_their_strain_everywhere(grid):
    """Any F: E = (F^T F - I) / 2 to rounding, rim included, whatever the pixels' shape; rotation has 0."""
    stretch = np.array([[1.2, 0.1], [-0.05, 0.9]])
    rotation = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    for matrix in (stretch, rotation, rotation @ stretch):
        found = green_lagrange(field_of(grid, lambda p, m=matrix: m @ p + 1.0), grid)
        expected = (matrix.T @ matrix - np.eye(2)) / 2
        np.testing.assert_allclose(found, np.broadcast_to(expected[..., None, None], found.shape), atol=1e-10)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_radial_field_has_its_radial_and_circumferential_strain(grid):
    """R(r) = r + a r^2: E_rr = ((1 + 2 a r)^2 - 1) / 2, E_cc = ((1 + a r)^2 - 1) / 2, no shear."""
    center, a = middle(grid), -0.01
    field = field_of(grid, lambda p: p + a * np.hypot(*(p - center[:, None])) * (p - center[:, None]))
    radial, around, shear = polar(green_lagrange(field, grid), grid, center)
    r = np.hypot(*(positions(grid) - center[:, None, None]))
    ring = (r > 6 * max(grid.spacing)) & (r < 12 * max(grid.spacing))
    ring[[0, -1]], ring[:, [0, -1]] = False, False
    np.testing.assert_allclose(radial[ring], (((1 + 2 * a * r) ** 2 - 1) / 2)[ring], atol=2e-3)
    np.testing.assert_allclose(around[ring], (((1 + a * r) ** 2 - 1) / 2)[ring], atol=2e-3)
    np.testing.assert_allclose(shear[ring], 0, atol=2e-3)


def test_segments_cover_the_region_once_and_start_where_told():
    """Sectors run from x towards y; their pixels add up; each has the mean of its own."""
    grid = Grid((80, 90))
    rows, columns = np.mgrid[:80, :90]
    disc = np.hypot(rows - 40, columns - 45) < 30.2
    center = centroid(disc, grid)
    assert center == pytest.approx([45, 40])
    angle = np.degrees(np.arctan2(rows - 40, columns - 45)) % 360
    strains = np.stack([angle // 90, angle * 0, angle * 0])
    found = segments(strains, disc, grid, center, count=4)
    assert [s.radial for s in found[:4]] == [0, 1, 2, 3]
    assert sum(s.pixels for s in found[:4]) == found[4].pixels == disc.sum()
    turned = segments(strains, disc, grid, center, count=4, start=90)
    assert [s.radial for s in turned[:4]] == [1, 2, 3, 0]
    empty = segments(strains, disc & (columns > 46), grid, center, count=4)
    assert [s.pixels > 0 for s in empty] == [True, False, False, True, True]
    assert np.isnan(empty[1].radial)


def test_a_wall_is_as_thick_as_asked_in_mm():
    grid = Grid((60, 60), (0.5, 2.0), unit="mm")
    mask = np.zeros((60, 60), dtype=bool)
    mask[20:40, 20:40] = True
    band = wall(mask, grid, 4.0)
    assert band[30].nonzero()[0].tolist() == [*range(12, 20), *range(40, 48)]  # 8 columns of 0.5 mm
    assert band[:, 30].nonzero()[0].tolist() == [18, 19, 40, 41]  # 2 rows of 2 mm
    assert not (band & mask).any()


def test_strain_from_files(cli, tmp_path):
    """A uniform expansion to 1.1 has strain 0.105 in every segment, table and map; a wrong mask is explained."""
    grid = Grid((70, 90), (1.25, 1.25), unit="mm")
    write_field(field_of(grid, lambda p: 1.1 * p), grid, tmp_path / "field.mha")
    rows, columns = np.mgrid[:70, :90]
    mask = np.hypot(rows - 35, columns - 45) < 12
    write_png(tmp_path / "mask.png", mask.astype(float))
    ended = cli("strain", tmp_path / "field.mha", "--seg", tmp_path / "mask.png", "--wall", 10, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    with (tmp_path / "out" / "strain.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == ["1", "2", "3", "4", "5", "6", "all"]
    for row in table:
        assert float(row["radial"]) == pytest.approx(0.105, abs=1e-6)
        assert float(row["circumferential"]) == pytest.approx(0.105, abs=1e-6)
    maps = sitk.ReadImage(str(tmp_path / "out" / "strain.mha"))
    assert maps.GetSpacing() == (1.25, 1.25)
    assert maps.GetNumberOfComponentsPerPixel() == 3
    assert (tmp_path / "out" / "strain.png").stat().st_size > 1000
    again = cli("strain", tmp_path / "field.mha", "--seg", tmp_path / "mask.png", "-o", tmp_path / "out")
    assert "--overwrite" in again.err
    for name, values, said in (
        ("small.png", mask[:50].astype(float), "must lie on the fixed image"),
        ("empty.png", mask * 0.0, "has no pixel"),
    ):
        write_png(tmp_path / name, values)
        ended = cli("strain", tmp_path / "field.mha", "--seg", tmp_path / name, "-o", tmp_path / "no")
        assert (ended.code, said in ended.err) == (1, True)
        assert not (tmp_path / "no").exists()


def body(size: tuple[int, int] = (120, 140)) -> np.ndarray:
    """A symmetric chest of sorts, with symmetric texture."""
    texture = smooth_image(size, seed=3, scale=5)
    rows, columns = np.mgrid[: size[0], : size[1]]
    middle = (size[1] - 1) / 2
    lungs = np.exp(-((np.abs(columns - middle) - 32) ** 2) / 350 - (rows - 60) ** 2 / 900)
    return 0.7 - 0.5 * lungs + 0.2 * (texture + texture[:, ::-1])


def test_what_is_on_one_side_only_stands_out(cli, tmp_path):
    """A nodule of +0.2 in a slightly shifted, symmetric body: bright in the subtraction, dark on the other side."""
    image = np.roll(body(), 3, axis=1)
    nodule = np.zeros(image.shape)
    nodule[50, 38] = 1
    nodule = gaussian_filter(nodule, 3)
    image = (image + 0.2 * nodule / nodule.max()) / 1.5
    pixels = (image * 1000).astype(np.uint16)
    file = write_itk(tmp_path / "film.mha", pixels, spacing=(0.5, 0.5))
    ended = cli("csub", file, "-o", tmp_path / "out", "--model", "none", "--adapt", 20)
    assert ended.code == 0, ended.err
    difference = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "difference.mha")))
    assert difference.dtype == np.float32
    inner = difference[12:-12, 16:-16]
    top = np.unravel_index(inner.argmax(), inner.shape)
    assert (top[0] + 12, top[1] + 16) == pytest.approx((50, 38), abs=3)
    low = np.unravel_index(inner.argmin(), inner.shape)
    assert (low[0] + 12, low[1] + 16) == pytest.approx((50, 139 - 38 + 6), abs=4)
    assert np.abs(inner).mean() < 0.15 * inner.max()
    mirror = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "mirror.mha")))
    assert mirror.dtype == np.uint16
    np.testing.assert_array_equal(difference, pixels.astype(np.float32) - mirror.astype(np.float32))
    report = json.loads((tmp_path / "out" / "report.json").read_text())["metrics"]
    assert report["deformable"]["mad"] < report["before"]["mad"]
    assert report["deformable"]["folding_percent"] == 0


def test_subtraction_in_a_mask_and_its_field(cli, tmp_path):
    """Outside the mask the difference is 0; field.mha takes the mirror image to mirror.png by itself."""
    image = np.roll(body(), 4, axis=1) / 1.3
    image[50:56, 30:36] *= 0.6  # on one side only: both sides alike leave no difference
    film = write_png(tmp_path / "film.png", image)
    mask = np.zeros(image.shape)
    mask[30:90, 20:60] = mask[30:90, 85:125] = 1
    seg = write_png(tmp_path / "mask.png", mask)
    ended = cli("csub", film, "--seg", seg, "-o", tmp_path / "out", "--model", "none", "-a", 10, "-q")
    assert ended.code == 0, ended.err
    difference = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "difference.mha")))
    assert (difference[mask == 0] == 0).all()
    assert difference.any()
    report = json.loads((tmp_path / "out" / "report.json").read_text())["metrics"]
    assert {"1", "2"} == set(report["deformable"]["overlap"]["labels"])
    flipped = write_png(tmp_path / "flipped.png", image[:, ::-1])
    assert cli("apply", tmp_path / "out" / "field.mha", flipped, "-o", tmp_path, "-q").code == 0
    assert (tmp_path / "flipped_warped.png").read_bytes() == (tmp_path / "out" / "mirror.png").read_bytes()
    empty = write_png(tmp_path / "empty.png", mask * 0)
    assert "is empty" in cli("csub", film, "--seg", empty, "-o", tmp_path / "no", "--model", "none").err
    assert not Path(tmp_path / "no").exists()
