"""Affine maps in words and numbers: what they are made of is what is told."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from cnnreg.geometry.affine import Affine
from cnnreg.geometry.decomposition import decompose
from tests.conftest import Ended

SIZE = (40, 61)


def about_centre(matrix: np.ndarray, shift: tuple[float, float] = (0.0, 0.0)) -> Affine:
    """A map of pixels (row, column) that leaves the centre in its place but for ``shift`` (down, right)."""
    centre = (np.array(SIZE) - 1) / 2
    return Affine(matrix, centre + np.array(shift) - matrix @ centre)


def rotation(degrees: float) -> np.ndarray:
    """Clockwise as seen, with rows downwards."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, s], [-s, c]])  # right (0, 1) goes to (s, c), downwards


@pytest.mark.parametrize("degrees", [-170, -30, 0, 12.5, 90])
def test_what_a_map_was_made_of(degrees: float):
    parts = decompose(about_centre(1.2 * rotation(degrees), (4, -7)), SIZE)
    assert (parts.rotation, parts.scale, parts.stretch) == pytest.approx((degrees, 1.2, 1))
    assert parts.translation == pytest.approx((-7, 4))
    assert not parts.mirrored


def test_rotation_is_physical():
    """Pixels twice as long as wide: a rotation in mm, which in pixels is a shear, is a rotation."""
    measure = np.diag([2.0, 1.0])
    parts = decompose(about_centre(np.linalg.inv(measure) @ rotation(30) @ measure), SIZE, (2.0, 1.0))
    assert (parts.rotation, parts.scale, parts.stretch) == pytest.approx((30, 1, 1))


def test_mirror_images_and_stretch_are_said():
    flip = np.diag([1.0, -1.0])
    parts = decompose(about_centre(rotation(-20) @ np.diag([1.0, 2.0]) @ flip), SIZE)
    assert parts.mirrored
    assert parts.stretch == pytest.approx(2)
    assert str(parts).startswith(
        "mirrored left to right, rotation 20.0 degrees counter-clockwise, scale 1.414, stretch 2"
    )
    assert str(parts).endswith("translation (0.0, 0.0) px (x, y)")


def test_nothing_has_no_sign():
    """A translation that rounds to 0 is 0."""
    assert str(decompose(about_centre(np.eye(2), (-0.01, -0.02)), SIZE)).endswith("translation (0.0, 0.0) px (x, y)")


def test_a_mirror_image_is_no_rotation(cli: Callable[..., Ended], tmp_path: Path):
    """What 'transform info' tells of an affine transform that mirrors left to right, with a rotation after it."""
    matrix = rotation(20) @ np.diag([1.0, -1.0])  # row, column
    transform = sitk.AffineTransform(matrix[::-1, ::-1].ravel().tolist(), [0.0, 0.0])
    sitk.WriteTransform(transform, str(tmp_path / "t.tfm"))
    ended = cli("transform", "info", tmp_path / "t.tfm")
    assert (ended.code, "20.0 degrees clockwise (y downwards), after mirroring left to right" in ended.out) == (0, True)
