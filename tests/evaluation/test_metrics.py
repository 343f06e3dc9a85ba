"""Metrics on shapes whose overlap and distances are known by hand."""

import numpy as np
import pytest

from cnnreg.evaluation import metrics


def square(top: int, left: int, side: int = 10, size: tuple[int, int] = (40, 52)) -> np.ndarray:
    mask = np.zeros(size, dtype=np.int64)
    mask[top : top + side, left : left + side] = 1
    return mask


def test_identical_masks():
    """DSC 1, distances 0."""
    result = metrics.overlap(square(5, 7), square(5, 7), (1.25, 1.25))
    assert (result["dsc"], result["cmd_px"], result["hd95_px"], result["cmd_mm"]) == (1, 0, 0, 0)


def test_shifted_squares_overlap_by_counting():
    """A 10x10 square shifted by 3 shares 7 of 10 columns; DSC = 2 * 70 / 200."""
    assert metrics.overlap(square(5, 7), square(5, 10), None)["dsc"] == pytest.approx(0.7)


def test_distances_of_concentric_squares():
    """A square 2 pixels larger on each side: every inner contour pixel is 2 away, corners of the outer one sqrt(8)."""
    inner, outer = square(10, 10, side=11) == 1, square(8, 8, side=15) == 1
    cmd, hd95 = metrics.contour_distances(inner, outer)
    there = 2.0
    outline = metrics.contour(outer)
    nearest = metrics.contour(inner)
    back = np.sqrt(((outline[:, None] - nearest[None]) ** 2).sum(-1)).min(1)
    assert len(outline) == 4 * 14
    assert cmd == pytest.approx((there + back.mean()) / 2)
    assert hd95 == pytest.approx(max(2.0, np.percentile(back, 95)))


def test_distances_follow_the_spacing_of_each_axis():
    """Squares one above the other by 4 rows, on pixels of 2.5 x 0.5 mm: bars of 4 rows are 10 mm."""
    a, b = square(5, 7, side=1), square(9, 7, side=1)
    result = metrics.overlap(a, b, (2.5, 0.5))
    assert (result["cmd_px"], result["cmd_mm"], result["hd95_mm"]) == (4, 10, 10)
    result = metrics.overlap(square(5, 7, side=1), square(5, 11, side=1), (2.5, 0.5))
    assert (result["cmd_px"], result["cmd_mm"]) == (4, 2)


def test_distances_agree_with_brute_force():
    """Random blobs, non-square, anisotropic: the distance transform gives what all pairs of contour pixels give."""
    random = np.random.default_rng(3)
    a, b = (random.random((23, 31)) > 0.7 for _ in range(2))
    spacing = np.array([1.5, 0.7])
    points_a, points_b = metrics.contour(a) * spacing, metrics.contour(b) * spacing
    distances = np.sqrt(((points_a[:, None] - points_b[None]) ** 2).sum(-1))
    there, back = distances.min(1), distances.min(0)
    cmd, hd95 = metrics.contour_distances(a, b, (1.5, 0.7))
    assert cmd == pytest.approx((there.mean() + back.mean()) / 2)
    assert hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))


@pytest.mark.parametrize(("high_a", "high_b"), [(1, 255), (255, 1), (255, 255), (1, 1), (7, 255)])
def test_two_binary_masks_are_the_same_structure(high_a, high_b):
    """0/1 against 0/255, in any combination."""
    result = metrics.overlap(square(5, 7) * high_a, square(5, 10) * high_b, None)
    assert result["dsc"] == pytest.approx(0.7)
    assert len(result["labels"]) == 1


def test_several_labels_are_scored_one_by_one():
    """Mean over the labels; one that is missing on one side counts as DSC 0 and has no distance."""
    a = square(2, 2) + 2 * square(20, 20) + 5 * square(2, 30)
    b = square(2, 2) + 2 * square(20, 23)
    result = metrics.overlap(a, b, None)
    assert {label: values["dsc"] for label, values in result["labels"].items()} == {
        "1": 1.0,
        "2": pytest.approx(0.7),
        "5": 0.0,
    }
    assert result["labels"]["5"]["cmd_px"] is None
    assert result["dsc"] == pytest.approx(1.7 / 3)
    assert result["cmd_px"] == pytest.approx(result["labels"]["2"]["cmd_px"] / 2)


def test_empty_masks_have_no_overlap_and_no_distance():
    """Nothing on both sides is no label at all."""
    nothing = np.zeros((20, 30), dtype=np.int64)
    assert metrics.overlap(nothing, nothing, None)["dsc"] is None
    assert metrics.overlap(nothing, square(2, 2, size=(20, 30)), None)["dsc"] == 0


def test_landmark_errors_in_pixels_and_mm():
    """(3, 4) and (0, 0) pixels off, on 2 x 0.5 mm pixels of an image with diagonal 50."""
    points = np.array([[10.0, 10.0], [5.0, 6.0]])
    target = points - np.array([[3.0, 4.0], [0.0, 0.0]])
    result = metrics.landmark_error(points, target, (2.0, 0.5), 50.0)
    assert result["tre_px"] == 2.5
    assert result["tre_max_px"] == 5
    assert result["tre_median_px"] == 2.5
    assert result["rtre"] == pytest.approx(0.05)
    assert result["tre_mm"] == pytest.approx(np.hypot(6, 2) / 2)


def test_folding_and_spread_of_the_jacobian():
    """One of eight pixels folds; without folds, the standard deviation is that of the logarithm."""
    jacobian = np.array([[1, 1, 1, -0.5], [1, 1, 1, 1]])
    assert metrics.regularity(jacobian)["folding_percent"] == 12.5
    jacobian = np.exp(np.array([[-0.1, 0.1], [0.1, -0.1]]))
    assert metrics.regularity(jacobian) == {"folding_percent": 0, "sd_log_jacobian": pytest.approx(0.1)}


def test_intensity_measures():
    """MAD by hand; NCC like numpy; constant images correlate with nothing."""
    a, b = np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.5, 0.25]])
    assert metrics.mean_absolute_difference(a, b) == pytest.approx(0.3125)
    assert metrics.correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert metrics.correlation(a, np.ones((2, 2))) == 0


def textured(seed: int, size: tuple[int, int] = (40, 52)) -> np.ndarray:
    image = np.random.default_rng(seed).random(size)
    return (image - image.min()) / np.ptp(image)


def test_normalised_mutual_information_agrees_with_scikit_image():
    """Of unrelated and of related images, with as many bins."""
    from skimage.metrics import normalized_mutual_information

    a, noise = textured(1), textured(2)
    for b in (noise, textured(3) * 0.5 + a * 0.5, a**2):
        b = (b - b.min()) / np.ptp(b)
        expected = normalized_mutual_information(a, b, bins=64)
        assert metrics.normalised_mutual_information(a, b) == pytest.approx(expected, abs=1e-9)


def test_contrast_changes_mad_and_ncc_but_not_nmi():
    """An inverted image that lies right has NMI 2; a constant one tells nothing."""
    a = (np.floor(textured(1) * 64) + 0.5).clip(0.5, 63.5) / 64  # centres of bins
    assert metrics.normalised_mutual_information(a, a) == pytest.approx(2)
    assert metrics.normalised_mutual_information(a, 1 - a) == pytest.approx(2)
    assert metrics.correlation(a, 1 - a) == pytest.approx(-1)
    shifted = np.roll(1 - a, 3, axis=1)
    assert metrics.normalised_mutual_information(a, shifted) < 1.9
    assert metrics.normalised_mutual_information(a, np.full_like(a, 0.4)) == pytest.approx(1)
    assert metrics.normalised_mutual_information(np.zeros((3, 4)), np.zeros((3, 4))) == 1
