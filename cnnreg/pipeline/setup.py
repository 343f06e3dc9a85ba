"""What every command needs before it can compute: parameters, a model, a machine, the network's view of a pair."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cnnreg import defaults, modelstore
from cnnreg.adaptation import Terms
from cnnreg.config import Config
from cnnreg.dataset import Pair, PairFiles, make_pair, normalise, read_intensities, read_labels, with_labels
from cnnreg.errors import ConfigError, ImageError
from cnnreg.initial import Initial, find_initial, given_alignment
from cnnreg.modelstore import Card, Model
from cnnreg.network import build_network
from cnnreg.transform import shrink
from cnnreg.transformfile import read_affine

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


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def load(setup: Setup) -> tuple[Model, Config]:
    """The model that ``setup`` names, and the configuration with what the model itself decides.

    The network and the treatment of its input come from the model's card; without a model, from the parameters.
    """
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
    model = modelstore.load_model(modelstore.find(setup.model))
    for section in ("network", "input"):
        if section in setup.sections and getattr(config, section) != getattr(model.card, section):
            raise ConfigError(
                f"[{section}] of the parameter file is not that of the model {model.card.name}; "
                f"leave the section out, or start from random weights with --model none"
            )
    return model, replace(config, network=model.card.network, input=model.card.input)


def load_aligned(
    files: PairFiles,
    config: Config,
    watch: Stopwatch,
    *,
    slice_index: int | None = None,
    transform: Path | None = None,
    masks: tuple[Path | None, Path | None] = (None, None),
) -> tuple[Pair, Initial]:
    """Read two images, find their initial alignment, and bring them to one grid by it.

    ``transform`` is a file that says the alignment, instead of ``config.alignment.init``. ``masks``, of the fixed and
    of the moving image, say where they count.
    """
    with watch("read"):
        fixed, moving = (read_intensities(path, slice_index=slice_index) for path in (files.fixed, files.moving))
        own = [
            torch.from_numpy(normalise(image.pixels, config.input, name=str(path)))[None, None]
            for image, path in ((fixed, files.fixed), (moving, files.moving))
        ]
        regions = tuple(
            read_labels(path, image.grid, slice_index=slice_index) != 0 if path else None
            for path, image in zip(masks, (fixed, moving), strict=True)
        )
        for path, region in zip(masks, regions, strict=True):
            if region is not None and not region.any():
                raise ImageError(f"the mask {path} is empty")
        own = [
            torch.cat([image, torch.ones_like(image) if region is None else torch.from_numpy(region)[None, None]], 1)
            for image, region in zip(own, regions, strict=True)
        ]
        given = given_alignment(fixed.grid, moving.grid)
        told = read_affine(transform, fixed.grid, moving.grid) if transform else None
    with watch("align"):
        if told and transform:
            initial = Initial(told, given, f"from {transform.name}")
        else:
            initial = find_initial(own[0], own[1], given, method=config.alignment.init)
    with watch("read"):
        between = initial.given.inverse().after(initial.affine) if initial.needed else None
        names = str(files.fixed), str(files.moving)
        pair = make_pair(fixed, moving, config.input, initial=between, regions=regions, names=names)
        return with_labels(pair, files, slice_index=slice_index), initial


def working_inputs(pair: Pair, config: Config, device: str) -> tuple[Tensor, Tensor]:
    """The pair as the network sees it: at most ``input.max_size`` pixels along the longer side, on ``device``."""
    size = config.input.max_size
    return shrink(pair.fixed_input, size).to(device), shrink(pair.moving_input, size).to(device)
