"""Fields against calculus: exact shifts, ramps, linear maps, known inverses."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.testing import assert_close

from cnnreg.errors import ShapeError
from cnnreg.geometry import fields
from cnnreg.geometry.affine import Affine
from cnnreg.geometry.fields import compose, inside, invert, jacobian_determinant, pixel_grid, resize, sample, warp

SHAPES = [(16, 16), (9, 14), (31, 17)]


def textured(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def constant_field(dy: float, dx: float, shape: tuple[int, int]) -> torch.Tensor:
    return torch.tensor([float(dy), float(dx)]).view(1, 2, 1, 1).expand(1, 2, *shape).contiguous()


def linear_field(matrix: list[list[float]], shape: tuple[int, int]) -> torch.Tensor:
    return torch.einsum("ij,bjhw->bihw", torch.tensor(matrix), pixel_grid(torch.empty(1, 1, *shape)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_identity_changes_no_bit(shape, mode):
    """A field of zeros gives the image back, to the last bit."""
    image = textured(2, 3, *shape)
    assert torch.equal(warp(image, torch.zeros(2, 2, *shape), mode=mode), image)


@pytest.mark.parametrize("shape", [(9, 14), (31, 17), (97, 131)])
@pytest.mark.parametrize(("dy", "dx"), [(1, 0), (0, 1), (-2, 3), (4, -1)])
def test_whole_pixel_shifts_are_exact(shape, dy, dx):
    """Shifting by whole pixels moves pixels and mixes none, in the direction of the convention."""
    image = textured(1, 2, *shape)
    warped = warp(image, constant_field(dy, dx, shape))
    height, width = shape
    target = (slice(None), slice(None), slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx)))
    source = (slice(None), slice(None), slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx)))
    assert torch.equal(warped[target], image[source])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dy", "dx"), [(0.5, 0.0), (0.0, 0.5), (0.25, -1.25)])
def test_translating_a_ramp_adds_its_slope(shape, dy, dx):
    """Bilinear sampling is exact on I = 2y + 3x, so I(p + t) = I(p) + 2 dy + 3 dx."""
    y, x = pixel_grid(torch.empty(1, 1, *shape)).unbind(1)
    ramp = (2 * y + 3 * x)[None]
    inner = (..., slice(2, -2), slice(2, -2))
    assert_close(warp(ramp, constant_field(dy, dx, shape))[inner], (ramp + 2 * dy + 3 * dx)[inner])


def test_sampling_agrees_with_scipy_everywhere():
    """Random points, in and out of a non-square image: the same numbers as map_coordinates with the nearest border."""
    image = textured(1, 1, 13, 22, dtype=torch.float64)
    points = textured(1, 2, 7, 11, seed=1, dtype=torch.float64) * 40 - 10
    ours = sample(image, points)[0, 0].numpy()
    theirs = map_coordinates(image[0, 0].numpy(), points[0].numpy(), order=1, mode="nearest")
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("strip", [1, 100, 1000])
def test_strips_change_no_bit(strip, monkeypatch):
    """Sampling, determinant, inverse and affine maps: as if all rows were done at once."""
    images, field = textured(2, 3, 31, 53), textured(2, 2, 31, 53, seed=1) * 6 - 3
    affine = Affine(np.array([[0.9, 0.2], [-0.3, 1.1]]), np.array([4.0, 30.0]))

    def everything():
        points = pixel_grid(field) + 5 * field
        yield from (
            sample(images, points, mode=m, outside=o) for m in ("bilinear", "nearest") for o in ("border", "zero")
        )
        yield from (jacobian_determinant(field), affine.carry(field), *invert(field * 0.1))

    whole = list(everything())
    monkeypatch.setattr(fields, "STRIP", strip)
    assert all(torch.equal(a, b) for a, b in zip(everything(), whole, strict=True))


def test_each_image_of_a_batch_is_sampled_at_its_own_points():
    """A batch gives what its images give one at a time."""
    images, field = textured(3, 2, 9, 14), textured(3, 2, 9, 14, seed=2) * 6 - 3
    singly = torch.cat([warp(images[i : i + 1], field[i : i + 1]) for i in range(3)])
    assert torch.equal(warp(images, field), singly)


def test_outside_is_zero_beyond_half_a_pixel():
    """As in ITK: the rim pixels reach half a pixel out, and there the image ends."""
    image = torch.ones(1, 1, 4, 6)
    points = torch.tensor([[-0.6, 0.0], [-0.5, 0.0], [3.5, 5.5], [3.6, 5.0], [0.0, 5.6]]).T.view(1, 2, 1, 5)
    assert sample(image, points, outside="zero").flatten().tolist() == [0, 1, 1, 0, 0]
    assert sample(image, points).flatten().tolist() == [1] * 5
    assert inside(points, (4, 6)).flatten().tolist() == [False, True, True, False, False]


def test_nearest_makes_no_new_value():
    """Labels stay labels, and halves round up."""
    labels = torch.tensor([[0, 7, 3], [9, 0, 7]]).view(1, 1, 2, 3)
    points = torch.tensor([[0.0, 0.5], [0.5, 0.49], [1.0, 1.6]]).T.view(1, 2, 1, 3)
    assert sample(labels, points, mode="nearest").flatten().tolist() == [7, 9, 7]


@pytest.mark.parametrize("outside", ["border", "zero"])
def test_gradients_of_the_warp(outside):
    """Analytic gradients with respect to image and field equal numerical ones, off the pixel centres."""
    image = textured(2, 1, 5, 7, dtype=torch.float64).requires_grad_()
    field = (textured(2, 2, 5, 7, seed=3, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda i, f: warp(i, f, outside=outside), (image, field), eps=1e-7)


def test_jacobian_of_a_linear_field():
    """For u(p) = A p the map is (I + A) p, whose determinant is the same everywhere, the rim included."""
    matrix = [[0.10, -0.30], [0.20, 0.05]]
    expected = torch.linalg.det(torch.eye(2) + torch.tensor(matrix)).expand(1, 8, 11)
    assert_close(jacobian_determinant(linear_field(matrix, (8, 11))), expected)


def test_jacobian_of_a_quadratic_field():
    """u = (y^2, x y) / 50: determinant (1 + 2y/50)(1 + y/50), exact for central differences inside."""
    y, x = pixel_grid(torch.empty(1, 1, 9, 12)).unbind(1)
    field = torch.stack([y * y, x * y], dim=1) / 50
    expected = (1 + 2 * y / 50) * (1 + y / 50)
    assert_close(jacobian_determinant(field)[:, 1:-1], expected[:, 1:-1])


def test_a_mirror_folds_everywhere():
    """u_x = -2x turns left into right: the determinant is -1."""
    assert_close(jacobian_determinant(linear_field([[0.0, 0.0], [0.0, -2.0]], (6, 9))), torch.full((1, 6, 9), -1.0))


def test_composition_of_linear_maps_is_their_product():
    """(I + A)(I + B) = I + A + B + AB, wherever B keeps the point inside."""
    a, b = torch.tensor([[0.05, -0.02], [0.03, 0.04]]), torch.tensor([[-0.04, 0.01], [0.02, -0.03]])
    shape = (15, 22)
    composed = compose(linear_field(a.tolist(), shape), linear_field(b.tolist(), shape))
    expected = linear_field((a + b + a @ b).tolist(), shape)
    inner = (..., slice(3, -3), slice(3, -3))
    assert_close(composed[inner], expected[inner], atol=1e-5, rtol=0)
    swapped = linear_field((a + b + b @ a).tolist(), shape)
    assert (composed - swapped)[inner].abs().max() > 1e-3  # the order matters and is the documented one


def test_lengths_are_the_euclidean_norm():
    field = torch.randn(2, 2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert_close(fields.lengths(field), field.norm(dim=1))


def test_inverse_undoes_the_field():
    """Composing a smooth field with its inverse leaves less than a hundredth of a pixel inside."""
    y, x = pixel_grid(torch.empty(1, 1, 40, 54)).unbind(1)
    field = torch.stack([2 * torch.sin(x / 9) * torch.sin(y / 8), 1.5 * torch.cos(y / 7) * torch.sin(x / 10)], dim=1)
    inverse, residual = invert(field)
    inner = (..., slice(4, -4), slice(4, -4))
    assert residual[inner].max() < 0.01
    assert compose(inverse, field)[inner].abs().max() < 0.05
    assert (inverse + field).abs().max() > 0.1  # and it is not just the negative


def test_resizing_a_field_keeps_a_linear_deformation():
    """The map over the same extent stays the same: in pixels of the new grid, u' = s u((i' + 0.5) / s - 0.5)."""
    shape, size = (12, 18), (24, 54)
    matrix = torch.tensor([[0.02, 0.05], [-0.03, 0.04]])
    field = linear_field(matrix.tolist(), shape)
    resized = resize(field, size)
    scale = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1)
    coarse_points = (pixel_grid(resized) + 0.5) / scale - 0.5
    expected = torch.einsum("ij,bjhw->bihw", matrix, coarse_points) * scale
    inner = (..., slice(2, -2), slice(3, -3))
    assert_close(resized[inner], expected[inner], atol=1e-5, rtol=0)


def test_resizing_keeps_a_translation_in_image_units():
    """A shift by a quarter of the image stays a quarter of the image."""
    assert_close(resize(constant_field(3, 5, (12, 20)), (18, 10)), constant_field(4.5, 2.5, (18, 10)))


@pytest.mark.parametrize("field", [torch.zeros(1, 2, 14, 9), torch.zeros(2, 2, 9, 14), torch.zeros(1, 3, 9, 14)])
def test_a_field_of_another_shape_is_refused(field):
    """Swapped axes, another batch, another number of components."""
    with pytest.raises(ShapeError, match=r"\(1, 2, 9, 14\)"):
        warp(torch.zeros(1, 1, 9, 14), field)
