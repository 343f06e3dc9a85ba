"""Unsupervised pre-training: the loop of Ferrante et al. 2018, on any table of pairs."""

import csv
import io
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Generator, Tensor

from cnnreg.config import Config
from cnnreg.errors import ConfigError, DivergenceError, Interrupted, ModelError, OutputError
from cnnreg.evaluation import metrics
from cnnreg.files import claim, locked, replacing
from cnnreg.geometry.fields import jacobian_determinant, warp
from cnnreg.geometry.resampling import warp_labels
from cnnreg.images.image import Grid
from cnnreg.learning.augmentation import augment
from cnnreg.learning.network import RegistrationNetwork
from cnnreg.learning.objective import energy
from cnnreg.pairs.dataset import Pair
from cnnreg.watching import unwatched

CHECKPOINT, LOG = "checkpoint.pt", "log.csv"
COLUMNS = ["step", "loss", "learning_rate", "val_loss", "val_dsc", "val_folding_percent"]


@dataclass
class TrainingState:
    """All that the next step depends on: saved, restored, and the run goes on as if it had not stopped."""

    network: RegistrationNetwork
    optimizer: torch.optim.Optimizer
    generator: Generator
    origin: dict[str, Any]
    step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)  # weights of the best validation so far
    best_score: float = -math.inf
    log: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """What a caller may want to show after a step."""

    step: int
    steps: int
    loss: float
    images_per_second: float

    @property
    def note(self) -> str:
        """The numbers in words."""
        return f"loss {self.loss:.4f}, {self.images_per_second:.0f} images/s"


def train(
    network: RegistrationNetwork,
    pairs: list[Pair],
    folder: Path,
    *,
    config: Config,
    seed: int,
    origin: dict[str, Any] | None = None,
    validation: list[Pair] | None = None,
    resume: bool = False,
    overwrite: bool = True,
    device: str = "cpu",
    on_step: Callable[[Progress], None] = unwatched,
) -> TrainingState:
    """Train ``network`` in place and leave it with its best weights; checkpoint and log go to ``folder``.

    Best is the highest mean Dice on ``validation``, the lowest energy where it has no labels, and the last step where
    there is no validation. ``origin`` says what else decides the result, such as the hash of the table: it is kept in
    the checkpoint, and resuming with another one is an error. A run that was interrupted and resumed gives the weights
    of one that was not (on CPU).
    """
    options = config.training
    fixed, moving = (stack(pairs, which, device) for which in ("fixed_input", "moving_input"))
    network.to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=options.learning_rate, fused=True)
    origin = (origin or {}) | {"seed": seed}
    state = TrainingState(network, optimizer, Generator().manual_seed(seed), origin)
    if resume:
        restore(state, folder, config)
    else:
        _begin(state, folder, config, overwrite=overwrite)
    with stop_signals() as stopped:
        while state.step < options.steps:
            began = time.perf_counter()
            rows = torch.randint(len(pairs), (options.batch_size,), generator=state.generator)
            batch = augment(fixed[rows], moving[rows], strength=options.augment, generator=state.generator)
            rate = learning_rate(state.step, config)
            loss = training_step(network, optimizer, *batch, config=config, rate=rate, step=state.step)
            state.step += 1
            row: dict[str, Any] = {"step": state.step, "loss": loss, "learning_rate": rate}
            if due := state.step % options.validate_every == 0 or state.step == options.steps:
                row |= _validate(state, validation, config)
            state.log.append(row)
            if due or stopped:
                save(state, folder, config)
            on_step(Progress(state.step, options.steps, loss, options.batch_size / (time.perf_counter() - began)))
            if stopped:
                raise Interrupted(f"stopped at step {state.step} of {options.steps}; go on from there with --resume")
    if state.best:
        network.load_state_dict(state.best)
    network.eval()
    return state


def training_step(
    network: RegistrationNetwork,
    optimizer: torch.optim.Optimizer,
    fixed: Tensor,
    moving: Tensor,
    *,
    config: Config,
    rate: float,
    step: int,
) -> float:
    """One step of Adam on a batch of pairs (B, 1, H, W); returns the mean energy before it."""
    field = network(fixed, moving)
    loss = energy(fixed, warp(moving, field), field, config.loss)["total"].mean()
    value = loss.item()
    if not math.isfinite(value):
        raise DivergenceError(f"the loss is {value} at step {step}; lower training.learning_rate ({rate:g})")
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return value


def learning_rate(step: int, config: Config) -> float:
    """Adam's step size at ``step``."""
    options = config.training
    if options.schedule == "constant":
        return options.learning_rate
    return options.learning_rate * (1 + math.cos(math.pi * step / options.steps)) / 2


def stack(pairs: list[Pair], which: str, device: str) -> Tensor:
    """The ``which`` tensors of all pairs as (N, 1, H, W)."""
    sizes = {tuple(getattr(pair, which).shape[2:]) for pair in pairs}
    if len(sizes) > 1:
        found = ", ".join(f"{w}x{h}" for h, w in sorted(sizes)[:4])
        raise ConfigError(f"the training images have different sizes ({found}); set training.size, say to 256")
    return torch.cat([getattr(pair, which) for pair in pairs]).to(device)


@torch.no_grad()
def evaluate(network: RegistrationNetwork, pairs: list[Pair], config: Config) -> dict[str, Any]:
    """Mean energy, Dice, contour distance and folding of plain predictions on ``pairs``."""
    device = next(network.parameters()).device
    rows = []
    for pair in pairs:
        fixed, moving = pair.fixed_input.to(device), pair.moving_input.to(device)
        field = network(fixed, moving)
        row = {"loss": energy(fixed, warp(moving, field), field, config.loss)["total"].item()}
        row |= metrics.regularity(jacobian_determinant(field).cpu().numpy())
        if pair.seg_fixed is not None and pair.seg_moving is not None:
            grids = Grid(pair.seg_moving.shape), Grid(pair.seg_fixed.shape)
            warped = warp_labels(pair.seg_moving, grids[0], field, grids[1])
            overlap = metrics.overlap(pair.seg_fixed, warped, None)
            row |= {"dsc": overlap["dsc"], "cmd_px": overlap["cmd_px"]}
        rows.append({name: value for name, value in row.items() if value is not None})
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(values) / len(values) for name in names if (values := [row[name] for row in rows if name in row])}


def _validate(state: TrainingState, pairs: list[Pair] | None, config: Config) -> dict[str, Any]:
    if not pairs:
        return {}
    result = evaluate(state.network, pairs, config)
    score = result.get("dsc", -result["loss"])
    if score > state.best_score:
        state.best_score = score
        state.best = {name: tensor.detach().clone() for name, tensor in state.network.state_dict().items()}
    return {
        "val_loss": result["loss"],
        "val_dsc": result.get("dsc"),
        "val_folding_percent": result["folding_percent"],
    }


def _begin(state: TrainingState, folder: Path, config: Config, *, overwrite: bool) -> None:
    """The first checkpoint, by which other runs see that the folder is taken."""
    claim(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if not overwrite and (folder / CHECKPOINT).exists():
            raise OutputError(f"{folder} was taken by another run in the meantime; give another folder with -o")
        save(state, folder, config)


def save(state: TrainingState, folder: Path, config: Config) -> None:
    """Write the checkpoint and the log, each atomically."""
    buffer = io.BytesIO()  # written by Python, whose errors are those of the system
    torch.save(
        {
            "config": config.as_dict(),
            "origin": state.origin,
            "network": state.network.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "generator": state.generator.get_state(),
            "step": state.step,
            "best": state.best,
            "best_score": state.best_score,
            "log": state.log,
        },
        buffer,
    )
    with replacing(folder / CHECKPOINT) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    with replacing(folder / LOG) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(state.log)


def restore(state: TrainingState, folder: Path, config: Config) -> None:
    """Continue from the checkpoint in ``folder``; its parameters must be those of this run."""
    try:
        saved = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
        same = saved["config"] == config.as_dict()
    except FileNotFoundError:
        raise ModelError(f"nothing to resume: {folder / CHECKPOINT} does not exist; leave --resume out") from None
    except Exception as error:
        raise ModelError(f"{folder / CHECKPOINT} is damaged ({type(error).__name__}); train without --resume") from None
    if not same:
        changed = [
            f"{section}.{key}"
            for section, values in config.as_dict().items()
            for key, value in values.items()
            if saved["config"].get(section, {}).get(key) != value
        ]
        raise ConfigError(
            f"{folder} was trained with other parameters ({', '.join(changed)}); resume with the same ones"
        )
    if changed := [name for name, value in state.origin.items() if saved["origin"].get(name) != value]:
        raise ConfigError(f"{folder} was trained with another {', '.join(changed)}; resume with the same")
    state.network.load_state_dict(saved["network"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.generator.set_state(saved["generator"])
    state.step, state.log = saved["step"], saved["log"]
    state.best, state.best_score = saved["best"], saved["best_score"]


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM (what clusters send first) so that the loop can save before it stops."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    try:
        previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals are the caller's business
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
