"""Against SciPy, on random shapes: at the frame, in one piece or many, empty and full."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import ConvexHull

from cnnreg.images import morphology

SHAPES = [(31, 44), (17, 16), (5, 90)]


def random_masks():
    rng = np.random.default_rng(3)
    for shape in SHAPES:
        noise = rng.random(shape)
        smooth = ndimage.gaussian_filter(noise, 2)
        yield from (noise > 0.4, noise > 0.9, smooth > np.median(smooth), np.ones(shape, bool), np.zeros(shape, bool))


@pytest.mark.parametrize("mask", list(random_masks()))
class TestAgainstSciPy:
    def test_parts(self, mask):
        labels, count = morphology.parts(mask)
        expected, expected_count = ndimage.label(mask)
        assert count == expected_count
        assert (labels == expected).all()

    @pytest.mark.parametrize("times", [1, 3])
    def test_growing_and_shrinking(self, mask, times):
        assert (morphology.grown(mask, times) == ndimage.binary_dilation(mask, iterations=times)).all()
        for outside in (False, True):
            expected = ndimage.binary_erosion(mask, iterations=times, border_value=outside)
            assert (morphology.shrunk(mask, times, outside=outside) == expected).all()

    def test_thickness_and_holes(self, mask):
        assert morphology.is_thick(mask) == ndimage.binary_erosion(mask, np.ones((3, 3))).any()
        assert (morphology.filled(mask) == ndimage.binary_fill_holes(mask)).all()

    @pytest.mark.parametrize("radius", [1, 3])
    def test_opening(self, mask, radius):
        y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
        disc, margin = y**2 + x**2 <= (radius + 0.5) ** 2, radius + 1
        wide = ndimage.binary_erosion(np.pad(mask, margin, mode="edge"), disc, border_value=1)
        expected = ndimage.binary_dilation(wide, disc)[margin:-margin, margin:-margin]
        assert (morphology.opened(mask, radius) == expected).all()

    def test_hull(self, mask):
        cells = np.argwhere(mask)
        corners = (cells[:, None] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])).reshape(-1, 2)
        expected = ConvexHull(corners).volume if len(cells) else 0.0
        assert morphology.hull_area(mask) == pytest.approx(expected)


def test_hull_of_a_single_cell_and_of_a_triangle():
    mask = np.zeros((9, 12), bool)
    mask[4, 7] = True
    assert morphology.hull_area(mask) == 1
    mask[[2, 4], [7, 2]] = True  # hull of three unit squares
    corners = (np.argwhere(mask)[:, None] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])).reshape(-1, 2)
    assert morphology.hull_area(mask) == pytest.approx(ConvexHull(corners).volume)


def test_a_registration_does_not_import_scipy():
    """It takes as long to import as a registration takes."""
    code = "import cnnreg.interface.registration, sys; print(*sorted(m.split('.')[0] for m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scipy", "skimage", "matplotlib"} & set(loaded)
