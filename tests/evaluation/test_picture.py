"""The pictures explain their colours: swatches, colour bars and outlines are there when they are used."""

import numpy as np
import pytest

from cnnreg.evaluation import picture, sheet
from tests.conftest import smooth_image

SHAPE = (60, 90)


def drawn(*, outlines: bool = False, folds: bool = False) -> np.ndarray:
    """A picture without energies, as an array."""
    fixed, moving = (smooth_image(SHAPE, seed=seed) for seed in (1, 2))
    jacobian = np.ones(SHAPE)
    jacobian[20:40, 20:40] = -1.0 if folds else 1.0
    label = np.zeros(SHAPE, np.uint8)
    label[10:30, 10:40] = 1
    made = picture.draw_registration(
        fixed=fixed,
        moving=moving,
        warped=fixed,
        field=np.zeros((2, *SHAPE)),
        jacobian=jacobian,
        outlines=(label, np.roll(label, 5, axis=1), label) if outlines else None,
        heading="moving registered to fixed",
        caption=["model none"],
    )
    return np.asarray(made)


def count(pixels: np.ndarray, ink: tuple[int, int, int]) -> int:
    return int((pixels == ink).all(axis=2).sum())


def test_overlays_and_outlines_have_swatches():
    plain, outlined = drawn(), drawn(outlines=True)
    for ink in (picture.GREEN, picture.MAGENTA):
        assert count(plain, ink) >= 2 * 100  # before and after, of 12 x 12 less the frame
    for ink in (picture.FIXED_INK, picture.MOVING_INK):
        assert count(plain, ink) == 0
        assert count(outlined, ink) > 0
    assert plain.shape == outlined.shape


def test_bars_show_the_colours_that_the_panels_use():
    """From one end to the other, below the differences and the Jacobian determinant."""
    pixels = drawn()
    ends = picture._diverging(np.array([-1.0, 1.0]))
    last = [np.argwhere((pixels == ink).all(axis=2))[-1] for ink in ends]
    assert last[0][0] == last[1][0]  # in one line, blue on the left
    assert 0 < last[1][1] - last[0][1] < sheet.BAR
    assert (picture.AREA_BAR.colours[[0, -1]] == ends).all()
    assert (picture.AREA_BAR.colours[32] == picture.area_colours(np.ones((1, 1)))[0, 0]).all()


def test_folds_are_black_and_the_legend_says_so():
    assert count(drawn(folds=True), picture.BLACK) > count(drawn(), picture.BLACK) >= 100


def test_the_same_input_gives_the_same_picture():
    assert (drawn(outlines=True) == drawn(outlines=True)).all()


@pytest.mark.parametrize("draw", ["strain", "subtraction"])
def test_the_other_pictures_have_bars(draw):
    image, other = smooth_image(SHAPE, seed=3), smooth_image(SHAPE, seed=4)
    region = np.ones(SHAPE, bool)
    if draw == "strain":
        strains = np.stack([image - 0.5] * 3)
        made = picture.draw_strain(image=image, strains=strains, region=region, heading="h", caption=[])
    else:
        difference = image - other
        made = picture.draw_subtraction(
            image=image, mirror=other, before=difference, after=difference, region=None, heading="h", caption=[]
        )
    pixels = np.asarray(made)
    for ink in picture._diverging(np.array([-1.0, 1.0])):
        assert count(pixels, tuple(ink)) > 0
