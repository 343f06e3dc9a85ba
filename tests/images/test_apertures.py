"""Fields of view that are not rectangles: found where there is one, and not where a thing has an outline of its own."""

import numpy as np
import pytest

from cnnreg.images.padding import content
from tests.images.test_padding import check, texture

SIZE = (300, 340)


def plane(size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates from the middle, in units of the shorter side."""
    y, x = np.mgrid[: size[0], : size[1]] - (np.array(size).reshape(2, 1, 1) - 1) / 2
    return y / min(size), x / min(size)


def apertures() -> dict[str, np.ndarray]:
    y, x = plane()
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    from_apex, across = np.hypot(y + 0.6, x), np.degrees(np.arctan2(x, y + 0.6))
    uneven = 1 + 0.006 * np.sin(2 * angle) + 0.003 * np.cos(5 * angle)
    tab = (np.abs(y + x + 0.02) < 0.03) & (np.abs(x - y) < 0.74) & (x > y)
    return {
        "circle": radius < 0.47,
        "cut circle": (radius < 0.53) & (np.abs(y) < 0.46),
        "sector": (from_apex < 1.08) & (from_apex > 0.25) & (np.abs(across) < 33),
        "octagon": (np.maximum(np.abs(y), np.abs(x)) < 0.47) & (np.abs(y) + np.abs(x) < 0.66),
        "not quite round": radius < 0.495 * uneven,
        "with a notch": (radius < 0.49 * uneven) | tab,
    }


@pytest.mark.parametrize("name", list(apertures()))
@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_apertures(name, ground):
    truth = apertures()[name]
    image = np.where(truth, 0.2 + 0.6 * texture(*SIZE), ground)
    found = content(image)
    assert found is not None
    assert (found & ~truth).mean() < 0.002  # slivers where the rim of the image cuts it
    assert found.sum() > 0.85 * truth.sum()


@pytest.mark.parametrize("width", [0.02, 0.06])
def test_soft_rim(width):
    """What fades into the ground is left out as far as it is dim."""
    y, x = plane()
    light = np.clip((0.49 - np.hypot(y, x)) / width, 0, 1)
    found = content(light * (0.4 + 0.5 * texture(*SIZE)))
    assert found is not None
    assert light[found].min() > 0.3
    assert found[light == 1].mean() > 0.9


def things() -> dict[str, np.ndarray]:
    y, x = plane()
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    return {
        "head": (y / 0.49) ** 2 + (x / 0.42) ** 2 < 1,
        "wide head": (y / 0.45) ** 2 + (x / 0.55) ** 2 < 1,
        "section": radius < 0.45 + 0.03 * np.sin(3 * angle) + 0.02 * np.cos(2 * angle) + 0.01 * np.sin(7 * angle),
        "nearly round section": radius < 0.4 * (1 + 0.006 * np.sin(2 * angle) + 0.02 * np.cos(5 * angle)),
    }


@pytest.mark.parametrize("name", list(things()))
@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_things(name, ground):
    """The outline of a head or a section tells where it lies."""
    assert content(np.where(things()[name], 0.2 + 0.6 * texture(*SIZE), ground)) is None


def test_a_plain_disc_is_a_thing():
    y, x = plane()
    assert content(np.where(np.hypot(y, x) < 0.49, 0.7, 0.0)) is None


def test_aperture_at_every_size():
    for size in [(1200, 1000), (480, 640), (120, 90)]:
        y, x = plane(size)
        truth = np.hypot(y, x) < 0.48
        check(np.where(truth, 0.2 + 0.6 * texture(*size), 0.0), truth)
