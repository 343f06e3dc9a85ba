"""Registering one pair, or many with one model."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cnnreg import defaults
from cnnreg.errors import UsageError
from cnnreg.interface.images import ImageLike, PointsLike, points_source, source
from cnnreg.interface.registration import Registration
from cnnreg.interface.settings import is_transform, make_setup
from cnnreg.pairs.dataset import PairFiles
from cnnreg.pipeline.forecast import Forecast
from cnnreg.pipeline.loading import Request, Spacing
from cnnreg.pipeline.registration import register as run
from cnnreg.pipeline.setup import Session, Setup, Watch, open_session
from cnnreg.watching import unwatched

T = TypeVar("T")


class Registrar:
    """Registers pairs with one model on one device, which are kept between pairs; no pair changes the next.

    >>> registrar = cnnreg.Registrar(adapt=50)
    >>> results = [registrar(fixed, moving) for fixed, moving in pairs]
    """

    def __init__(
        self,
        *,
        adapt: int | None = 50,
        model: str = defaults.MODEL,
        preset: str | None = None,
        parameters: str | Path | None = None,
        init: str | os.PathLike[str] | None = None,
        similarity: str | None = None,
        device: str = "auto",
        threads: int | None = None,
        seed: int = defaults.SEED,
    ) -> None:
        """The arguments of :func:`register` that do not belong to a pair."""
        setup = make_setup(
            adapt=adapt,
            model=model,
            preset=preset,
            parameters=parameters,
            init=init,
            similarity=similarity,
            device=device,
            threads=threads,
            seed=seed,
        )
        self._session: Session = open_session(setup)
        self._transform = Path(init) if init is not None and is_transform(init) else None

    @classmethod
    def of(cls, setup: Setup) -> "Registrar":
        """One whose parameters are resolved already, such as by the command line."""
        registrar = cls.__new__(cls)
        registrar._session, registrar._transform = open_session(setup), None
        return registrar

    def __call__(
        self,
        fixed: ImageLike,
        moving: ImageLike,
        *,
        fixed_mask: ImageLike | None = None,
        moving_mask: ImageLike | None = None,
        points: tuple[PointsLike, PointsLike] | None = None,
        seg: tuple[ImageLike, ImageLike] | None = None,
        spacing: float | Spacing | None = None,
    ) -> Registration:
        """Register ``moving`` to ``fixed``; see :func:`register`."""
        both = _spacing(spacing)
        seg_fixed, seg_moving = _both(seg, "seg") or (None, None)
        landmarks = _both(points, "points")
        request = Request(
            PairFiles(
                source(fixed, "fixed"),
                source(moving, "moving"),
                None if seg_fixed is None else source(seg_fixed, "seg_fixed"),
                None if seg_moving is None else source(seg_moving, "seg_moving"),
            ),
            None
            if landmarks is None
            else (points_source(landmarks[0], "points_fixed"), points_source(landmarks[1], "points_moving")),
            masks=(
                None if fixed_mask is None else source(fixed_mask, "fixed_mask"),
                None if moving_mask is None else source(moving_mask, "moving_mask"),
            ),
            spacings=(both, both),
        )
        return self.run(request, moving=moving)

    def run(
        self,
        request: Request,
        *,
        moving: ImageLike | None = None,
        inverse: bool = False,
        on_forecast: Callable[[Forecast], None] = unwatched,
        on_step: Watch = unwatched,
    ) -> Registration:
        """Register what ``request`` names; ``moving`` decides in which kind images come back."""
        if self._transform:
            request = replace(request, transform=self._transform)
        result = run(request, self._session, inverse=inverse, on_forecast=on_forecast, on_step=on_step)
        return Registration(result, str(request.files.moving) if moving is None else moving)


def register(
    fixed: ImageLike,
    moving: ImageLike,
    *,
    adapt: int | None = 50,
    model: str = defaults.MODEL,
    preset: str | None = None,
    parameters: str | Path | None = None,
    init: str | os.PathLike[str] | None = None,
    similarity: str | None = None,
    fixed_mask: ImageLike | None = None,
    moving_mask: ImageLike | None = None,
    points: tuple[PointsLike, PointsLike] | None = None,
    seg: tuple[ImageLike, ImageLike] | None = None,
    spacing: float | Spacing | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int = defaults.SEED,
) -> Registration:
    """Register ``moving`` to ``fixed``: initial transform, the network's prediction, iterations on the pair.

    Args:
        fixed: a path, a NumPy array (H, W) or (H, W, C), a torch tensor (H, W), (C, H, W) or (1, C, H, W), or a
            SimpleITK image, of any number type. The result lies on its grid.
        moving: likewise; the two may differ in kind, size, spacing and number type.
        adapt: iterations on this pair; 0 = prediction only; None = as the preset or parameter file says.
        model: a model's name or folder; "none" = no network.
        preset, parameters: of all other parameters; a name or a TOML file.
        init: "auto", "none", "center", "moments", "rigid", "similarity", "affine", or a transform file.
        similarity: the metric: "lncc", "ncc", "mse", "mi", "mind" or "auto".
        fixed_mask, moving_mask: images of as many pixels, not 0 where the image counts.
        points: landmarks of the fixed and of the moving image to measure by: (N, 2), x and y in pixels, or tables.
        seg: label maps of the fixed and of the moving image to measure by; they do not steer.
        spacing: of the pixels, x and y in mm, where the images do not say.
        device: "auto", "cpu", "cuda" or "cuda:i". threads: None = as torch chooses. seed: of random weights.

    Returns:
        The registered pair; its images are of the moving image's kind.

    Raises:
        CnnregError: an input that cannot be used; its message says what was expected and what to do.

    The method is that of Ferrante et al. 2018 (arXiv:1802.05984) with iterations on the field by default.
    """
    registrar = Registrar(
        adapt=adapt,
        model=model,
        preset=preset,
        parameters=parameters,
        init=init,
        similarity=similarity,
        device=device,
        threads=threads,
        seed=seed,
    )
    return registrar(
        fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask, points=points, seg=seg, spacing=spacing
    )


def _both(pair: tuple[T, T] | None, name: str) -> tuple[T, T] | None:
    """Something of the fixed and of the moving image."""
    if pair is not None and (not isinstance(pair, tuple | list) or len(pair) != 2 or any(x is None for x in pair)):
        raise UsageError(f"{name} must be two, of the fixed and of the moving image")
    return pair


def _spacing(spacing: float | Spacing | None) -> Spacing | None:
    if spacing is None:
        return None
    x, y = (spacing, spacing) if isinstance(spacing, int | float) else spacing
    if not (0 < x < float("inf") and 0 < y < float("inf")):
        raise UsageError(f"spacing must be above 0, x and y in mm, got {spacing!r}")
    return float(x), float(y)
