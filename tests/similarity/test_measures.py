"""Squares, mutual information and MIND: numerical gradients, ranges, and what they are blind to."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from cnnreg.similarity.descriptors import mind
from cnnreg.similarity.differentiable import Climb
from cnnreg.similarity.measures import MutualInformation, Squares
from tests.learning.test_objective import noise


def smooth(seed: int, shape: tuple[int, ...] = (1, 1, 14, 18)) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(noise(*shape[:2], shape[2] + 2, shape[3] + 2, seed=seed), 3, 1)


MASK = (noise(1, 1, 14, 18, seed=4) > 0.3).double()
MAKERS = {
    "squares": lambda fixed, mask: Squares(fixed, mask),
    "mutual information": lambda fixed, mask: MutualInformation(fixed, (-0.2, 1.2), mask),
}


@pytest.mark.parametrize("mask", [None, MASK], ids=["everywhere", "masked"])
@pytest.mark.parametrize("kind", MAKERS)
def test_the_derivative_is_the_numerical_one(kind, mask):
    """gradcheck of the derivative by hand; outside the mask it is 0."""
    measure = MAKERS[kind](smooth(0), mask)

    warped = smooth(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: Climb.apply(w, measure), (warped,), eps=1e-7, atol=1e-6, rtol=1e-4)
    value, slope, curvature = measure(warped.detach())
    assert value.item() < 1
    assert (curvature >= 0).all()
    if mask is not None:
        assert slope[mask == 0].abs().max() == 0


@pytest.mark.parametrize("kind", MAKERS)
def test_an_image_is_most_like_itself_and_batches_are_apart(kind):
    fixed = torch.cat([smooth(0), smooth(5)])
    measure = MAKERS[kind](fixed, None)
    same, slope, _ = measure(fixed)
    other = measure(torch.cat([smooth(0), smooth(6)]))[0]
    assert other[0].item() == pytest.approx(same[0].item(), abs=1e-9)
    assert other[1] < same[1] - 0.05
    if kind == "squares":
        assert_close(same, torch.ones(2, dtype=torch.float64))
        assert slope.abs().max() == 0


def test_mutual_information_by_its_definition():
    """On images of few values, far apart in bins, the blurred histogram is nearly the plain one."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, (40, 50))
    b = np.where(rng.random((40, 50)) < 0.7, (3 * a) % 4, rng.integers(0, 4, (40, 50)))
    p = np.histogram2d(a.ravel(), b.ravel(), bins=4)[0] / a.size
    rows, columns = p.sum(1, keepdims=True), p.sum(0, keepdims=True)
    expected = (p * np.log(p / rows / columns)).sum() / -(rows * np.log(rows)).sum()
    images = [torch.from_numpy(x / 3.0)[None, None] for x in (a, b)]
    measure = MutualInformation(images[0], (0.0, 1.0))
    told = measure(images[1])[0].item()
    spread = 0.5 * np.log(2 * np.pi * np.e)  # entropy that the blur adds to each margin
    entropy = -(rows * np.log(rows)).sum()
    assert told * (entropy + spread) / entropy == pytest.approx(expected, rel=0.12)


def test_mutual_information_does_not_mind_the_contrast():
    """Inverted, or bent back and forth: as telling as the image itself, where squares fail."""
    fixed = smooth(0, (1, 1, 40, 50))
    measure = MutualInformation(fixed, (0.0, 1.0))
    bent = (fixed * 2 - 1).abs()
    assert measure(1 - fixed)[0].item() == pytest.approx(measure(fixed)[0].item(), rel=0.05)
    assert measure(bent)[0] > 3 * measure(smooth(3, (1, 1, 40, 50)))[0]
    assert Squares(fixed)(1 - fixed)[0] < 0


def test_mind_is_blind_to_inversion_gain_and_offset():
    """(B, 1, H, W) to (B, 8, H, W) in [0, 1], the same for 2 - 3 x."""
    image = smooth(0, (2, 1, 20, 30))
    descriptors = mind(image)
    assert descriptors.shape == (2, 8, 20, 30)
    assert 0 <= descriptors.min() <= descriptors.max() <= 1
    assert_close(mind(2 - 3 * image), descriptors, atol=1e-4, rtol=0)
    assert (mind(smooth(1, (2, 1, 20, 30))) - descriptors).abs().mean() > 0.1
    assert mind(torch.full((1, 1, 20, 30), 0.5)).isfinite().all()
    flipped = mind(image.flip(3)).flip(3)
    assert_close(flipped[:, [0, 1, 3, 2]], descriptors[:, [0, 1, 2, 3]], atol=1e-6, rtol=0)
