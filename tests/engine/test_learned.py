"""The metric learned: its derivative, that it registers by what it is given, and what is said where nothing is."""

import pytest
import torch
from torch.testing import assert_close

from cnnreg.config import RefinementConfig
from cnnreg.engine.pyramid import Level
from cnnreg.engine.refinement import refine
from cnnreg.errors import UsageError
from cnnreg.similarity.descriptors import mind
from cnnreg.similarity.filters import gradient
from tests.engine.test_refinement import folds, known_pair

CONFIG = RefinementConfig(similarity="learned")


def waves(images: torch.Tensor) -> torch.Tensor:
    """A representation that inverted contrast leaves as it is: unit vectors of the distance from middle grey."""
    far = (images - images.mean((2, 3), keepdim=True)).abs()
    angles = torch.cat([12 * far, 5 * far], 1)
    return torch.cat([angles.cos(), angles.sin()], 1) / 2**0.5


def test_the_derivative_by_the_field_is_that_of_autograd():
    """Of the mean squared difference of all channels, warped by a whole shift, where interpolation has no say."""
    fixed, moving, _ = known_pair(2, 4.0, (40, 52))
    level = Level(fixed.double(), moving.double(), CONFIG, represent=waves)
    channels = level.images[1].roll((1, 2), (2, 3))
    value, slope, curvature = level.similarity(channels)
    weights = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    down, right = gradient(channels)
    moved = channels + weights[:, :1, None, None] * down + weights[:, 1:, None, None] * right
    rest, fixed_channels = moved - level.images[0], level.images[0]
    spread = (fixed_channels - fixed_channels.mean((2, 3), keepdim=True)).square().sum() + 1e-6 * 40 * 52
    by_autograd = 1 - rest.square().sum() / spread
    (expected,) = torch.autograd.grad(by_autograd, weights)
    assert_close(value, by_autograd[None].detach())
    assert_close(torch.stack([(slope * g).sum() for g in (down, right)])[None], expected)
    assert (curvature > 0).all()


@pytest.mark.parametrize("transform", ["dense", "bspline"])
def test_inverted_contrast_is_registered_by_a_representation_that_does_not_see_it(transform):
    fixed, moving, truth = known_pair(1, 5.0)
    config = RefinementConfig(similarity="learned", transform=transform)
    result = refine(fixed, 1 - moving, {}, steps=50, config=config, represent=waves)
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    error = (result.field - truth)[inner].norm(dim=1).mean()
    assert error < 0.4 * truth[inner].norm(dim=1).mean()
    assert result.similarity == "learned"
    assert result.transform == transform
    assert not folds(result.field)


def test_a_representation_takes_the_way_of_mind():
    """With MIND's own channels as the representation the field is MIND's, to the bit."""
    fixed, moving, _ = known_pair(4, 4.0)
    by_name = refine(fixed, moving, {}, steps=10, config=RefinementConfig(similarity="mind", transform="dense"))
    by_channels = refine(
        fixed, moving, {}, steps=10, config=RefinementConfig(similarity="learned", transform="dense"), represent=mind
    )
    assert torch.equal(by_name.field, by_channels.field)


def test_without_a_representation_it_says_what_is_missing():
    fixed, moving, _ = known_pair(1, 3.0)
    with pytest.raises(UsageError, match="needs a representation"):
        refine(fixed, moving, {}, steps=5, config=CONFIG)
