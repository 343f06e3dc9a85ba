"""``cnnreg register``: two image files in, a registered pair out."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cnnreg.config import Config
from cnnreg.devices import prepare_cpu, resolve_device, threads_kept
from cnnreg.engine.evidence import Comparison
from cnnreg.engine.initial import Initial
from cnnreg.engine.refinement import refine
from cnnreg.engine.remembering import remembering
from cnnreg.engine.verdict import Verdict, assess
from cnnreg.evaluation.measure import Measures, measure_stages
from cnnreg.geometry.fields import resize
from cnnreg.geometry.resampling import invert_field, shrink, warp_image
from cnnreg.images.image import Image
from cnnreg.learning.adaptation import Terms, adapt
from cnnreg.learning.modelcards import Model
from cnnreg.learning.network import RegistrationNetwork
from cnnreg.pairs.dataset import Pair, read_landmarks
from cnnreg.pairs.pointfiles import Points
from cnnreg.pairs.pointunits import check_inside
from cnnreg.pipeline.assessment import UNREAL, comparison_of, is_plain, is_real
from cnnreg.pipeline.forecast import Forecast, forecast
from cnnreg.pipeline.loading import Request, align, read
from cnnreg.pipeline.representing import representation_of
from cnnreg.pipeline.setup import Setup, Stopwatch, Watch, load, working_inputs
from cnnreg.watching import UNWATCHED, Watcher, unwatched

NOTHING = (
    "the displacement field was left at zero, as held-out blocks of the images gain nothing by any iterations "
    "(name a --metric to iterate all the same)"
)


@dataclass(frozen=True)
class OneShot:
    """What the iterations on the pair came to."""

    field: Tensor  # (1, 2, H, W) on the fixed grid, in its pixels; after the initial alignment
    start: str  # "network"; or, of the field, "identity" or "coarse" where the network's prediction was not the best
    best_step: int
    history: list[Terms]  # the energy before each iteration; of weights also after the last
    similarity: str  # as it was used: "auto" has become another, "none" where nothing is borne out
    transform: str = ""  # of the field: "dense", "bspline" or "none"
    evidence: str = ""  # why, where they were chosen for the pair
    borne_out: bool = True  # by held-out blocks; if not, descriptors decide

    def dropped(self) -> "OneShot":
        """No displacement, and what was tried is told as evidence only."""
        told = (
            f"{self.evidence}; {self.similarity} with {self.transform} was tried, but descriptors do not show its field"
        )
        return OneShot(torch.zeros_like(self.field), "identity", 0, [], "none", "none", told.removeprefix("; "))


@dataclass(frozen=True)
class Inverse:
    """From the moving to the fixed image."""

    field: Tensor  # (1, 2, h, w) on the moving grid, in its pixels
    residual: Tensor  # (h, w): distance to the starting point after there and back, in pixels of the fixed grid
    covered: Tensor  # (h, w): whether the pixel has an origin in the fixed image


@dataclass(frozen=True)
class Registration:
    """A registered pair: the deformation, and all that a report tells about it."""

    request: Request
    pair: Pair
    initial: Initial
    field: Tensor  # (1, 2, H, W) on the fixed grid, in its pixels
    warped: Image
    inverse: Inverse | None
    measures: dict[
        str, Measures
    ]  # before, alignment (where there was need of one), prediction (with a model), adaptation (with iterations)
    one_shot: OneShot | None
    model: Model
    setup: Setup  # with the configuration as it was resolved
    device: str
    threads: int
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()  # what its user should know
    verdict: Verdict | None = None  # whether it went well; None where no model describes images


@threads_kept()
@remembering()
def register(
    request: Request,
    setup: Setup,
    *,
    loaded: tuple[Model, Config] | None = None,
    inverse: bool = False,
    watcher: Watcher = UNWATCHED,
) -> Registration:
    """Read, align, predict and iterate, measure, warp, invert if asked to: one stage after the other.

    ``loaded`` is what :func:`cnnreg.pipeline.setup.load` gives for ``setup``, where it is known already.
    ``watcher`` is told where it is.
    """
    watch = Stopwatch(watcher.stage)
    device = resolve_device(setup.device)
    with watch("model"):
        model, config = loaded or load(setup)
    sides = read(request, config, watch)
    fixed, moving = (side.image for side in sides)
    prepare_cpu(setup.threads, pixels=max(math.prod(image.grid.size) for image in (fixed, moving)))
    watcher.forecast(_foretell(fixed, moving, config, device))
    pair, initial = align(request, config, sides, watch)
    landmarks = _landmarks(request, pair)
    notes = _check(request, pair, landmarks)
    local, one_shot = deform(pair, model, config, device=device, watch=watch, landmarks=landmarks, on_step=watcher.step)
    with watch("judge"):
        comparison = comparison_of(pair, config)
        judged = one_shot and one_shot.transform != "none" and _by_images(config, landmarks)
        if one_shot and judged and not _kept(one_shot, comparison):
            notes += (UNREAL if one_shot.borne_out else NOTHING,)
            one_shot = one_shot.dropped()
            local = local | {"adaptation": one_shot.field}
        elif one_shot and one_shot.transform == "none":
            notes += (NOTHING,)
        last = list(local.values())[-1][0].numpy()
        verdict = assess(comparison, last, rival=initial.rival) if comparison else None
    fields = _total(local, pair, initial)
    with watch("measure"):
        measures = measure_stages(pair, landmarks, fields)
    field = [field for field in fields.values() if field is not None][-1]
    with watch("warp"):
        warped = warp_image(pair.moving, field, pair.fixed.grid)
    back = _invert(field, pair, watch) if inverse else None
    setup = replace(setup, config=config)
    return Registration(
        request,
        pair,
        initial,
        field,
        warped,
        back,
        measures,
        one_shot,
        model,
        setup,
        device,
        torch.get_num_threads(),
        watch.seconds,
        notes,
        verdict,
    )


def _kept(one_shot: OneShot, comparison: Comparison | None) -> bool:
    """Whether the descriptors, if there are any, show the field; plainly, where the images themselves do not."""
    if one_shot.borne_out or comparison is None:
        return is_real(comparison, one_shot.field, one_shot.similarity)
    return is_plain(comparison, one_shot.field)


def _by_images(config: Config, landmarks: tuple[Points, Points] | None) -> bool:
    """Whether the field comes from iterations on it, and from the images alone."""
    return config.adaptation.target != "weights" and not (landmarks and config.refinement.landmarks)


def _foretell(fixed: Image, moving: Image, config: Config, device: str) -> Forecast:
    steps = 0 if config.adaptation.target == "weights" else config.adaptation.steps  # weights see small images
    return forecast(fixed, moving, steps=steps, max_size=config.refinement.max_size, device=device)


def _landmarks(request: Request, pair: Pair) -> tuple[Points, Points] | None:
    """Of both images, in their pixels."""
    if not request.points:
        return None
    grids = pair.fixed.grid, pair.moving.grid
    return read_landmarks(*request.points, physical=grids if request.physical else None)


def _check(request: Request, pair: Pair, landmarks: tuple[Points, Points] | None) -> tuple[str, ...]:
    """What to tell of pixels that are missing, and of landmarks that lie outside of their image."""
    lost = tuple(
        f"{name}: {int(image.missing.sum())} pixels are NaN and do not count"
        for name, image in zip(request.names, (pair.fixed, pair.moving), strict=True)
        if image.missing is not None
    )
    if landmarks is None:
        return lost
    parts = zip(landmarks, (pair.fixed.grid, pair.moving.grid), ("fixed", "moving"), strict=True)
    told = (check_inside(points, grid, which=which, physical=request.physical) for points, grid, which in parts)
    return (*lost, *(note for note in told if note))


def _total(local: dict[str, Tensor], pair: Pair, initial: Initial) -> dict[str, Tensor | None]:
    """The field after every stage, from the fixed to the moving image itself; None before the first."""
    fields: dict[str, Tensor | None] = {"before": None}
    if initial.needed:
        fields["alignment"] = pair.total(torch.zeros_like(next(iter(local.values()))))
    return fields | {stage: pair.total(field) for stage, field in local.items()}


def _invert(field: Tensor, pair: Pair, watch: Stopwatch) -> Inverse:
    with watch("invert"):
        return Inverse(*invert_field(field, pair.fixed.grid, pair.moving.grid))


def deform(
    pair: Pair,
    model: Model,
    config: Config,
    *,
    device: str,
    watch: Stopwatch,
    landmarks: tuple[Points, Points] | None = None,
    on_step: Watch = unwatched,
) -> tuple[dict[str, Tensor], OneShot | None]:
    """The fields (1, 2, H, W) of the stages that ``config`` asks for, prediction and adaptation, on the fixed grid.

    ``landmarks``, in pixels of either image, pull as ``config`` says.
    """
    size, fields, one_shot = pair.fixed.grid.size, {}, None
    weights = config.adaptation.target == "weights"
    network, inputs = model.network.to(device), working_inputs(pair, config, device)
    if model.path or weights or not config.adaptation.steps:  # steps on the field have no use for a random network
        with watch("predict"), torch.no_grad():
            fields["prediction"] = resize(network(*inputs), size).cpu()
    if config.adaptation.steps:
        with watch("adapt"):
            if weights:
                one_shot = _adapt_weights(network, inputs, size, config, on_step)
            else:
                one_shot = _refine_field(pair, fields.get("prediction"), landmarks, config, on_step, device)
        fields["adaptation"] = one_shot.field
    return fields, one_shot


def _adapt_weights(
    network: RegistrationNetwork, inputs: tuple[Tensor, Tensor], size: tuple[int, int], config: Config, on_step: Watch
) -> OneShot:
    with torch.no_grad():
        adapted = adapt(network, [inputs], config=config, on_step=on_step)
        field = resize(adapted.network(*inputs), size).cpu()
    return OneShot(field, "network", adapted.best_step, adapted.history, config.loss.similarity)


def _refine_field(
    pair: Pair,
    prediction: Tensor | None,
    landmarks: tuple[Points, Points] | None,
    config: Config,
    on_step: Watch,
    device: str,
) -> OneShot:
    """At the images' own size up to ``refinement.max_size``, whatever the network saw."""
    steps, most, size = config.adaptation.steps, config.refinement.max_size, pair.fixed.grid.size
    fixed, moving = (shrink(image, most).to(device) for image in (pair.fixed_input, pair.moving_input))
    mask = None if pair.mask is None else (shrink(pair.mask, most) > 0.99).to(fixed)  # all that a pixel covers
    low = fixed.shape[2], fixed.shape[3]
    starts = {} if prediction is None else {"network": resize(prediction, low).to(device)}
    points = None
    if landmarks and config.refinement.landmarks:
        factor = torch.tensor(low) / torch.tensor(size)
        on_fixed = torch.from_numpy(landmarks[0]), torch.from_numpy(pair.before_initial(landmarks[1]))
        points = (on_fixed[0] + 0.5) * factor - 0.5, (on_fixed[1] + 0.5) * factor - 0.5

    def tell(done: int, energy: Tensor) -> None:  # a GPU is not made to wait for a number to show
        on_step(done, {"total": energy.mean().item()} if device == "cpu" else {})

    represent, told = representation_of(fixed, moving, mask, config)
    refined = refine(
        fixed,
        moving,
        starts,
        steps=steps,
        config=config.refinement,
        mask=mask,
        landmarks=points,
        represent=represent,
        tentative=config.alignment.features != "none",
        on_step=tell,
    )
    shrunk = max(size) / max(low)
    history: list[Terms] = [
        {"total": energy, "level": level * shrunk}
        for energy, level in zip(refined.energies[:, 0].tolist(), refined.levels, strict=True)
    ]
    chosen = refined.similarity, refined.transform, told or refined.evidence, refined.borne_out
    return OneShot(resize(refined.field.cpu(), size), refined.start[0], steps, history, *chosen)
