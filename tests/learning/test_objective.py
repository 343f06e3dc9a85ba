"""Similarities and penalties against their definitions, invariances and numerical gradients."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from cnnreg.config import LossConfig
from cnnreg.geometry.fields import pixel_grid
from cnnreg.learning.objective import energy
from cnnreg.similarity.differentiable import BoxMean, local_ncc, ncc, window_sum
from cnnreg.similarity.regularity import diffusion, norm_per_pixel, total_variation


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ncc_is_the_correlation_coefficient():
    """The same number as numpy.corrcoef, for each image of a batch."""
    a, b = noise(3, 1, 9, 14), noise(3, 1, 9, 14, seed=1) + 0.5 * noise(3, 1, 9, 14)
    expected = [np.corrcoef(x.flatten(), y.flatten())[0, 1] for x, y in zip(a, b, strict=True)]
    assert_close(ncc(a, b), torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("measure", [ncc, local_ncc])
def test_similarity_is_symmetric_and_blind_to_gain_and_offset(measure):
    """1 for an image with itself up to gain and offset (texture everywhere), -1 for its negative."""
    a = noise(1, 1, 24, 31)
    assert_close(measure(a, 0.5 * a + 0.2), torch.ones(1, dtype=torch.float64), atol=6e-3, rtol=0)
    assert_close(measure(a, 1 - a), -torch.ones(1, dtype=torch.float64), atol=6e-3, rtol=0)
    b = noise(1, 1, 24, 31, seed=4)
    assert_close(measure(a, b), measure(b, a))
    assert abs(measure(a, b).item()) < 0.2


@pytest.mark.parametrize("measure", [ncc, local_ncc])
def test_flat_images_score_zero_and_have_finite_gradients(measure):
    """A constant image is like nothing, and does not divide by zero."""
    flat = torch.full((1, 1, 20, 25), 0.3, dtype=torch.float64, requires_grad=True)
    score = measure(flat, noise(1, 1, 20, 25))
    assert score.abs().item() < 1e-6
    score.sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_local_ncc_forgives_a_bias_field():
    """A slow gain across the image lowers global NCC but hardly local NCC."""
    image = noise(1, 1, 40, 52)
    bias = torch.linspace(0.3, 2, 52, dtype=torch.float64)
    assert local_ncc(image, image * bias).item() > 0.97
    assert ncc(image, image * bias).item() < 0.8


def test_local_ncc_is_the_mean_over_windows():
    """Against the definition, window by window."""
    a, b = noise(1, 1, 12, 15), noise(1, 1, 12, 15, seed=9)
    values = []
    for i in range(12 - 4):
        for j in range(15 - 4):
            u, v = (x[0, 0, i : i + 5, j : j + 5].numpy() for x in (a, b))
            covariance = ((u - u.mean()) * (v - v.mean())).mean()
            values.append(covariance / np.sqrt((u.var() + 1e-4) * (v.var() + 1e-4)))
    assert local_ncc(a, b, window=5).item() == pytest.approx(np.mean(values), abs=1e-9)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 9, 12])
def test_box_means_of_any_window(window):
    """Running sums by doubling equal average pooling, and so do their gradients."""
    x = noise(2, 3, 14, 19).requires_grad_()
    expected = torch.nn.functional.avg_pool2d(x, window, stride=1)
    assert_close(BoxMean.apply(x, window), expected)
    assert window_sum(torch.ones(1, 14), window, -1).eq(window).all()
    small = x[:1, :1, :13, :12].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: BoxMean.apply(y, window), (small,))


def test_total_variation_of_a_step_counts_its_edges():
    """A step of height 3 in one component along 5 pixels: 3 x 5, a sum over pixels as in equation (1)."""
    field = torch.zeros(1, 2, 5, 8)
    field[:, 1, :, 4:] = 3
    assert total_variation(field).item() == 15
    assert total_variation(field + 7).item() == 15  # a translation costs nothing


def test_norm_is_euclidean_and_per_pixel():
    """||D|| / n, not squared: (3, 4) everywhere has norm 5 sqrt(n), so 5 / sqrt(n)."""
    field = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 6, 9)
    assert norm_per_pixel(field).item() == pytest.approx(5 / np.sqrt(54))


def test_diffusion_of_a_linear_field():
    """u = A p has the squared gradient |A|^2 everywhere, whatever the size."""
    matrix = torch.tensor([[0.1, -0.3], [0.2, 0.05]])
    for shape in ((8, 11), (30, 17)):
        field = torch.einsum("ij,bjhw->bihw", matrix, pixel_grid(torch.empty(1, 1, *shape)))
        assert diffusion(field).item() == pytest.approx(matrix.square().sum().item(), rel=1e-4)


def test_energy_is_equation_one():
    """-NCC + 1e-6 TV + 1e-6 ||D|| / n, and each term is reported."""
    fixed, warped, field = noise(1, 1, 9, 14), noise(1, 1, 9, 14, seed=1), noise(1, 2, 9, 14, seed=2) * 5
    terms = energy(fixed, warped, field, LossConfig())
    expected = -ncc(fixed, warped) + 1e-6 * total_variation(field) + 1e-6 * norm_per_pixel(field)
    assert_close(terms["total"], expected)
    assert set(terms) == {"total", "ncc", "tv", "l2"}
    assert_close(terms["total"], terms["ncc"] + terms["tv"] + terms["l2"])


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(tv=0.1, l2=0.5),
        LossConfig(similarity="lncc", window=5, tv=0, l2=0, diffusion=0.3),
        LossConfig(similarity="mse"),
        LossConfig(similarity="mi"),
        LossConfig(similarity="mind"),
    ],
    ids=["paper", "lncc", "mse", "mi", "mind"],
)
def test_gradients_of_the_energy(config):
    """Analytic gradients with respect to the warped image and the field equal numerical ones."""
    fixed = noise(2, 1, 8, 11)
    warped = noise(2, 1, 8, 11, seed=1).requires_grad_()
    field = (noise(2, 2, 8, 11, seed=2) * 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda w, f: energy(fixed, w, f, config)["total"], (warped, field))


def test_gradient_of_the_penalties_at_rest_is_finite():
    """At D = 0, where the norm has a kink, training must be able to start."""
    field = torch.zeros(1, 2, 6, 9, requires_grad=True)
    image = noise(1, 1, 6, 9).float()
    energy(image, image, field, LossConfig(diffusion=1.0))["total"].sum().backward()
    assert torch.equal(field.grad, torch.zeros_like(field))
