"""What the commands do, on files: read, compute, and hand back results that know how they came about."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnreg import modelstore
from cnnreg.adaptation import Terms, adapt
from cnnreg.config import DEFAULT_MODEL, DEFAULT_SEED, Config
from cnnreg.dataset import Pair, PairFiles, load_pair, read_points
from cnnreg.devices import resolve_device, use_threads
from cnnreg.errors import ConfigError, TableError
from cnnreg.evaluation import Evidence, Measures, measure
from cnnreg.fields import resize
from cnnreg.image import Image
from cnnreg.modelstore import Card, Model
from cnnreg.network import build_network
from cnnreg.transform import shrink, warp_image, warp_labels

Watch = Callable[[int, Terms], None]


@dataclass(frozen=True)
class Setup:
    """What every command that computes needs to know."""

    config: Config
    model: str = DEFAULT_MODEL
    device: str = "auto"
    seed: int = DEFAULT_SEED
    threads: int | None = None
    sections: frozenset[str] = frozenset()  # of the config, set by the user's own parameter file


@dataclass(frozen=True)
class Registration:
    """A registered pair: the deformation, and all that a report tells about it."""

    pair: Pair
    field: Tensor  # (1, 2, H, W) on the fixed grid, in its pixels
    warped: Image
    measures: dict[str, Measures]  # before, prediction, adaptation
    history: list[Terms]
    best_step: int
    model: Model
    setup: Setup
    device: str
    threads: int
    seconds: dict[str, float]
    warped_seg: Any = field(default=None)  # (H, W) on the fixed grid


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def register(
    files: PairFiles,
    setup: Setup,
    *,
    points: tuple[Path, Path] | None = None,
    slice_index: int | None = None,
    on_step: Watch = lambda step, terms: None,
) -> Registration:
    """Register two image files: predict with the network, adapt it to the pair if asked to, warp, measure."""
    watch = Stopwatch()
    device, threads = resolve_device(setup.device), use_threads(setup.threads)
    with watch("model"):
        model, config = load(setup)
    with watch("read"):
        pair = load_pair(files, config.input, slice_index=slice_index)
        evidence = gather(pair, points)
    size = pair.fixed.grid.size
    inputs = working_inputs(pair, config, device)
    with watch("predict"), torch.no_grad():
        network = model.network.to(device)
        predicted = resize(network(*inputs), size).cpu()
    with watch("measure"):
        measures = {"before": measure(evidence, None), "prediction": measure(evidence, predicted)}
    final, history, best_step = predicted, [], 0
    if config.adaptation.steps:
        with watch("adapt"):
            adapted = adapt(network, [inputs], config=config, on_step=on_step)
            with torch.no_grad():
                final = resize(adapted.network(*inputs), size).cpu()
            history, best_step = adapted.history, adapted.best_step
        with watch("measure"):
            measures["adaptation"] = measure(evidence, final)
    with watch("warp"):
        warped = warp_image(pair.moving, final, pair.fixed.grid)
        seg = None if pair.seg_moving is None else warp_labels(pair.seg_moving, pair.moving.grid, final, pair.fixed.grid)
    return Registration(
        pair, final, warped, measures, history, best_step, model, replace(setup, config=config), device, threads, watch.seconds, seg
    )


def load(setup: Setup) -> tuple[Model, Config]:
    """The model that ``setup`` names, and the configuration with what the model itself decides.

    The network and the treatment of its input come from the model's card; without a model, from the parameters.
    """
    config = setup.config
    if setup.model == "none":
        network = build_network(config.network, seed=setup.seed).eval()
        card = Card("none", "random weights", config.network, config.input, sha256="")
        return Model(card, network), config
    model = modelstore.load_model(modelstore.find(setup.model))
    for section in ("network", "input"):
        if section in setup.sections and getattr(config, section) != getattr(model.card, section):
            raise ConfigError(
                f"[{section}] of the parameter file is not that of the model {model.card.name}; "
                f"leave the section out, or start from random weights with --model none"
            )
    return model, replace(config, network=model.card.network, input=model.card.input)


def gather(pair: Pair, points: tuple[Path, Path] | None) -> Evidence:
    """What the pair can be measured with."""
    landmarks = [read_points(path) for path in points] if points else [None, None]
    check_landmarks(*landmarks, names=points)
    return Evidence(
        pair.fixed.grid, pair.moving.grid, pair.fixed_input, pair.moving_input, pair.seg_fixed, pair.seg_moving, *landmarks
    )


def check_landmarks(fixed: Any, moving: Any, *, names: Any) -> None:
    """Landmarks must come in equal numbers: row i of one file is row i of the other."""
    if fixed is not None and moving is not None and len(fixed) != len(moving):
        raise TableError(f"{names[0]} has {len(fixed)} points and {names[1]} has {len(moving)}; they must correspond row by row")


def working_inputs(pair: Pair, config: Config, device: str) -> tuple[Tensor, Tensor]:
    """The pair as the network sees it: at most ``input.max_size`` pixels along the longer side, on ``device``."""
    size = config.input.max_size
    return shrink(pair.fixed_input, size).to(device), shrink(pair.moving_input, size).to(device)


@dataclass(frozen=True)
class AdaptedModel:
    """A model fine-tuned on some pairs, not yet saved."""

    network: Any
    base: Model
    config: Config
    history: list[Terms]
    best_step: int
    pairs: int
    seed: int

    def save(self, folder: Path) -> Card:
        """Write it as a model folder."""
        base = self.base.card
        training = {
            "base": base.name,
            "base_sha256": base.sha256,
            "pairs": self.pairs,
            "seed": self.seed,
            "best_step": self.best_step,
            "loss": self.config.as_dict()["loss"],
            "adaptation": self.config.as_dict()["adaptation"],
        }
        return modelstore.save_model(
            self.network,
            folder,
            self.config,
            name=folder.resolve().name,
            description=f"{base.name}, adapted to {self.pairs} pair(s)",
            training=training,
            metrics={"energy_before": self.history[0]["total"], "energy_after": self.history[self.best_step]["total"]},
            license=base.license,
        )


def adapt_model(pairs: list[PairFiles], setup: Setup, *, slice_index: int | None = None, on_step: Watch) -> AdaptedModel:
    """Fine-tune a model on one or several pairs and keep the tuned weights."""
    device = resolve_device(setup.device)
    use_threads(setup.threads)
    model, config = load(setup)
    inputs = [working_inputs(load_pair(files, config.input, slice_index=slice_index), config, device) for files in pairs]
    result = adapt(model.network.to(device), inputs, config=config, on_step=on_step)
    return AdaptedModel(result.network, model, config, result.history, result.best_step, len(pairs), setup.seed)

