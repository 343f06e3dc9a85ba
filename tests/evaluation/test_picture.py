"""The pictures explain their colours: swatches, colour bars and outlines are there when they are used."""

import numpy as np
import pytest

from cnnreg.evaluation import picture, sheet
from tests.conftest import smooth_image

SHAPE = (60, 90)


def drawn(*, outlines: bool = False, folds: bool = False, shape: tuple[int, int] = SHAPE, **judged) -> np.ndarray:
    """A picture without energies, as an array."""
    fixed, moving = (smooth_image(shape, seed=seed) for seed in (1, 2))
    jacobian = np.ones(shape)
    jacobian[20:40, 20:40] = -1.0 if folds else 1.0
    label = np.zeros(shape, np.uint8)
    label[10:30, 10:40] = 1
    made = picture.draw_registration(
        fixed=fixed,
        moving=moving,
        warped=fixed,
        field=np.zeros((2, *shape)),
        jacobian=jacobian,
        outlines=(label, np.roll(label, 5, axis=1), label) if outlines else None,
        heading="moving registered to fixed",
        caption=["model none"],
        **judged,
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


@pytest.mark.parametrize("shape", [SHAPE, (600, 420), (30, 700)])
@pytest.mark.parametrize("energies", [[], [(1.0 / n, 1.0) for n in range(1, 20)]])
def test_the_map_of_confidence_stands_below_with_the_reasons_beside_it(shape, energies):
    """Also beside images that are high or are strips; the panels above stay as they are."""
    confidence = np.ones((2, 8, 12), np.float32)
    confidence[0, :, :6] = 0
    judged = {"confidence": confidence, "verdict": ("check", 0.5), "remarks": ["a reason " * 40]}
    plain, pixels = drawn(shape=shape, energies=energies), drawn(shape=shape, energies=energies, **judged)
    assert pixels.shape[0] > plain.shape[0] or energies
    assert (pixels[:, : sheet.MARGIN - 3] == 255).all()  # nothing runs out
    assert (pixels[:, -sheet.MARGIN + 3 :] == 255).all()
    assert count(pixels, picture.BADGES["check"]) > 500
    assert count(pixels, picture.NO_INK) >= 100
    above = sheet.MARGIN + 60, sheet.MARGIN + 3 * 40
    assert (pixels[above[0] : above[1]] == plain[above[0] : above[1]]).all()
    if energies:
        assert count(pixels, sheet.CURVE_INK) > 20


def test_confidence_is_orange_or_blue_only_where_there_is_evidence():
    image = np.full((40, 60), 0.5)
    confidence = np.zeros((2, 4, 6), np.float32)
    confidence[0, :, 3:] = 1  # aligned on the right
    confidence[1, :2] = 1  # evidence above
    low, high = (picture.confidence_colours(image, confidence)[row].astype(int) for row in (-1, 0))
    assert np.abs(low - low[0, 0]).max() <= 1  # grey
    assert high[0, 0] > high[0, 2] + 60  # orange
    assert high[-1, 2] > high[-1, 0] + 60  # blue


def test_a_long_title_keeps_both_ends():
    name = "a" * 200 + " registered to " + "b" * 200
    pixels = np.asarray(
        sheet.sheet_of([sheet.Panel("p", np.zeros((50, 50, 3), np.uint8))], name, [], badge=("good", (0, 99, 0)))
    )
    title = pixels[sheet.MARGIN : sheet.MARGIN + 30] < 100
    assert title.any(axis=(0, 2))[: pixels.shape[1] - 2 * sheet.MARGIN].any()
    assert (pixels[:, -sheet.MARGIN + 3 :] == 255).all()


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
