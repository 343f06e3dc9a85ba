"""Evidence, the verdict and the map of confidence that come from it, on images whose truth is known."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from cnnreg.engine.evidence import Agreement, Comparison, Evidence
from cnnreg.engine.verdict import Verdict, advice, assess, verdict_on
from tests.conftest import smooth_image
from tests.engine.test_alignment import tensor
from tests.engine.test_evidence import texture


@pytest.fixture(scope="module")
def features():
    from cnnreg.learning.features.describing import load_features

    return load_features("universal-2d")


def compared(fixed, moving, features) -> Comparison:
    return Comparison(tensor(fixed), tensor(moving), features, (1.0, 1.0))


def judged(fixed, moving, features, field=None) -> Verdict:
    """Of two pictures that lie on each other, or not."""
    field = np.zeros((2, *fixed.shape), np.float32) if field is None else field
    return assess(compared(fixed, moving, features), field)


def shift(rows: float, columns: float, size: tuple[int, int]) -> np.ndarray:
    return np.stack([np.full(size, rows), np.full(size, columns)]).astype(np.float32)


def test_the_verdict_tells_aligned_from_displaced_and_from_unrelated(features):
    image, other = texture(seed=3), texture(seed=40)
    shifted = np.roll(image, (25, 25), (0, 1))
    verdicts = [judged(image, x, features) for x in (image, 1 - image, shifted, other)]
    assert [verdict.name for verdict in verdicts] == ["good", "good", "failed", "failed"]
    maps = [verdict.confidence for verdict in verdicts]
    assert all(np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1 for x in maps)
    assert maps[1][0].mean() > 0.9 > 0.2 > maps[2][0].mean()


def test_of_nothing_nothing_can_be_said(features):
    flat = np.full((120, 150), 0.5, np.float32)
    verdict = judged(flat, flat, features)
    assert verdict.name == "failed"
    assert "only 0 details" in verdict.reasons[0]
    assert verdict.confidence[1].max() == 0  # no evidence anywhere


def test_a_frame_around_nothing_in_common_is_no_evidence(features):
    """Two textures behind one black frame."""
    images = [texture(seed=seed) for seed in (11, 60)]
    for image in images:
        image[:30], image[-30:], image[:, :40], image[:, -40:] = 0, 0, 0, 0
    assert judged(*images, features).name == "failed"


def test_a_slip_of_two_per_cent_is_measured(features):
    """The residual is what the images are apart, and a field that puts it right leaves none."""
    image = texture(seed=9)
    diagonal, moving = np.hypot(*image.shape), np.roll(image, (6, -4), (0, 1))
    slipped = judged(image, moving, features)
    assert slipped.name != "good"
    assert slipped.evidence.residual == pytest.approx(np.hypot(6, 4), abs=1.5)
    assert slipped.evidence.diagonal == pytest.approx(diagonal)
    mended = judged(image, moving, features, shift(6, -4, image.shape))
    assert mended.name == "good"
    assert mended.evidence.residual < 0.5
    assert mended.evidence.inconsistency < 1.5


def test_half_of_it_displaced_shows_in_the_map_of_confidence(features):
    image = texture(seed=5)
    half = image.copy()
    half[:, 140:] = np.roll(image, 30, 0)[:, 140:]
    verdict = judged(image, half, features)
    confidence, evidence = verdict.confidence
    rows, columns = confidence.shape
    assert max(rows, columns) == 24
    assert abs(rows / columns - image.shape[0] / image.shape[1]) < 0.05
    edge = round(140 / image.shape[1] * columns)
    assert confidence[:, : edge - 2].mean() > 0.8
    assert confidence[:, edge + 2 :].mean() < 0.4
    assert evidence.mean() > 0.5
    assert 0.3 < verdict.evidence.coverage < 0.7


def test_what_is_seen_in_a_strip_only_is_not_called_good(features):
    """A shore with its lake: nothing holds what is far from the strip."""
    fixed, moving = texture(seed=21), texture(seed=75)
    moving[90:130] = fixed[90:130]
    verdict = judged(fixed, moving, features)
    assert verdict.name != "good"
    assert verdict.evidence.coverage < 0.4


def test_noise_does_not_hide_what_is_larger_than_it(features):
    """Smoothed, descriptors agree; and displaced images still do not."""
    random = np.random.default_rng(0)
    image = smooth_image((180, 240), seed=30, scale=5)
    fixed, moving = (0.3 + 0.4 * image + 0.1 * random.standard_normal(image.shape) for _ in range(2))
    images = [x.clip(0, 1).astype(np.float32) for x in (fixed, moving)]
    comparison = compared(*images, features)
    zero = np.zeros((2, *image.shape), np.float32)
    plain, smoothed = comparison.agreement.evidence(zero), comparison.smoothed.evidence(zero)
    assert smoothed.share > plain.share + 0.2
    assert assess(comparison, zero).name == "good"
    assert judged(images[0], np.roll(images[1], 20, 1), features).name == "failed"


def test_a_true_field_is_told_from_one_that_was_made_up(features):
    """Half of the truth is half explained; the verdict counts what a field has put right."""
    image = texture(seed=8)
    height, width = image.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    truth = np.stack([6 * np.sin(columns / 40), 6 * np.cos(rows / 35)]).astype(np.float32)
    # moved(p + truth(p)) = image(p), to the second order
    moved = map_coordinates(image, np.stack([rows, columns]) - truth, order=1, mode="nearest")
    other = np.stack([6 * np.cos(columns / 27), 6 * np.sin(rows / 20)]).astype(np.float32)
    agreement = compared(image, 1 - moved, features).agreement
    assert agreement.explained(truth) == pytest.approx(1, abs=0.3)
    assert agreement.explained(2 * truth) == pytest.approx(0.5, abs=0.15)
    assert agreement.explained(other) < 0.25
    shares = [agreement.evidence(field).share for field in (truth, np.zeros_like(truth), other)]
    assert shares == sorted(shares, reverse=True)
    few = Agreement(agreement.places[:9], agreement.offsets[:9], agreement.reach, agreement.size, agreement.area)
    assert few.explained(other) is None


def test_a_large_true_field_is_kept():
    """Three of four matches lie 28 pixels off, where the right field takes them; the others near, by chance."""
    import torch

    from cnnreg.pipeline.assessment import is_real

    random, size = np.random.default_rng(2), (120, 160)
    places = random.uniform(0, 1, (800, 2)) * size
    offsets = np.where(np.arange(800)[:, None] < 600, (22.0, 18.0), random.uniform(-4, 4, (800, 2)))
    known = SimpleNamespace(agreement=Agreement(places, offsets, 5.0, size, places[:50]))
    right, wrong = (torch.from_numpy(shift(*by, size))[None] for by in ((22, 18), (-18, 22)))
    assert known.agreement.explained(right[0].numpy()) < 0.2  # of the matches that are near
    assert is_real(known, right, "mi")
    assert not is_real(known, wrong, "mi")
    assert is_real(None, wrong, "mi")


def test_a_field_that_no_block_bears_out_must_be_plain_in_the_matches():
    """Of 800 matches that are exact; of offsets that the field leaves; and of another field."""
    import torch

    from cnnreg.pipeline.assessment import is_plain

    random, size = np.random.default_rng(3), (120, 160)
    rows, columns = np.mgrid[: size[0], : size[1]]
    true = np.stack([2 * np.sin(columns / 14), 2 * np.cos(rows / 11)]).astype(np.float32)
    places = random.integers(0, size, (800, 2)).astype(float)
    offsets = true[:, places[:, 0].astype(int), places[:, 1].astype(int)].T
    lost = np.where(np.arange(800)[:, None] % 10, offsets, 30.0)
    right, wrong = (torch.from_numpy(field)[None] for field in (true, true[::-1].copy()))
    exact, partly = (
        SimpleNamespace(agreement=Agreement(places, off, 5.0, size, places[:50])) for off in (offsets, lost)
    )
    assert is_plain(exact, right)
    assert not is_plain(exact, wrong)
    assert not is_plain(partly, right)


def told(share: float, count: int, residual: float, coverage: float) -> Verdict:
    """A verdict on made-up evidence, of an image whose diagonal is 400 pixels."""
    evidence = Evidence(share, count, residual, 1.0, coverage, 400.0)
    return verdict_on(evidence, np.zeros((2, 4, 4), np.float32))


def test_where_another_place_is_as_good_a_result_is_not_called_good():
    evidence, nothing = Evidence(0.58, 500, 0.5, 1.0, 0.9, 400.0), np.zeros((2, 4, 4), np.float32)
    alone, torn = (verdict_on(evidence, nothing, rival=rival) for rival in (0.3, 0.95))
    plain = verdict_on(replace(evidence, share=0.9), nothing, rival=0.95)
    assert plain.name == "good"
    assert (alone.name, torn.name) == ("good", "check")
    assert torn.probability == pytest.approx(1 / 1.95)
    assert "another place has 95% of the evidence" in torn.reasons[-1]
    assert len(torn.reasons) == len(alone.reasons) + 1


def test_more_evidence_is_never_worse_and_each_verdict_says_why_and_what_next():
    good, slipped, patchy, near = (
        told(*seen)
        for seen in ((0.8, 500, 0.5, 0.9), (0.45, 500, 6.0, 0.6), (0.5, 500, 1.0, 0.42), (0.47, 500, 1, 0.6))
    )
    chance, little = told(0.03, 500, 9.0, 0.02), told(0.05, 30, 9.0, 0.02)
    assert [x.name for x in (good, slipped, patchy, near)] == ["good", "check", "check", "check"]
    assert chance.name == little.name == "failed"
    assert advice(good) == ""
    assert len({advice(x) for x in (slipped, patchy, near, chance, little)}) == 5
    assert "still off by about 6 pixels" in slipped.reasons[1]
    assert "42% of the image" in patchy.reasons[1]
    assert "by chance" in chance.reasons[0]
    probabilities = [told(share, 500, 1.0, cover).probability for share, cover in ((0.3, 0.4), (0.5, 0.4), (0.5, 0.7))]
    assert probabilities == sorted(probabilities)


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
