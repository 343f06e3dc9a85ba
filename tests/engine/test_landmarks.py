"""Landmarks pull the field: their energy against autograd, points that arrive, periods that are told apart."""

import dataclasses
import math
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from cnnreg.config import RefinementConfig
from cnnreg.engine.landmarks import Landmarks, Pull
from cnnreg.engine.outcome import Refinement
from cnnreg.engine.pyramid import Level
from cnnreg.engine.refinement import refine
from cnnreg.errors import ShapeError
from cnnreg.geometry.fields import pixel_grid, sample
from tests.engine.test_refinement import folds, image, known_pair, smooth_field

SIZES = [(90, 123), (64, 201), (37, 45), (301, 266)]  # with vectors at pixels, and with blocks of them


def pulled(
    fixed: torch.Tensor,
    moving: torch.Tensor,
    points: tuple[torch.Tensor, torch.Tensor] | None,
    weight: float,
    *,
    similarity: str = "lncc",
    mask: torch.Tensor | None = None,
) -> Refinement:
    config = RefinementConfig(landmarks=weight, similarity=similarity)
    return refine(fixed, moving, {}, steps=50, config=config, mask=mask, landmarks=points)


def carried(field: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Where a field takes points, (N, 2)."""
    return points + sample(field, points.T[None, :, :, None])[0, :, :, 0].T


def distances(field: torch.Tensor, points: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return (carried(field, points[0]) - points[1]).norm(dim=1)


def apart(size: tuple[int, int], length: float = 8.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three points far from each other, and where they go: each ``length`` pixels in another direction."""
    points = torch.tensor([[0.3, 0.3], [0.7, 0.6], [0.25, 0.75]]) * (torch.tensor(size) - 1)
    return points, points + length * torch.tensor([[1.0, 0.0], [0.0, -1.0], [-(0.5**0.5), 0.5**0.5]])


def pull(cell: int, size: tuple[int, int] = (44, 60), count: int = 7) -> tuple[Pull, torch.Tensor, Landmarks]:
    """Of random landmarks, up to the rim, and a field on the cells, in pixels."""
    noise = torch.Generator().manual_seed(cell)
    points = torch.rand(count, 2, generator=noise) * torch.tensor(size) - 0.5
    marks = Landmarks(points, torch.randn(count, 2, generator=noise))
    field = torch.randn(1, 2, size[0] // cell, size[1] // cell, generator=noise)
    return Pull(marks, field, cell=cell, curvature=torch.tensor(0.3), sigma=2.2), field, marks


@pytest.mark.parametrize("cell", [1, 2])
def test_splat_is_the_transpose_of_sampling(cell):
    """<sample(field), values> = <field, splat(values)>, the latter per pixel; and nothing is lost."""
    one, field, marks = pull(cell)
    values = torch.randn(2, 7, generator=torch.Generator().manual_seed(9))
    cells = (marks.points + 0.5) / cell - 0.5
    assert_close(one.sample(field), sample(field, cells.T[None, :, :, None])[0, :, :, 0], atol=1e-5, rtol=0)
    left, right = (one.sample(field) * values).sum(), (field * one.splat(values)).sum() * cell**2
    assert_close(left, right, atol=1e-4, rtol=0)
    assert_close(one.splat(values).sum((0, 2, 3)) * cell**2, values.sum(1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("cell", [1, 2])
def test_the_push_is_the_derivative_of_the_energy(cell):
    """By autograd through another sampling."""
    one, field, marks = pull(cell)
    field.requires_grad_()
    at = sample(field, ((marks.points + 0.5) / cell - 0.5).T[None, :, :, None])[0, :, :, 0].T
    energy = 0.5 * 0.3 * 2 * math.pi * 2.2**2 * (marks.moves - at).square().sum()
    (slope,) = torch.autograd.grad(energy, field)
    assert_close(one.energy(field.detach()), energy.detach()[None])
    assert_close(one.downhill(field.detach()) * cell**2, -slope, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(44, 60), (120, 164)])
def test_a_landmark_of_weight_one_is_as_stiff_as_an_average_pixel(size):
    """Whatever the level's cells; and by weight in proportion."""
    fixed = image(1, size)
    middle = Landmarks(torch.tensor([[20.3, 30.6]]), torch.ones(1, 2))
    plain = Level(fixed, fixed, RefinementConfig(landmarks=1.0), None, middle)
    double = Level(fixed, fixed, RefinementConfig(landmarks=2.0), None, middle)
    center = plain.images[0]
    curvature = plain.similarity(center)[2]
    down, right = torch.gradient(center, dim=(2, 3))
    average = (curvature * (down.square() + right.square())).sum(1)[:, 1:-1, 1:-1].mean()
    assert plain.pull
    assert double.pull
    assert plain.pull.stiffness.max() == pytest.approx(average.item(), rel=0.25)
    assert_close(double.pull.stiffness, 2 * plain.pull.stiffness)


def test_levels_halve_landmarks_as_they_halve_images():
    """A linear ramp, averaged over 2 x 2 pixels, has the same value at the halved point; moves are halved."""
    ramp = pixel_grid(torch.empty(1, 1, 40, 60)).contiguous()
    marks = Landmarks(torch.tensor([[10.2, 33.7], [21.0, 4.5]]), torch.tensor([[4.0, -2.0], [1.0, 0.0]]))
    half = marks.halved()
    coarse = torch.nn.functional.avg_pool2d(ramp, 2)
    assert_close(sample(coarse, half.points.T[None, :, :, None])[0, :, :, 0].T, marks.points)
    assert torch.equal(half.moves * 2, marks.moves)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["flat", "unrelated", "misleading"])
def test_points_arrive_whatever_the_images_say(kind, size):
    """To half a pixel, eight pixels away (four on a small image), with no folds: flat, unlike, and equal images."""
    fixed = torch.full((1, 1, *size), 0.5) if kind == "flat" else image(1, size)
    moving = image(2, size) if kind == "unrelated" else fixed
    points = apart(size, 8.0 if min(size) > 40 else 4.0)
    result = pulled(fixed, moving, points, 10.0)
    assert distances(result.field, points).max() < 0.5
    assert folds(result.field) == 0
    if kind == "misleading":
        assert distances(pulled(fixed, moving, points, 0.0).field, points).min() > 3.9


@pytest.mark.parametrize("similarity", ["ncc", "mse", "mi", "mind"])
def test_points_arrive_with_every_similarity(similarity):
    size = (90, 123)
    points = apart(size)
    result = pulled(image(1, size), image(2, size), points, 100.0, similarity=similarity)
    assert distances(result.field, points).max() < 0.5
    assert folds(result.field) == 0


def test_heavier_landmarks_come_nearer():
    """Each ten times of the weight, on images that pull the other way."""
    size = (90, 123)
    points, still = apart(size), image(3, size)
    errors = [distances(pulled(still, still, points, weight).field, points).mean() for weight in (0.1, 1, 10, 100)]
    assert all(heavier < lighter / 1.2 for lighter, heavier in pairwise(errors))


def test_landmarks_choose_the_period():
    """A pattern that repeats every twelve pixels, shifted by sixteen: to the images alone, by four."""
    y, x = pixel_grid(torch.empty(1, 1, 101, 150)).split(1, 1)
    fixed, moving = (0.5 + 0.2 * (torch.cos(y * math.pi / 6) + torch.cos((x - n) * math.pi / 6)) for n in (0, 16))
    points = torch.cartesian_prod(torch.arange(10.0, 100, 20), torch.arange(10.0, 130, 20))
    marks = points, points + torch.tensor([0.0, 16.0])
    inner = (slice(None), slice(None), slice(10, -10), slice(10, -24))
    alone, told = (pulled(fixed, moving, marks, weight).field[inner].mean((0, 2, 3)) for weight in (0.0, 10.0))
    assert_close(alone, torch.tensor([0.0, 4.0]), atol=0.5, rtol=0)
    assert_close(told, torch.tensor([0.0, 16.0]), atol=0.5, rtol=0)
    field = pulled(fixed, moving, marks, 10.0).field
    assert (field[inner][0, 1] - 16).abs().mean() < 0.5
    assert folds(field) == 0


def test_true_landmarks_do_no_harm_elsewhere():
    """On a pair that the images find alone, they make the points exact and leave the rest as good as it was."""
    fixed, moving, truth = known_pair(1, 8.0)
    points = 10 + torch.rand(20, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([70.0, 100.0])
    marks = points, carried(truth, points)
    alone, told = (pulled(fixed, moving, marks, weight).field for weight in (0.0, 1.0))
    assert distances(told, marks).mean() < 0.5 * distances(alone, marks).mean()
    assert (told - truth).norm(dim=1).mean() < 1.1 * (alone - truth).norm(dim=1).mean()


def test_contradicting_landmarks_do_not_fold():
    """Two that would have to pass through each other, and forty at random."""
    size = (91, 123)
    fixed, moving, _ = known_pair(1, 5.0, size)
    center = torch.tensor([45.0, 61.0])
    two = center + torch.tensor([[0.0, -2.0], [0.0, 2.0]])
    noise = torch.Generator().manual_seed(1)
    many = torch.rand(40, 2, generator=noise) * torch.tensor(size)
    for points in ((two, two.flip(0)), (many, many + 6 * torch.randn(40, 2, generator=noise))):
        for weight in (1.0, 1000.0):
            assert folds(pulled(fixed, moving, points, weight).field) == 0


def test_the_energy_that_is_reported_is_minimised():
    """It falls at every level, and includes what the landmarks lack."""
    fixed, moving, _ = known_pair(10, 6.0, (128, 150))
    points = apart((128, 150))
    result, alone = (pulled(fixed, moving, points, weight) for weight in (10.0, 0.0))
    for level in set(result.levels):
        mine = [e for e, one in zip(result.energies[:, 0].tolist(), result.levels, strict=True) if one == level]
        assert mine[-1] <= mine[0] + 1e-4
    assert result.energies[0] > alone.energies[0] + 0.1


def test_no_landmarks_or_no_weight_changes_nothing():
    """Bit by bit; points outside of the fixed image are none, and neither is an empty table."""
    fixed, moving, _ = known_pair(3, 5.0, (101, 150))
    plain = refine(fixed, moving, {}, steps=20, config=RefinementConfig())
    heavy = RefinementConfig(landmarks=10.0)
    outside = torch.tensor([[-1.0, 5.0], [101.0, 20.0], [5.0, 150.0], [50.0, -0.6]])
    for config, marks in (
        (heavy, None),
        (dataclasses.replace(heavy, landmarks=0.0), apart((101, 150))),
        (heavy, (outside, outside + 9)),
        (heavy, (torch.empty(0, 2), torch.empty(0, 2))),
    ):
        result = refine(fixed, moving, {}, steps=20, config=config, landmarks=marks)
        assert torch.equal(result.field, plain.field)
        assert torch.equal(result.energies, plain.energies)
    inside = apart((101, 150))
    mixed = torch.cat([outside[:2], inside[0], outside[2:]]), torch.cat([outside[:2], inside[1], outside[2:] - 30])
    fields = [refine(fixed, moving, {}, steps=20, config=heavy, landmarks=marks).field for marks in (inside, mixed)]
    assert torch.equal(*fields)


def test_what_was_given_is_not_changed_and_doubles_are_taken():
    fixed, moving, _ = known_pair(4, 5.0)
    points = apart((90, 123))
    doubles = points[0].double(), points[1].double()
    copies = [x.clone() for x in doubles]
    assert_close(pulled(fixed, moving, doubles, 5.0).field, pulled(fixed, moving, points, 5.0).field)
    assert all(torch.equal(a, b) for a, b in zip(doubles, copies, strict=True))


def test_a_start_that_brings_the_landmarks_wins():
    """Images that say nothing: the field that takes the points where they belong has the lowest energy."""
    size = (41, 70)  # a single level, so that no coarser one finds it too
    flat, truth = torch.full((1, 1, *size), 0.5), smooth_field(2, 4.0, size)
    points = 5 + torch.rand(10, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([31.0, 60.0])
    marks = points, carried(truth, points)
    config = RefinementConfig(landmarks=100.0)
    starts = {"wrong": -truth, "right": truth}
    assert refine(flat, flat, starts, steps=3, config=config, landmarks=marks).start == ["right"]
    assert refine(flat, flat, starts, steps=3, config=config).start == ["identity"]


def test_a_mask_does_not_make_landmarks_lighter():
    """Where a tenth of the image counts, its pixels count ten times, and so do landmarks; outside of it, too."""
    size = (120, 150)
    fixed = image(1, size)
    mask = torch.zeros_like(fixed)
    mask[..., 40:80, 30:80] = 1
    points = torch.tensor([[60.0, 55.0], [20.0, 120.0]])
    marks = points, points + torch.tensor([[3.0, 0.0], [0.0, 6.0]])
    result = pulled(fixed, fixed, marks, 10.0, mask=mask)
    assert distances(result.field, marks).max() < 0.5
    assert folds(result.field) == 0


@pytest.mark.parametrize("size", [(16, 16), (2, 3), (5, 64)])
def test_small_images(size):
    marks = torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 1.0]])
    result = pulled(torch.rand(1, 1, *size), torch.rand(1, 1, *size), marks, 10.0)
    assert result.field.isfinite().all()


@pytest.mark.parametrize(("batch", "sizes"), [(2, (3, 3)), (1, (3, 4))])
def test_landmarks_are_of_one_pair_and_correspond(batch, sizes):
    images = torch.rand(batch, 1, 40, 50)
    with pytest.raises(ShapeError, match="single pair"):
        pulled(images, images, (torch.ones(sizes[0], 2), torch.ones(sizes[1], 2)), 1.0)
    pulled(images, images, (torch.ones(sizes[0], 2), torch.ones(sizes[1], 2)), 0.0)


@pytest.mark.gpu
def test_cuda_gives_the_same_field():
    fixed, moving, _ = known_pair(17, 5.0, (256, 256))
    points = apart((256, 256))
    there = pulled(fixed.cuda(), moving.cuda(), points, 10.0).field.cpu()
    assert_close(there, pulled(fixed, moving, points, 10.0).field, atol=0.02, rtol=0)
