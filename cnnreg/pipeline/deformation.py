"""What the network and the iterations make of a pair that is ready: prediction, then adaptation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cnnreg.config import Config
from cnnreg.engine.refinement import refine
from cnnreg.geometry.fields import resize
from cnnreg.geometry.resampling import shrink
from cnnreg.learning.adaptation import Terms, adapt
from cnnreg.learning.modelstore import Model
from cnnreg.learning.network import RegistrationNetwork
from cnnreg.pairs.dataset import Pair, Points
from cnnreg.pipeline.setup import Stopwatch, Watch, working_inputs
from cnnreg.watching import unwatched


@dataclass(frozen=True)
class OneShot:
    """What the iterations on the pair came to."""

    field: Tensor  # (1, 2, H, W) on the fixed grid, in its pixels; after the initial alignment
    start: str  # "network"; or, of the field, "identity" or "coarse" where the network's prediction was not the best
    best_step: int
    history: list[Terms]  # the energy before each iteration; of weights also after the last
    similarity: str  # as it was used: "auto" has become another


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
    fields, one_shot = {}, None
    with watch("predict"):
        prediction = predict(pair, model, config, device=device)
    if prediction is not None:
        fields["prediction"] = prediction
    if config.adaptation.steps:
        with watch("adapt"):
            one_shot = iterate(pair, prediction, model, config, device=device, landmarks=landmarks, on_step=on_step)
        fields["adaptation"] = one_shot.field
    return fields, one_shot


def predict(pair: Pair, model: Model, config: Config, *, device: str) -> Tensor | None:
    """The network's field (1, 2, H, W) on the fixed grid; None where it is random and the field itself is iterated."""
    weights, steps = config.adaptation.target == "weights", config.adaptation.steps
    if not model.path and steps and not weights:
        return None
    network, inputs = model.network.to(device), working_inputs(pair, config, device)
    with torch.no_grad():
        return resize(network(*inputs), pair.fixed.grid.size).cpu()


def iterate(
    pair: Pair,
    prediction: Tensor | None,
    model: Model,
    config: Config,
    *,
    device: str,
    landmarks: tuple[Points, Points] | None = None,
    on_step: Watch = unwatched,
) -> OneShot:
    """``config.adaptation.steps`` iterations on the pair: on the field, or on a copy of the network's weights."""
    if config.adaptation.target == "weights":
        network, inputs = model.network.to(device), working_inputs(pair, config, device)
        return _adapt_weights(network, inputs, pair.fixed.grid.size, config, on_step)
    return _refine_field(pair, prediction, landmarks, config, on_step, device)


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

    refined = refine(
        fixed, moving, starts, steps=steps, config=config.refinement, mask=mask, landmarks=points, on_step=tell
    )
    shrunk = max(size) / max(low)
    history: list[Terms] = [
        {"total": energy, "level": level * shrunk}
        for energy, level in zip(refined.energies[:, 0].tolist(), refined.levels, strict=True)
    ]
    return OneShot(resize(refined.field.cpu(), size), refined.start[0], steps, history, refined.similarity)
