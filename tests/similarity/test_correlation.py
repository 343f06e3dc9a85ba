"""The local correlation with its derivative by hand: against its definition, numerical gradients and invariances."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from cnnreg.similarity.correlation import (
    Correlation,
    MaskedWindows,
    MatrixWindows,
    RunningWindows,
    WholeImage,
    local_windows,
)
from cnnreg.similarity.differentiable import Climb, ncc
from tests.learning.test_objective import noise


@pytest.fixture(params=["products", "running sums"], autouse=True)
def kind(request, monkeypatch):
    """Every test runs with both ways to sum windows."""
    monkeypatch.setattr("cnnreg.similarity.correlation.SMALL", 10**6 if request.param == "products" else 0)
    return {"products": MatrixWindows, "running sums": RunningWindows}[request.param]


def make(
    fixed: torch.Tensor,
    weights: tuple[float, ...],
    cell: int,
    window: int,
    *,
    signed: bool = True,
    flat: bool = True,
    mask: torch.Tensor | None = None,
) -> Correlation:
    fixed = fixed - fixed.mean((2, 3), keepdim=True)
    windows = WholeImage(fixed) if cell == 0 else local_windows(fixed, window=window, cell=cell)
    windows = windows if mask is None else MaskedWindows(windows, mask)
    return Correlation(fixed, weights, windows, signed=signed, flat=flat, floor=1e-3)


def half_mask() -> torch.Tensor:
    """One for each of two images: a half, and a ragged part."""
    mask = torch.zeros(2, 1, 16, 24, dtype=torch.float64)
    mask[0, :, :, :11] = 1
    mask[1] = (noise(1, 16, 24, seed=5) > 0.4).double()
    return mask


def by_definition(fixed: np.ndarray, warped: np.ndarray, cell: int, window: int, floor: float) -> float:
    """Window by window, as the docstrings say it: around every cell, cut off at the rim."""
    height, width = fixed.shape
    reach = ((window // cell - 1) // 2) * cell
    values = []
    for top in range(0, height, cell):
        for left in range(0, width, cell):
            part = (
                slice(max(top - reach, 0), top + cell + reach),
                slice(max(left - reach, 0), left + cell + reach),
            )
            a, b = fixed[part], warped[part]
            covariance = ((a - a.mean()) * (b - b.mean())).mean()
            values.append((covariance + floor) / np.sqrt((a.var() + floor) * (b.var() + floor)))
    return float(np.mean(values))


@pytest.mark.parametrize(("cell", "window"), [(1, 5), (2, 6), (4, 20), (1, 99)])
def test_it_is_what_its_definition_says(kind, cell, window):
    """Every window summed by itself gives the same number, for each image of a batch and weight of a channel."""
    assert isinstance(local_windows(noise(1, 1, 16, 24), window=window, cell=cell), kind)
    fixed, warped = noise(2, 2, 16, 24), noise(2, 2, 16, 24, seed=1)
    value = make(fixed, (0.7, 0.3), cell, window)(warped - fixed.mean((2, 3), keepdim=True))[0]
    size = min(window, 16)
    for b in range(2):
        parts = [by_definition(fixed[b, c].numpy(), warped[b, c].numpy(), cell, size, 1e-3) for c in range(2)]
        assert value[b].item() == pytest.approx(0.7 * parts[0] + 0.3 * parts[1], abs=1e-10)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("signed", "flat"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize(("cell", "window"), [(1, 5), (4, 12), (2, 99), (0, 0)])
def test_the_derivative_is_the_numerical_one(cell, window, signed, flat, masked):
    """gradcheck of the derivative by hand, at the rim too, in two channels of different weight, of the square too."""
    mask = (noise(1, 1, 12, 16, seed=4) > 0.3).double() if masked else None
    measure = make(noise(1, 2, 12, 16), (0.7, 0.3), cell, window, signed=signed, flat=flat, mask=mask)

    warped = (noise(1, 2, 12, 16, seed=2) - 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: Climb.apply(w, measure), (warped,), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("signed", [True, False])
def test_only_the_pixels_of_the_mask_count(signed):
    """Each window by itself, of the mask's pixels only, weighted by their number; what lies outside has no say."""
    mask, cell, window = half_mask(), 2, 10
    fixed, warped = noise(2, 1, 16, 24), noise(2, 1, 16, 24, seed=1)
    center = fixed.mean((2, 3), keepdim=True)
    measure = make(fixed, (1.0,), cell, window, signed=signed, mask=mask)
    value, slope, _ = measure(warped - center)
    for b in range(2):
        found, weights = [], []
        for top in range(0, 16, cell):
            for left in range(0, 24, cell):
                part = (slice(max(top - 4, 0), top + 6), slice(max(left - 4, 0), left + 6))
                inside = mask[b, 0][part] > 0
                share = inside.double().mean().item()
                if share > 0.1:
                    f, w = fixed[b, 0][part][inside].numpy(), warped[b, 0][part][inside].numpy()
                    covariance = ((f - f.mean()) * (w - w.mean())).mean() + 1e-3
                    found.append(covariance / np.sqrt((f.var() + 1e-3) * (w.var() + 1e-3)))
                    weights.append(share)
        assert value[b].item() == pytest.approx(np.average(np.power(found, 1 if signed else 2), weights=weights))
    other = torch.where(mask > 0, warped, noise(2, 1, 16, 24, seed=9))
    assert_close(measure(other - center)[0], value)
    assert slope[mask == 0].abs().max() == 0


def test_flat_windows_can_be_left_out():
    """A half without structure then has no say, whatever the other image holds there."""
    fixed, warped = noise(1, 1, 16, 40), noise(1, 1, 16, 40, seed=1)
    fixed[..., 20:] = 0.5
    measure = Correlation(fixed - 0.5, [1.0], local_windows(fixed, window=5), flat=False, floor=1e-6)
    other = warped.clone()
    other[..., 24:] = noise(1, 1, 16, 16, seed=2)
    assert measure(other)[0].item() == pytest.approx(measure(warped)[0].item(), abs=1e-4)
    assert measure(fixed - 0.5)[0].item() == pytest.approx(1, abs=1e-3)


def test_the_square_does_not_see_inverted_contrast():
    fixed, warped = noise(1, 1, 16, 24), noise(1, 1, 16, 24, seed=1)
    measure = Correlation(fixed - 0.5, [1.0], WholeImage(fixed), signed=False, floor=0)
    assert_close(measure(warped)[0], measure(1 - warped)[0])
    assert measure(1 - fixed)[0].item() == pytest.approx(1)


def test_the_whole_image_as_one_window_is_global_correlation():
    """But for the floor, the number is ncc's, whose implementation has nothing in common with it."""
    fixed, warped = noise(2, 1, 16, 24), noise(2, 1, 16, 24, seed=1)
    center = fixed.mean((2, 3), keepdim=True)
    measure = Correlation(fixed - center, [1.0], WholeImage(fixed), floor=1e-12)
    assert_close(measure(warped - center)[0], ncc(fixed, warped), atol=1e-8, rtol=0)


def test_an_image_is_in_equilibrium_with_itself():
    """Correlation 1 and no slope, where it is flat and where it is not: an aligned pair is left alone."""
    image = noise(1, 1, 32, 40)
    image[..., :20] = 0.25
    centred = image - image.mean()
    value, slope, _ = make(image, (1.0,), 1, 9)(centred)
    assert value.item() == pytest.approx(1, abs=1e-9)
    assert slope.abs().max() < 1e-12


def test_flat_images_have_finite_slopes():
    flat = torch.full((1, 1, 16, 16), 0.5)
    value, slope, curvature = make(flat, (1.0,), 1, 5)(torch.zeros_like(flat))
    assert value.item() == pytest.approx(1)
    assert slope.isfinite().all()
    assert curvature.isfinite().all()


def test_float32_holds_large_images():
    """Running sums along rows of a thousand pixels agree with float64 to a hundred-thousandth."""
    fixed, warped = noise(1, 1, 64, 1024), noise(1, 1, 64, 1024, seed=1)
    exact, rough = (
        make(fixed.to(t), (1.0,), 2, 20)((warped - fixed.mean()).to(t)) for t in (torch.double, torch.float)
    )
    assert_close(rough[0].double(), exact[0], atol=1e-5, rtol=0)
    assert_close(rough[1].double(), exact[1], atol=1e-3 * exact[1].abs().max().item(), rtol=0)
