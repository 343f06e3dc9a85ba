"""Descriptors: the network, the matches, robust fits, and the initial transform and verdict that come from them."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from cnnreg.engine.consensus import Matches, explain, fitted, least_squares
from cnnreg.engine.finding import find
from cnnreg.engine.initial import find_initial
from cnnreg.engine.verdict import Agreement, Verdict, compare
from cnnreg.geometry.affine import Affine
from tests.engine.test_alignment import HERE, error, tensor
from tests.engine.test_evidence import moved, texture


@pytest.fixture(scope="module")
def features():
    from cnnreg.learning.features.describing import load_features

    return load_features("universal-2d")


def assess(fixed, moving, features) -> Verdict:
    """Of two pictures that lie on each other, or not."""
    agreement = compare(tensor(fixed), tensor(moving), features, spacing=(1.0, 1.0))
    return agreement.verdict(np.zeros((2, *fixed.shape), np.float32))


SQUARE = ((1.0, 1.0), (1.0, 1.0))


def scattered(count: int, wrong: int, truth: Affine, seed: int = 0) -> Matches:
    """Matches of which ``wrong`` are random."""
    random = np.random.default_rng(seed)
    here = random.uniform(0, 200, (count, 2))
    there = truth(here) + random.normal(0, 0.5, here.shape)
    there[:wrong] = random.uniform(0, 200, (wrong, 2))
    return Matches(*(torch.from_numpy(x).float() for x in (here, there, np.ones(count))))


@pytest.mark.parametrize("kind", ["affine", "similarity", "rigid"])
def test_least_squares_finds_the_map_it_was_made_with(kind):
    angle, size = 0.4, 1.0 if kind == "rigid" else 1.3
    matrix = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if kind == "affine":
        matrix = matrix @ np.array([[1.1, 0.2], [0.0, 0.9]])
    truth = Affine(matrix, np.array([5.0, -8.0]))
    here = np.random.default_rng(1).uniform(0, 100, (30, 2))
    weights = np.random.default_rng(2).uniform(0.1, 1, (2, 30))
    matrices, offsets = least_squares(here, truth(here), weights, kind)
    for matrix, offset in zip(matrices, offsets, strict=True):
        np.testing.assert_allclose(matrix, truth.matrix, atol=1e-9)
        np.testing.assert_allclose(offset, truth.offset, atol=1e-7)


def test_a_few_right_matches_win_over_many_wrong_ones():
    truth = Affine(np.array([[0.98, -0.2], [0.2, 0.98]]), np.array([12.0, -7.0]))
    matches = scattered(300, 240, truth)
    found = explain(matches, "affine", reach=5.0, turn=0.6)
    assert found is not None
    assert error(found.affine, truth, (200, 200)) < 1
    assert 50 < found.matches < 80  # the sixty, and some by chance


def test_no_map_is_made_of_too_few_matches():
    assert explain(scattered(5, 0, HERE), "affine", reach=5.0, turn=0.6) is None
    starts = [Affine(np.eye(2), np.array([1e4, 0])), HERE]
    far, near = fitted(scattered(80, 40, HERE), starts, 5.0, "affine")
    assert far is None
    assert near is not None
    assert error(near, HERE, (200, 200)) < 1


def contrasts(image: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "alike": image,
        "inverted": 1 - image,
        "folded": np.abs(2 * image - 1),
        "dark": image**3,
    }


@pytest.mark.parametrize("contrast", ["alike", "inverted", "folded", "dark"])
@pytest.mark.parametrize(("degrees", "shift"), [(5, (8, -10)), (150, (12, -20))])
def test_the_place_is_found_whatever_the_contrast(features, contrast, degrees, shift):
    fixed, moving, truth = moved(degrees, shift)
    other = contrasts(moving)[contrast].astype(np.float32)
    found = find_initial(tensor(fixed), tensor(other), HERE, method="auto", features=features)
    assert found.found is not None
    assert error(found.affine, truth, fixed.shape) < 1.5


def test_what_is_aligned_stays_exactly(features):
    image = texture()
    found = find_initial(tensor(image), tensor(1 - image), HERE, method="auto", features=features)
    assert found.affine is HERE
    assert not found.needed


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_other_sizes_are_tried(features, factor):
    image = torch.from_numpy(texture())[None, None]
    other = torch.nn.functional.interpolate(image, scale_factor=factor, mode="bilinear", antialias=True)[0, 0].numpy()
    found = find_initial(tensor(image[0, 0].numpy()), tensor(other), HERE, method="auto", features=features)
    assert found.affine.size == pytest.approx(factor, rel=0.02)


def test_a_rigid_search_keeps_sizes(features):
    fixed, moving, truth = moved(40, (10, 5))
    found = find_initial(tensor(fixed), tensor(moving), HERE, method="rigid", features=features)
    np.testing.assert_allclose(found.affine.matrix @ found.affine.matrix.T, np.eye(2), atol=5e-3)
    assert error(found.affine, truth, fixed.shape) < 1.5


def test_images_of_nothing_have_no_matches(features):
    flat = np.full((120, 150), 0.5, np.float32)
    arguments = tensor(flat), tensor(flat), HERE, features
    assert find(*arguments, method="auto", spacings=SQUARE, mirror=True, others=list) is None
    verdict = assess(flat, flat, features)
    assert verdict.name == "failed"


def test_the_verdict_tells_aligned_from_displaced_and_from_unrelated(features):
    image, other = texture(seed=3), texture(seed=40)
    shifted = np.roll(image, (25, 25), (0, 1))
    verdicts = [assess(image, x, features) for x in (1 - image, shifted, other)]
    assert [verdict.name for verdict in verdicts] == ["good", "failed", "failed"]
    assert verdicts[0].confidence.shape == image.shape
    assert verdicts[0].confidence.mean() > 0.7 > 0.3 > verdicts[1].confidence.mean()


def test_half_of_it_displaced_shows_in_the_map_of_confidence(features):
    image = texture(seed=5)
    half = image.copy()
    half[:, 140:] = np.roll(image, 30, 0)[:, 140:]
    confidence = assess(image, half, features).confidence
    assert confidence[:, :110].mean() > 2 * confidence[:, 170:].mean()


def test_a_true_field_is_told_from_one_that_was_made_up(features):
    """Half of the truth is half explained; the verdict counts what a field has put right."""
    image = texture(seed=8)
    height, width = image.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    truth = np.stack([6 * np.sin(columns / 40), 6 * np.cos(rows / 35)]).astype(np.float32)
    # moved(p + truth(p)) = image(p), to the second order
    moved = map_coordinates(image, np.stack([rows, columns]) - truth, order=1, mode="nearest")
    other = np.stack([6 * np.cos(columns / 27), 6 * np.sin(rows / 20)]).astype(np.float32)
    agreement = compare(tensor(image), tensor(1 - moved), features, spacing=(1.0, 1.0))
    assert agreement.explained(truth) == pytest.approx(1, abs=0.3)
    assert agreement.explained(2 * truth) == pytest.approx(0.5, abs=0.15)
    assert agreement.explained(other) < 0.25
    assert (
        agreement.verdict(truth).share > agreement.verdict(np.zeros_like(truth)).share > agreement.verdict(other).share
    )
    few = Agreement(agreement.places[:9], agreement.offsets[:9], agreement.reach, agreement.size)
    assert few.explained(other) is None


def test_strict_exits_with_three(cli, pair_files, tmp_path):
    from tests.conftest import write_png

    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, seed in zip(paths, (1, 77), strict=True):
        write_png(path, (255 * texture(seed=seed)).astype(np.uint8))
    arguments = ["register", *paths, "--model", "none", "-a", 1, "-o", tmp_path / "o"]
    assert cli(*arguments).code == 0
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["verdict"]["class"] == "failed"
    assert cli(*arguments, "--strict", "--overwrite").code == 3
    assert (tmp_path / "o" / "warped.png").exists()
