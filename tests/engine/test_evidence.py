"""What decides about the initial alignment is evidence: pairs whose headers, frames, masks or noise say otherwise."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from cnnreg.engine.initial import Initial, find_initial
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.fields import handedness, jacobian_determinant, pixel_grid
from cnnreg.images.padding import content
from tests.conftest import smooth_image, write_itk, write_png
from tests.engine.test_alignment import HERE, error, tensor, turned

SIZE = (230, 280)


def texture(size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """Blobs of several scales up to the rim."""
    return (0.5 * smooth_image(size, seed=seed, scale=3) + 0.5 * smooth_image(size, seed=seed + 1, scale=9)).astype("f")


def moved(degrees: float, shift: tuple[float, float], *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, Affine]:
    """Two pictures of one size, cut from a larger one, and the map from the first to the second."""
    large = texture((330, 380), seed)
    fixed = large[50:280, 50:330]
    image, truth = turned(large, degrees, 1.0, shift, (330, 380))
    inner = Affine(np.eye(2), np.full(2, 50.0))
    return fixed, image[50:280, 50:330], inner.inverse().after(truth).after(inner)


def found(fixed: np.ndarray, moving: np.ndarray, given: Affine = HERE, **options) -> Initial:
    return find_initial(tensor(fixed), tensor(moving), given, method="auto", **options)


@pytest.mark.parametrize(("degrees", "shift"), [(3, (6, -8)), (35, (12, -20))])
@pytest.mark.parametrize("exchanged", [False, True])
def test_pixels_of_unlike_shape(degrees, shift, exchanged):
    """1 x 3 mm against 1 x 1 mm: what may be stretched is the map between physical points, not between pixels."""
    fixed, moving, truth = moved(degrees, shift)
    thick = gaussian_filter(fixed, (1, 0))[1::3]  # the middles of three rows each
    rows = Affine(np.diag([3.0, 1.0]), np.array([1.0, 0.0]))
    if exchanged:
        result = found(moving, thick, rows.inverse(), spacings=((1.0, 1.0), (3.0, 1.0)))
        assert error(rows.after(result.affine), truth.inverse(), SIZE) < 1
    else:
        result = found(thick, moving, rows, spacings=((3.0, 1.0), (1.0, 1.0)))
        assert error(result.affine, truth.after(rows), thick.shape) < 1


def test_a_picture_stretched_to_another_aspect_ratio():
    """16 : 9 from 5 : 6, from one format without spacing to another."""
    fixed = texture()
    rows, columns = np.mgrid[:180, :320] + 0.5
    moving = map_coordinates(fixed, [rows * SIZE[0] / 180 - 0.5, columns * SIZE[1] / 320 - 0.5], order=1)
    square = texture((256, 256))
    wide = map_coordinates(square, [rows * 256 / 180 - 0.5, columns * 256 / 320 - 0.5], order=1, mode="nearest")
    for image, other in ((fixed, moving), (square, wide)):
        fill = Affine(np.diag(np.array(other.shape) / image.shape), np.zeros(2))
        result = found(image, other)
        assert error(result.affine, fill, image.shape) < 1
    assert "stretch 1.78" in result.how


def test_small_masks_help():
    """A twelfth of the image counts and turns; all around it, something else says that nothing has moved."""
    fixed, moving, truth = moved(12, (5, -6))
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    around = np.hypot(rows - 115, columns - 140) > 42
    still = texture(seed=9)
    pair = [tensor(np.where(around, still, image)) for image in (fixed, moving)]
    for image in pair:
        image[:, 1] = torch.from_numpy(~around)
    result = find_initial(*pair, HERE, method="auto")
    points = np.argwhere(~around)[::20]
    assert np.linalg.norm(result.affine(points) - truth(points), axis=1).mean() < 1.5


def test_masks_that_leave_nothing_say_so():
    blank = tensor(np.full((60, 80), 0.5))
    result = find_initial(blank, tensor(texture((60, 80))), HERE, method="auto")
    assert not result.needed
    assert "nothing" in result.how
    assert "-1" not in result.how


def test_a_shift_in_noise():
    """A correlation of a few hundredths, that no other place comes near."""
    fixed, moving, truth = moved(0, (-4, 6))
    rng = np.random.default_rng(0)
    noisy = [np.clip(0.4 + 0.2 * x + 0.06 * rng.standard_normal(SIZE), 0, 1) for x in (fixed, moving)]
    result = found(*noisy)
    assert error(result.affine, truth, SIZE) < 1


def test_a_shift_of_repeated_texture_is_not_taken_for_aligned():
    fixed, moving, truth = moved(0, (-14, -23))
    weave = 0.25 * np.sin(np.arange(SIZE[1]) * 2 * np.pi / 11)[None] * np.ones((SIZE[0], 1))
    result = found(fixed + weave, moving + np.roll(weave, -23, 1))
    assert error(result.affine, truth, SIZE) < 1


def test_a_strip():
    """A hundred and twenty times as long as it is wide, shifted by a hundredth of its length."""
    large = texture((60, 3100))
    fixed, moving = large[10:35, 20:3020], large[13:38, 50:3050]
    result = found(fixed, moving)
    assert error(result.affine, Affine(np.eye(2), np.array([-3.0, -30.0])), fixed.shape) < 1


def test_small_motion_of_bleached_shaded_images():
    fixed, moving, truth = moved(0, (4, 5))
    shade = np.linspace(0.1, 0.4, SIZE[1])
    faded = moving * shade + 0.01 * np.random.default_rng(0).standard_normal(SIZE)
    assert error(found(fixed, faded).affine, truth, SIZE) < 1


def aperture(kind: str) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] - np.array([114.5, 139.5]).reshape(2, 1, 1)
    match kind:
        case "circle":
            return np.hypot(y, x) < 108
        case "cut circle":
            return np.hypot(y, x) < 128
        case "octagon":
            return (abs(y) < 105) & (abs(x) < 110) & (abs(y) + abs(x) < 160)
        case "sector":
            radius, angle = np.hypot(y + 150, x), np.degrees(np.arctan2(x, y + 150))
            return (radius < 255) & (radius > 60) & (abs(angle) < 32)
        case _:  # a head's outline is information
            return np.hypot(y / 105, x / 88) + 0.04 * np.sin(3 * np.arctan2(y, x)) < 1


@pytest.mark.parametrize("ground", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["circle", "cut circle", "octagon", "sector"])
def test_what_surrounds_an_aperture_does_not_count(kind, ground):
    """The same aperture in both images, and the content moves: it is found, and the content decides."""
    fixed, moving, truth = moved(4, (-12, 15))
    seen = aperture(kind)
    images = [np.where(seen, 0.2 + 0.6 * image, ground).astype(np.float32) for image in (fixed, moving)]
    pair = []
    for image in images:
        mask = content(image)
        assert mask is not None
        assert not (mask & ~seen).any()
        assert mask.sum() > 0.88 * seen.sum()
        pair.append(torch.from_numpy(np.stack([image, mask]).astype(np.float32))[None])
    assert error(find_initial(*pair, HERE, method="auto").affine, truth, SIZE) < 1.5


def test_the_ground_of_a_head_counts():
    head = np.where(aperture("head"), 0.2 + 0.6 * texture(), 0).astype(np.float32)
    assert content(head) is None
    plain = np.where(aperture("circle"), 0.6, 0).astype(np.float32)  # a disc is a thing
    assert content(plain) is None


@pytest.mark.parametrize("turn", [0, 70])
def test_mirror_images(turn):
    """Found, and said; not where they are not wanted."""
    fixed = texture()
    moving, truth = turned(fixed[:, ::-1], turn, 1.0, (3, -5), (260, 260))
    across = Affine(np.diag([1.0, -1.0]), np.array([0.0, SIZE[1] - 1.0]))
    result = found(fixed, moving)
    assert error(result.affine, truth.after(across), SIZE) < 1
    assert result.mirrored
    assert "mirrored left to right" in result.how
    if turn:
        assert not found(fixed, moving, mirror=False).mirrored


def test_a_symmetrical_body_in_place_is_not_mirrored():
    """A film beside its own mirror image: they lie on each other already."""
    half = texture()
    body = 0.5 * (half + half[:, ::-1]) + 0.25 * (texture(seed=5) - texture(seed=5)[:, ::-1])
    result = found(body, np.ascontiguousarray(body[:, ::-1]))
    assert not result.mirrored


def test_a_round_thing_is_turned_rightly():
    """Half a turn and mirror images fit it nearly as well; the headers do not at all."""
    y, x = np.mgrid[:220, :260] - np.array([95.0, 110.0]).reshape(2, 1, 1)
    ring = np.exp(-((np.hypot(y, x * 1.15) - 60) ** 2) / 60)
    fixed = (0.5 * ring + 0.12 * texture((220, 260)) * (np.hypot(y, x) < 80)).astype(np.float32)
    moving, truth = turned(fixed, 130, 0.8, (20, -12), (220, 250))
    result = found(fixed, moving)
    assert not result.mirrored
    assert error(result.affine, truth, fixed.shape) < 1.5


def test_folding_of_a_mirroring_map_is_relative_to_it(cli, tmp_path):
    """The whole way, and the stored field tells it again."""
    fixed = texture((130, 160))
    files = write_png(tmp_path / "f.png", fixed), write_png(tmp_path / "m.png", fixed[:, ::-1])
    ended = cli("register", *files, "--model", "none", "-a", 10, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "mirrored left to right" in ended.out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["alignment"]["mirrored"] is True
    assert report["metrics"]["adaptation"]["folding_percent"] == 0
    assert report["metrics"]["adaptation"]["ncc"] > 0.98
    told = cli("transform", "info", tmp_path / "out" / "field.mha")
    assert "mirrored" in told.out
    ended = cli("register", *files, "--model", "none", "-a", 10, "-o", tmp_path / "no", "--no-mirror", "-q")
    assert ended.code == 0, ended.err
    assert not json.loads((tmp_path / "no" / "report.json").read_text())["alignment"].get("mirrored")


def test_handedness_is_that_of_the_nearest_affine_map():
    grid = pixel_grid(torch.empty(1, 1, 40, 50))
    bend = 2 * torch.sin(grid.flip(1) / 4)
    mirror = torch.stack([torch.zeros(40, 50), 49 - 2 * grid[0, 1]])[None]
    assert handedness(bend) == 1
    assert handedness(mirror + bend) == -1
    folded = 12 * torch.sin(grid)
    assert (jacobian_determinant(folded) <= 0).any()
    assert handedness(folded) == 1


def test_headers_of_unlike_pixels_from_files(cli, tmp_path):
    """1 x 2 mm, seven rows off."""
    fixed, moving, _ = moved(0, (7, 0))
    thick = gaussian_filter(fixed, (0.8, 0))[::2]
    files = (
        write_itk(tmp_path / "f.nrrd", thick, spacing=(1.0, 2.0), origin=(0.0, 0.5)),
        write_itk(tmp_path / "m.nrrd", moving, spacing=(1.0, 1.0)),
    )
    ended = cli("register", *files, "--model", "none", "-a", 5, "-o", tmp_path / "out", "-q")
    assert ended.code == 0, ended.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["metrics"]["adaptation"]["ncc"] > 0.95
