"""Descriptors: the network, the matches, robust fits, and the initial transform that comes from them."""

import csv

import numpy as np
import pytest
import torch

from cnnreg.config import preset
from cnnreg.engine.consensus import Matches, explain, fitted, least_squares
from cnnreg.engine.finding import find
from cnnreg.engine.initial import find_initial
from cnnreg.geometry.affine import Affine
from cnnreg.pairs.dataset import read_landmarks
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.reading import read_side
from tests.conftest import SHARED_DATA
from tests.engine.test_alignment import HERE, error, tensor
from tests.engine.test_evidence import moved, texture


@pytest.fixture(scope="module")
def features():
    from cnnreg.learning.features.describing import load_features

    return load_features("universal-2d")


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


@pytest.mark.parametrize("upright", [False, True])
def test_strips_are_looked_at_as_finely_as_their_width_needs(features, upright):
    """Line scans that are 35 pixels apart: of their length that is next to nothing."""
    large = texture((100, 2900), 8)
    fixed, moving = large[10:66, 20:2720], large[18:74, 55:2755]
    shift = [-8.0, -35.0]
    if upright:
        fixed, moving, shift = fixed.T.copy(), moving.T.copy(), shift[::-1]
    result = find_initial(tensor(fixed), tensor(moving), HERE, method="auto", features=features)
    assert error(result.affine, Affine(np.eye(2), np.array(shift)), fixed.shape) < 0.5


def test_a_strip_is_found_in_a_picture(features):
    picture = texture((330, 410), 5)
    strip = picture[170:234, 40:340]
    result = find_initial(tensor(strip), tensor(picture), HERE, method="auto", features=features)
    assert error(result.affine, Affine(np.eye(2), np.array([170.0, 40.0])), strip.shape) < 0.5


def test_half_a_turn_of_what_is_nearly_symmetric_does_not_hide_its_mirror_image(features):
    one = texture((230, 280), 6)
    image = 0.65 * (one + one[::-1]) / 2 + 0.35 * texture((230, 280), 9)
    result = find_initial(tensor(image), tensor(image[:, ::-1].copy()), HERE, method="auto", features=features)
    truth = Affine(np.diag([1.0, -1.0]), np.array([0.0, 279.0]))
    assert error(result.affine, truth, image.shape) < 0.5


def test_a_rigid_search_keeps_sizes(features):
    fixed, moving, truth = moved(40, (10, 5))
    found = find_initial(tensor(fixed), tensor(moving), HERE, method="rigid", features=features)
    np.testing.assert_allclose(found.affine.matrix @ found.affine.matrix.T, np.eye(2), atol=5e-3)
    assert error(found.affine, truth, fixed.shape) < 1.5


@pytest.mark.data
def test_fine_details_are_looked_at_where_there_is_nothing_else(features):
    """A noisy infrared image: at half of the resolution the right place is none of the best ten."""
    folder = SHARED_DATA / "any_pair"
    with (folder / "pairs.csv").open(newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if row["pair_id"] == "remote_sensing_infrared_optical_io1")
    request = Request(folder / row["fixed"], folder / row["moving"])
    images = [read_side(given, preset("default")).seen for given in request.given]
    found = find_initial(*images, HERE, method="auto", features=features)
    here, there = read_landmarks(folder / row["points_fixed"], folder / row["points_moving"])
    assert np.median(np.linalg.norm(found.affine(here) - there, axis=1)) < 5


def test_adapted_descriptors_are_asked_where_the_others_say_too_little(features):
    """Here the first say nothing, for they are the same everywhere."""
    fixed, moving, truth = moved(150, (12, -20))

    def blind(images):
        descriptors, logits = features(images)
        return torch.ones_like(descriptors) / descriptors.shape[1] ** 0.5, logits

    arguments = tensor(fixed), tensor(1 - moving), HERE
    assert find(*arguments, blind, method="auto", spacings=SQUARE, mirror=True, others=list) is None
    found = find_initial(*arguments, method="auto", features=blind, adapt=lambda: features)
    assert found.found is not None
    assert error(found.affine, truth, fixed.shape) < 1.5


def test_images_of_nothing_have_no_matches(features):
    flat = np.full((120, 150), 0.5, np.float32)
    arguments = tensor(flat), tensor(flat), HERE, features
    assert find(*arguments, method="auto", spacings=SQUARE, mirror=True, others=list) is None
