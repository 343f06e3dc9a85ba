"""What every command needs before it can compute: parameters, a model, a machine, the network's view of a pair."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor

from cnnreg import defaults
from cnnreg.config import Config
from cnnreg.errors import ConfigError
from cnnreg.geometry.resampling import shrink
from cnnreg.learning import modelplaces
from cnnreg.learning.adaptation import Terms
from cnnreg.learning.modelcards import Card, Model, load_model
from cnnreg.learning.network import build_network
from cnnreg.learning.representation.representing import load_representer
from cnnreg.pairs.dataset import Pair
from cnnreg.watching import unwatched

Watch = Callable[[int, Terms], None]


@dataclass(frozen=True)
class Setup:
    """Parameters, model and machine of a run."""

    config: Config
    model: str = defaults.MODEL
    device: str = "auto"
    seed: int = defaults.SEED
    threads: int | None = None
    sections: frozenset[str] = frozenset()  # of the config, set by the user's own parameter file
    percentiles: tuple[float, float] | None = None  # in place of the model's own


class Stopwatch:
    """Seconds by stage; ``on_stage`` is told each that begins."""

    def __init__(self, on_stage: Callable[[str], None] = unwatched) -> None:
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._on_stage(stage)
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def load(setup: Setup) -> tuple[Model, Config]:
    """The model that ``setup`` names, and the configuration with what the model itself decides.

    The network and the treatment of its input come from the model's card; without a model, from the parameters. What
    the user says of percentiles goes before both.
    """
    model, config = _load(setup)
    if config.adaptation.target == "features":
        if config.refinement.similarity not in {"auto", "learned"}:
            raise ConfigError(
                f"adaptation.target features is for the metric learned, not for {config.refinement.similarity}; "
                f"leave the metric out, or adapt the field"
            )
        config = replace(config, refinement=replace(config.refinement, similarity="learned"))
    if config.refinement.similarity == "learned":
        load_representer(config.refinement.representation)  # what is wrong with it is said before any work
    if setup.percentiles:
        low, high = setup.percentiles
        config = replace(config, input=replace(config.input, low=low, high=high))
    return model, config


def _load(setup: Setup) -> tuple[Model, Config]:
    config = setup.config
    if setup.model == "none":
        network = build_network(config.network, seed=setup.seed).eval()
        return Model(
            Card(
                "none",
                "no model: random weights, or the field from the identity",
                config.network,
                config.input,
                sha256="",
            ),
            network,
        ), config
    model = load_model(modelplaces.find(setup.model))
    for section in ("network", "input"):
        if section in setup.sections and getattr(config, section) != getattr(model.card, section):
            raise ConfigError(
                f"[{section}] of the parameter file is not that of the model {model.card.name}; "
                f"leave the section out, or start from random weights with --model none"
            )
    return model, replace(config, network=model.network.config, input=model.card.input)


def working_inputs(pair: Pair, config: Config, device: str) -> tuple[Tensor, Tensor]:
    """The pair as the network sees it: at most ``input.max_size`` pixels along the longer side, on ``device``."""
    size = config.input.max_size
    return shrink(pair.fixed_input, size).to(device), shrink(pair.moving_input, size).to(device)
