"""Padding is found where there is some: against frames, bars, corners and text that the tests put there themselves."""

import io

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from cnnreg.images.padding import content


def texture(height: int, width: int) -> np.ndarray:
    """Blobs in [0, 1]."""
    rng = np.random.default_rng([height, width])
    image = ndimage.gaussian_filter(rng.standard_normal((height, width)), max(height / 40, 1))
    return (image - image.min()) / np.ptp(image)


def turned(height: int, width: int, angle: float, half: tuple[float, float]) -> np.ndarray:
    """A rectangle in the middle, with half sides in units of the image's."""
    y, x = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2]).reshape(2, 1, 1)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return (np.abs(cos * y + sin * x) < half[0] * height) & (np.abs(cos * x - sin * y) < half[1] * width)


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    PILImage.fromarray(np.rint(image * 255).astype(np.uint8)).save(file, "jpeg", quality=quality)
    return np.asarray(PILImage.open(file)) / 255.0


def margin(size: tuple[int, ...]) -> float:
    """Pixels that what is found may be short of the content."""
    return 4 + max(size) / 60


def check(image: np.ndarray, truth: np.ndarray, inner: np.ndarray | None = None) -> None:
    """What was found is content, and nearly all of it: at least ``inner``."""
    found = content(image)
    assert found is not None
    assert found.shape == image.shape
    assert found.dtype == bool
    assert not (found & ~truth).any()
    if inner is None:
        inner = ndimage.distance_transform_edt(np.pad(truth, 1, mode="edge"))[1:-1, 1:-1] > margin(image.shape)
    assert (inner & ~found).mean() < 0.005  # the tips of what a turned border leaves, where the frame cuts it


SIZES = [(1024, 1000), (300, 400), (100, 80)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_frame(size, value):
    truth = np.zeros(size, bool)
    high, wide = size[0] // 12, size[1] // 7
    truth[high : -2 * high, wide:-wide] = True
    check(np.where(truth, texture(*size), value), truth)


@pytest.mark.parametrize("size", SIZES)
def test_bars_of_two_values(size):
    """White above, black below; then beside; then at one side only."""
    image = texture(*size)
    bar = size[0] // 10
    image[:bar], image[-bar:] = 1, 0
    truth = np.zeros(size, bool)
    truth[bar:-bar] = True
    check(image, truth)
    check(image.T, truth.T)
    check(image[: -2 * bar], truth[: -2 * bar])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("angle", [3, 7, 30, 45, 83])
def test_turned_border(size, angle):
    """A collimator's, and the corners that a rotation leaves."""
    for half in [(0.3, 0.33), (0.5, 0.5)]:
        truth = turned(*size, angle, half)
        less = half[0] - margin(size) / size[0], half[1] - margin(size) / size[1]
        check(np.where(truth, texture(*size), 0.0), truth, turned(*size, angle, less))


@pytest.mark.parametrize("quality", [90, 60])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_compression(quality, value):
    truth, inner = (turned(360, 400, 0, half) for half in [(0.4, 0.42), (0.36, 0.38)])
    image = np.where(truth, 0.15 + 0.7 * texture(360, 400), value)
    check(compressed(image, quality), truth, inner)


def test_noisy_border():
    rng = np.random.default_rng(0)
    truth = turned(512, 512, 5, (0.4, 0.4))
    check((np.where(truth, texture(512, 512), 0.1) + 0.01 * rng.standard_normal((512, 512))).clip(0, 1), truth)


@pytest.mark.parametrize("value", [0, 1])
def test_text_in_the_border_is_padding(value):
    truth = np.zeros((400, 400), bool)
    truth[60:-60, 30:-30] = True
    image = np.where(truth, texture(400, 400), value) * 255
    drawn = PILImage.fromarray(image.astype(np.uint8))
    draw = ImageDraw.Draw(drawn)
    for place in [(0, 0), (120, 15), (250, 370)]:
        draw.text(place, "R  1234567", fill=255 * (1 - value), font=ImageFont.load_default(20))
    check(np.asarray(drawn) / 255.0, truth)


def test_holes_are_content():
    """Also a dark one at the edge, if it is small."""
    truth = turned(300, 300, 0, (0.4, 0.4))
    image = np.where(truth, 0.2 + 0.8 * texture(300, 300), 0.0)
    image[120:180, 100:160] = 0
    image[140:160, 30:40] = 0
    check(image, truth)


def test_bar_beside_a_sky():
    """A flat part of the content at the rim does not hide the padding."""
    image = 0.1 + 0.6 * texture(300, 400)
    y, x = np.mgrid[:300, :400]
    image[(y < 150) & ((x - 200) ** 2 + (y - 150) ** 2 > 120**2)] = 0.8
    image[:, 350:] = 0
    truth = np.zeros(image.shape, bool)
    truth[:, :350] = True
    check(image, truth)


OUTLINES = {
    "ellipse": lambda y, x: (y / 0.4) ** 2 + (x / 0.3) ** 2 < 1,
    "blunt triangle": lambda y, x: np.hypot(y, x) + 0.05 * np.cos(3 * np.arctan2(y, x)) < 0.42,
    "two circles": lambda y, x: np.minimum(np.hypot(y, x - 0.18), np.hypot(y, x + 0.18)) < 0.3,
    "triangle": lambda y, x: (y < 0.4) & (y > -0.4 + 2 * np.abs(x)),
    "ring": lambda y, x: np.abs(np.hypot(y, x) - 0.35) < 0.08,
    "cross": lambda y, x: (np.abs(y) < 0.15) | (np.abs(x) < 0.15),
    "dark corner": lambda y, x: (y > -0.3) | (x > -0.2),
    "dark wedge": lambda y, x: y < 0.5 + 3 * (0.4 - x),
    "small thing": lambda y, x: (np.abs(y) < 0.1) & (np.abs(x) < 0.1),
    "speck": lambda y, x: (np.abs(y) < 0.003) & (np.abs(x) < 0.003),
}


@pytest.mark.parametrize("outline", OUTLINES.values(), ids=OUTLINES)
@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_ground_is_not_padding(outline, ground):
    """What is around a thing tells its outline."""
    for size in [(400, 400), (300, 220), (64, 64)]:
        y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in size)
        shape = np.broadcast_to(outline(y[:, None], x), size)
        assert content(np.where(shape, 0.2 + 0.6 * texture(*size), ground)) is None


@pytest.mark.parametrize("size", [(1024, 1024), (300, 400), (33, 200), (64, 64), (16, 16)])
def test_nothing_to_find(size):
    """Texture, noise, a constant, ramps, halves, a frame too thin to matter."""
    y, x = ((np.arange(n) + 0.5) / n for n in size)
    ramps = [np.broadcast_to(x, size), np.broadcast_to(y[:, None], size), (x + y[:, None]) / 2, (x * y[:, None])]
    noise = np.random.default_rng(0).random(size)
    thin = np.pad(texture(*size)[2:-2, 2:-2], 2) if min(size) > 1000 else noise
    for image in [texture(*size), noise, np.full(size, 0.3), np.zeros(size), *ramps, thin]:
        assert content(image) is None


def test_camera_is_not_padded():
    data = pytest.importorskip("skimage.data")
    for image in [data.camera(), data.coins(), data.moon(), data.page(), data.brick()]:
        assert content(image.astype(np.float32) / 255) is None


def test_tiny():
    image = np.pad(texture(12, 12), 2)
    found = content(image)
    assert found is not None
    assert found[6:10, 6:10].all()
    assert not found[:3].any()
    assert content(texture(16, 16)) is None


def test_kinds_of_numbers():
    """float32 as float64; views that are not contiguous."""
    image = np.pad(texture(200, 300), 20)
    masks = [content(image), content(image.astype(np.float32)), content(image.T), content(image[::-1])]
    assert all(mask is not None for mask in masks)
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2].T).mean() < 0.03
    assert (masks[0] != masks[3][::-1]).mean() < 0.03
