"""Families of smooth fields: SciPy's B-splines, exact derivatives, adjoints, and what bends."""

import pytest
import torch
from scipy.interpolate import BSpline
from torch.testing import assert_close

from cnnreg.geometry.splines import SplineFamily

SIZE = (37, 52)
LIKE = torch.zeros(1, dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def affine() -> torch.Tensor:
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in SIZE), indexing="ij")
    return torch.stack([2 + 0.1 * y - 0.05 * x, -1 + 0.02 * y + 0.07 * x])[None]


@pytest.mark.parametrize("spacing", [5.0, 16.0, 40.0])
def test_they_are_cubic_b_splines(spacing):
    """Along the rows as SciPy has them, with their derivatives; they sum to 1 at every pixel."""
    family = SplineFamily(SIZE, spacing, LIKE)
    values, first, second = family.rows
    assert_close(values.sum(1), torch.ones(SIZE[0], dtype=torch.float64))
    basis = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    cells = family.shape[0] - 3
    place = torch.arange(SIZE[0], dtype=torch.float64) / spacing + 1 + (cells - (SIZE[0] - 1) / spacing) / 2
    offset = (place[:, None] - torch.arange(family.shape[0], dtype=torch.float64)).numpy()
    for part, order in ((values, 0), (first, 1), (second, 2)):
        expected = torch.from_numpy(basis.derivative(order)(offset) if order else basis(offset)).nan_to_num()
        assert_close(part, expected / spacing**order, atol=1e-9, rtol=0)


@pytest.mark.parametrize("spacing", [None, 9.0])
def test_affine_fields_belong_to_every_family_and_do_not_bend(spacing):
    family = SplineFamily(SIZE, spacing, LIKE)
    coefficients = family.fit(affine())
    assert_close(family.field(coefficients), affine())
    assert (coefficients * family.bending(coefficients)).sum().abs() < 1e-12
    bent = draw(1, 2, *family.shape)
    assert (bent * family.bending(bent)).sum() > 0


@pytest.mark.parametrize("spacing", [None, 9.0])
def test_the_transpose_is_the_transpose(spacing):
    family = SplineFamily(SIZE, spacing, LIKE)
    c, x = draw(2, 2, *family.shape), draw(2, 2, *SIZE, seed=1)
    assert_close((family.field(c) * x).sum(), (c * family.transpose(x)).sum())


def test_the_bending_energy_is_that_of_finite_differences():
    """On a wide grid, where differences of neighbours are close to derivatives."""
    family = SplineFamily((80, 90), 40.0, LIKE)
    c = draw(1, 2, *family.shape)
    u = family.field(c)
    yy = u[:, :, 2:, 1:-1] - 2 * u[:, :, 1:-1, 1:-1] + u[:, :, :-2, 1:-1]
    xx = u[:, :, 1:-1, 2:] - 2 * u[:, :, 1:-1, 1:-1] + u[:, :, 1:-1, :-2]
    xy = (u[:, :, 2:, 2:] - u[:, :, 2:, :-2] - u[:, :, :-2, 2:] + u[:, :, :-2, :-2]) / 4
    expected = (yy**2 + 2 * xy**2 + xx**2).sum(1).mean()
    assert (c * family.bending(c)).sum().item() == pytest.approx(expected.item(), rel=0.05)
