"""``cnnreg register``: two images in, a registered pair out, as a sequence of stages."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as later

import torch
from torch import Tensor

from cnnreg.config import Config, InputConfig
from cnnreg.engine.initial import Initial
from cnnreg.evaluation.measure import Evidence, Measures, measure
from cnnreg.geometry.resampling import antialiased, invert_field, warp_image
from cnnreg.images.image import Image
from cnnreg.learning.modelstore import Model
from cnnreg.pairs.dataset import Pair, Points
from cnnreg.pairs.intensities import normalise
from cnnreg.pipeline.deformation import OneShot, iterate, predict
from cnnreg.pipeline.forecast import Forecast, forecast
from cnnreg.pipeline.loading import Inputs, Request, align_inputs, read_inputs
from cnnreg.pipeline.setup import Session, Setup, Stopwatch, Watch
from cnnreg.watching import unwatched


@dataclass(frozen=True)
class Inverse:
    """From the moving to the fixed image."""

    field: Tensor  # (1, 2, h, w) on the moving grid, in its pixels
    residual: Tensor  # (h, w): distance to the starting point after there and back, in pixels of the fixed grid
    covered: Tensor  # (h, w): whether the pixel has an origin in the fixed image


@dataclass
class Registration:
    """A pair on its way: each stage takes it and adds one thing. A report tells all of it."""

    request: Request
    session: Session
    watch: Stopwatch = later(default_factory=Stopwatch)
    inputs: Inputs = later(init=False)  # what was read
    pair: Pair = later(init=False)  # on one grid, through the initial transform
    initial: Initial = later(init=False)
    local: dict[str, Tensor] = later(default_factory=dict)  # (1, 2, H, W) by stage, after the initial transform
    one_shot: OneShot | None = None
    field: Tensor = later(init=False)  # (1, 2, H, W) on the fixed grid, in its pixels, initial transform included
    measures: dict[str, Measures] = later(default_factory=dict)  # before, alignment (where needed), then by stage
    warped: Image = later(init=False)
    inverse: Inverse | None = None

    @property
    def config(self) -> Config:
        return self.session.setup.config

    @property
    def setup(self) -> Setup:
        return self.session.setup

    @property
    def model(self) -> Model:
        return self.session.model

    @property
    def device(self) -> str:
        return self.session.device

    @property
    def threads(self) -> int:
        return self.session.threads

    @property
    def seconds(self) -> dict[str, float]:
        return self.watch.seconds


def register(
    request: Request,
    session: Session,
    *,
    inverse: bool = False,
    on_forecast: Callable[[Forecast], None] = unwatched,
    on_step: Watch = unwatched,
) -> Registration:
    """Read, align, predict, iterate, measure, warp once.

    With ``inverse`` the way back, too. ``on_forecast`` is told what is to be expected, before any long work.
    """
    result = Registration(request, session)
    result.seconds["model"] = session.seconds
    _read(result)
    on_forecast(_foretell(result))
    _align(result)
    _predict(result)
    _iterate(result, on_step)
    _measure(result)
    _warp(result)
    if inverse:
        _invert(result)
    return result


def _read(result: Registration) -> None:
    with result.watch("read"):
        result.inputs = read_inputs(result.request, result.config)


def _foretell(result: Registration) -> Forecast:
    config = result.config
    steps = 0 if config.adaptation.target == "weights" else config.adaptation.steps  # weights see small images
    most = config.refinement.max_size
    return forecast(*result.inputs.images, steps=steps, max_size=most, device=result.device)


def _align(result: Registration) -> None:
    with result.watch("align"):
        result.pair, result.initial = align_inputs(result.inputs, result.config)


def _predict(result: Registration) -> None:
    with result.watch("predict"):
        prediction = predict(result.pair, result.model, result.config, device=result.device)
    if prediction is not None:
        result.local["prediction"] = prediction


def _iterate(result: Registration, on_step: Watch) -> None:
    if not result.config.adaptation.steps:
        return
    with result.watch("adapt"):
        result.one_shot = iterate(
            result.pair,
            result.local.get("prediction"),
            result.model,
            result.config,
            device=result.device,
            landmarks=result.inputs.landmarks,
            on_step=on_step,
        )
    result.local["adaptation"] = result.one_shot.field


def _measure(result: Registration) -> None:
    """Before any registration, and after each stage; the last stage's field is the result's."""
    with result.watch("measure"):
        evidence = gather(result.pair, result.inputs.landmarks)
        result.measures["before"] = measure(evidence, None)
        stages = dict(result.local)
        if result.initial.needed:
            stages = {"alignment": torch.zeros_like(next(iter(stages.values())))} | stages
        for stage, local in stages.items():
            result.field = result.pair.total(local)
            result.measures[stage] = measure(evidence, result.field)


def _warp(result: Registration) -> None:
    with result.watch("warp"):
        result.warped = warp_image(result.pair.moving, result.field, result.pair.fixed.grid)


def _invert(result: Registration) -> None:
    with result.watch("invert"):
        result.inverse = Inverse(*invert_field(result.field, result.pair.fixed.grid, result.pair.moving.grid))


def gather(pair: Pair, landmarks: tuple[Points, Points] | None) -> Evidence:
    """What the pair can be measured with; MAD and NCC do not depend on how a model likes its intensities."""
    fixed, moving = (normalise(image.pixels, InputConfig()) for image in (pair.fixed, pair.moving))
    size = pair.initial.size if pair.initial else 1.0
    points_fixed, points_moving = landmarks or (None, None)
    return Evidence(
        pair.fixed.grid,
        pair.moving.grid,
        torch.from_numpy(fixed)[None, None],
        antialiased(moving, pair.moving.grid, pair.fixed.grid, size),
        pair.seg_fixed,
        pair.seg_moving,
        points_fixed,
        points_moving,
    )
