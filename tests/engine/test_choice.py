"""Metric and transform of each pair: like and unlike contrasts, images that agree by chance only, masks, landmarks."""

import pytest
import torch
from torch.testing import assert_close

from cnnreg.config import RefinementConfig
from cnnreg.engine.freeform import conjugate_gradients
from cnnreg.engine.refinement import refine
from cnnreg.errors import ConfigError
from cnnreg.geometry.fields import jacobian_determinant, warp
from tests.engine.test_refinement import image, known_pair, smooth_field

SIZE = (150, 186)
AUTO = RefinementConfig(similarity="auto")
INNER = (slice(None), slice(None), slice(10, -10), slice(10, -10))


def left(field: torch.Tensor, truth: torch.Tensor) -> float:
    """Of the displacement, as a share."""
    return ((field - truth)[INNER].norm(dim=1).mean() / truth[INNER].norm(dim=1).mean()).item()


def unlike(moving: torch.Tensor) -> torch.Tensor:
    """Another contrast of the same things: neither gain nor inversion."""
    return (1.6 * (moving - 0.35).abs()).clamp(0, 1)


def test_like_contrasts_are_correlated_densely():
    """To the last bit what that metric does when it is named."""
    fixed, moving, _ = known_pair(1, 5.0, SIZE)
    chosen = refine(fixed, moving, {}, steps=50, config=AUTO)
    assert (chosen.similarity, chosen.transform) == ("lncc", "dense")
    assert "held-out blocks gain" in chosen.evidence
    named = refine(fixed, moving, {}, steps=50, config=RefinementConfig(similarity="lncc"))
    assert torch.equal(chosen.field, named.field)
    assert named.evidence == ""


@pytest.mark.parametrize("contrast", [unlike, lambda m: 1 - m], ids=["bent", "inverted"])
def test_unlike_contrasts_are_registered_by_mutual_information_and_splines(contrast):
    fixed, moving, truth = known_pair(1, 6.0, SIZE)
    result = refine(fixed, contrast(moving), {}, steps=50, config=AUTO)
    assert (result.similarity, result.transform) == ("mi", "bspline")
    assert left(result.field, truth) < 0.1
    assert (jacobian_determinant(result.field) > 0).all()
    assert result.energies.shape == (50, 1)
    assert len(result.levels) == 50


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", ["alike", "inverted", "noise"])
def test_what_agrees_by_chance_does_not_move(kind, seed):
    """Other images, and faint ones in noise that lie on each other: not a hundredth of a pixel."""
    fixed, moving = image(seed, SIZE), image(seed + 10, SIZE)
    if kind == "noise":
        noise = [torch.randn(1, 1, *SIZE, generator=torch.Generator().manual_seed(seed + n)) for n in (20, 40)]
        fixed, moving = ((0.5 + 0.02 * fixed + 0.1 * n).clamp(0, 1) for n in noise)
    result = refine(fixed, 1 - moving if kind == "inverted" else moving, {}, steps=50, config=AUTO)
    assert result.similarity == result.transform == "none"
    assert result.field.abs().max() == 0
    assert result.start == ["identity"]


@pytest.mark.parametrize("seed", [1, 5])
def test_contrasts_that_lie_on_each_other_stay(seed):
    """The same scene twice, aligned already."""
    fixed = image(seed, SIZE)
    moving = (unlike(fixed) + 0.03 * torch.randn(fixed.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert refine(fixed, moving, {}, steps=50, config=AUTO).field.norm(dim=1).mean() < 0.1


def test_what_varies_within_a_block_is_left_to_other_evidence():
    """No block tells where another lies; a field that is asked for all the same is said not to be borne out."""
    rows, columns = torch.meshgrid(torch.arange(420.0), torch.arange(380.0), indexing="ij")
    fixed = image(4, (420, 380))
    truth = 1.2 * torch.stack([torch.sin(rows / 2.9 + columns / 4.1), torch.cos(rows / 3.7 - columns / 3.1)])[None]
    pair = fixed, warp(fixed, truth)
    refused = refine(*pair, {}, steps=50, config=AUTO)
    assert refused.similarity == "none"
    assert not refused.field.any()
    tried = refine(*pair, {}, steps=50, config=AUTO, tentative=True)
    assert (tried.similarity, tried.transform, tried.borne_out) == ("lncc", "dense", False)
    assert tried.evidence == refused.evidence


def test_only_the_mask_tells():
    """Half of the moving image is another one; with it masked out, the rest is found."""
    fixed, moving, truth = known_pair(3, 5.0, SIZE)
    mask = torch.zeros_like(fixed)
    mask[..., :110] = 1
    other = torch.where(mask > 0, 1 - moving, image(9, SIZE))
    result = refine(fixed, other, {}, steps=50, config=AUTO, mask=mask)
    assert (result.similarity, result.transform) == ("mi", "bspline")
    seen = (slice(None), slice(None), slice(10, -10), slice(10, 95))
    assert (result.field - truth)[seen].norm(dim=1).mean() < 0.15 * truth[seen].norm(dim=1).mean()


def test_splines_take_any_metric_and_the_best_start():
    fixed, moving, truth = known_pair(4, 6.0, SIZE)
    config = RefinementConfig(similarity="lncc", transform="bspline")
    result = refine(fixed, moving, {"network": truth}, steps=40, config=config)
    assert left(result.field, truth) < 0.1
    assert result.transform == "bspline"
    wrong = refine(fixed, moving, {"network": smooth_field(9, 15.0, SIZE)}, steps=40, config=config)
    assert wrong.start != ["network"]


def test_pairs_of_a_batch_choose_alike():
    pairs = [known_pair(n, 5.0, SIZE) for n in (1, 2)]
    fixed, moving = (torch.cat([pair[i] for pair in pairs]) for i in (0, 1))
    both = refine(fixed, moving, {}, steps=20, config=AUTO)
    single = refine(fixed[1:], moving[1:], {}, steps=20, config=AUTO)
    assert_close(both.field[1:], single.field, atol=1e-3, rtol=0)
    assert both.energies.shape == (20, 2)
    with pytest.raises(ConfigError, match="different metrics"):
        refine(fixed, torch.cat([moving[:1], 1 - moving[1:]]), {}, steps=20, config=AUTO)


def test_sizes_that_are_hard_on_blocks():
    """Small, and long and narrow: no error, and finite."""
    for size in ((37, 45), (24, 500), (401, 90)):
        fixed, moving = image(1, size), warp(image(1, size), smooth_field(2, 3.0, size))
        for other in (moving, unlike(moving)):
            assert refine(fixed, other, {}, steps=12, config=AUTO).field.isfinite().all()


def test_conjugate_gradients_solve_each_pair_apart():
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(2, 18, 18, generator=draw, dtype=torch.float64)
    a = a @ a.mT + 5 * torch.eye(18, dtype=torch.float64)
    b = torch.randn(2, 2, 3, 3, generator=draw, dtype=torch.float64)
    x = conjugate_gradients(lambda v: (a @ v.flatten(1)[..., None]).view_as(v), b, 40)
    assert_close(x.flatten(1), torch.linalg.solve(a, b.flatten(1)))
