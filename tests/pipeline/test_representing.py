"""The metric learned in whole registrations: with the shipped model, adapted to the pair, and what is refused."""

import pytest

from cnnreg.config import preset
from cnnreg.engine.choice import Trial
from cnnreg.errors import ConfigError, ModelError, UsageError
from cnnreg.geometry.fields import warp
from cnnreg.pipeline.representing import representation_of
from cnnreg.pipeline.setup import Setup, load
from tests.engine.test_refinement import folds, image, smooth_field

LEARNED = {"refinement": {"similarity": "learned"}}
FEATURES = {"adaptation": {"target": "features", "feature_steps": 1}}


def configured(*changes):
    config = preset("default")
    for change in changes:
        config = config.override(change, source="test")
    return config


def refined(fixed, moving, config):
    from cnnreg.engine.refinement import refine

    represent, told = representation_of(fixed, moving, None, config)
    return refine(fixed, moving, {}, steps=50, config=config.refinement, represent=represent), told


def test_the_shipped_model_registers_images_of_inverted_contrast():
    """Half of a known deformation at least, where the sign of the contrast says nothing."""
    moving, truth = image(3, (96, 130), scale=2.0), smooth_field(3, 4.0, (96, 130))
    result, _ = refined(1 - warp(moving, truth) ** 2, moving, configured(LEARNED))
    inner = (slice(None), slice(None), slice(10, -10), slice(10, -10))
    assert (result.field - truth)[inner].norm(dim=1).mean() < 0.5 * truth[inner].norm(dim=1).mean()
    assert not folds(result.field)
    assert (result.similarity, result.transform) == ("learned", "bspline")


def test_agreement_of_the_shipped_model_peaks_at_the_true_place():
    """Two contrasts of one scene, one of them inverted: no shift of 1 to 4 pixels agrees as well as none."""
    one = image(5, (80, 100), scale=2.0)
    represent, _ = representation_of(one, one, None, configured(LEARNED))
    first, second = represent(one), represent(1 - one.sqrt())
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))

    def agreement(down: int, right: int) -> float:
        return (first * second.roll((down, right), (2, 3)))[inner].sum(1).mean().item()

    others = [agreement(y, x) for y in range(-4, 5) for x in range(-4, 5) if (y, x) != (0, 0)]
    assert agreement(0, 0) > max(others)


def test_an_adapted_representation_is_kept_only_if_held_out_blocks_gain_by_it():
    moving, truth = image(3, (56, 70), scale=2.0), smooth_field(3, 3.0, (56, 70))
    fixed = warp(moving, truth)
    config = load(Setup(configured(FEATURES), "none"))[1]
    assert config.refinement.similarity == "learned"
    represent, told = representation_of(fixed, moving, None, config)
    shipped, nothing = representation_of(fixed, moving, None, configured(LEARNED))
    gains = [
        Trial(fixed, moving, None, config.refinement, represent=r).gain("learned", "bspline").mean
        for r in (shipped, represent)
    ]
    assert gains[1] >= gains[0]
    assert not nothing
    assert ("was kept" in told) == (represent is not shipped)
    assert ("was not kept" in told) == (represent is shipped)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ([FEATURES, {"refinement": {"similarity": "mind"}}], ConfigError, "not for mind"),
        ([LEARNED, {"refinement": {"representation": "contrast-2e"}}], UsageError, "did you mean 'contrast-2d'"),
        ([LEARNED, {"refinement": {"representation": "universal-2d"}}], ModelError, "describes images"),
    ],
)
def test_what_does_not_fit_is_said_before_any_work(changes, error, words):
    with pytest.raises(error, match=words):
        load(Setup(configured(*changes), "none"))
