"""Training of the descriptors without labels: views of scenes, the contrastive loss, an average of the weights."""

import copy
import csv
import io
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from cnnreg.errors import ConfigError, DivergenceError, Interrupted, ModelError
from cnnreg.files import replacing
from cnnreg.learning.features.views import Pairs, Scene, ViewConfig, ViewMaker
from cnnreg.learning.training import stop_signals
from cnnreg.watching import unwatched

N = TypeVar("N", bound=nn.Module)
Loss = Callable[[N, Pairs, int], tuple[Tensor, float]]  # of a batch, by a seed; and the share of places that win
CHECKPOINT, LOG = "checkpoint.pt", "log.csv"


@dataclass(frozen=True)
class FeatureTraining:
    """How long, how fast and on how much at once the descriptors are trained."""

    steps: int = 4000
    batch_size: int = 8
    learning_rate: float = 2e-3
    warm_up: int = 200
    weight_decay: float = 1e-4
    queries: int = 256  # cells of a pair that are asked for
    average: float = 0.998  # of the weights, kept from step to step
    save_every: int = 200
    seed: int = 20180216

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.queries, self.save_every) < 1 or self.learning_rate <= 0:
            raise ConfigError(
                "steps, batch_size, queries, save_every and learning_rate of a training must be positive, "
                f"got {asdict(self)}"
            )

    def rate(self, step: int) -> float:
        """The learning rate: it rises, then falls along a cosine."""
        falling = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * falling + 1e-5


@dataclass(frozen=True)
class FeatureProgress:
    """What a caller may want to show after a step."""

    step: int
    steps: int
    loss: float
    found: float  # share of the cells whose true place wins, both lately

    @property
    def note(self) -> str:
        """The numbers in words."""
        return f"loss {self.loss:.3f}, {self.found:.0%} found"


@dataclass
class _State(Generic[N]):
    network: N
    average: N
    optimizer: torch.optim.Optimizer
    step: int = 0
    lately: tuple[float, float] | None = None
    log: list[dict[str, Any]] = field(default_factory=list)


def train_features(
    network: N,
    groups: list[tuple[float, list[Scene]]],
    folder: Path,
    *,
    training: FeatureTraining,
    views: ViewConfig,
    loss: Loss[N],
    resume: bool = False,
    on_step: Callable[[FeatureProgress], None] = unwatched,
) -> N:
    """Train ``network`` on ``groups`` of scenes, see :class:`ViewMaker`; checkpoint and log go to ``folder``.

    ``loss`` is told the network, a batch and a seed.

    Returns:
        The average of the weights over the last steps, ready for use.

    Raises:
        DivergenceError: the loss is not finite.
        Interrupted: by Ctrl-C, after a checkpoint.
        ModelError: ``resume``, and there is no checkpoint, or one of another training.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    state = _State(network.train(), copy.deepcopy(network), optimizer)
    folder.mkdir(parents=True, exist_ok=True)
    if resume:
        _restore(state, folder, training, views)
    maker = ViewMaker(groups, views, seed=training.seed)
    with stop_signals() as stopped, _batches(maker, training, state.step) as batches:
        for batch in batches:
            value, found = _train_step(state, batch, training, loss)
            last = state.lately or (value, found)
            state.lately = (0.98 * last[0] + 0.02 * value, 0.98 * last[1] + 0.02 * found)
            if stopped or state.step % training.save_every == 0 or state.step == training.steps:
                state.log.append({"step": state.step, "loss": state.lately[0], "found": state.lately[1]})
                _save(state, folder, training, views)
            on_step(FeatureProgress(state.step, training.steps, *state.lately))
            if stopped:
                raise Interrupted(f"stopped at step {state.step} of {training.steps}; go on from there with --resume")
    return state.average.eval()


def _train_step(state: _State[N], batch: Pairs, training: FeatureTraining, loss: Loss[N]) -> tuple[float, float]:
    for group in state.optimizer.param_groups:
        group["lr"] = training.rate(state.step)
    result, found = loss(state.network, batch, training.seed + state.step)
    value = result.item()
    if not math.isfinite(value):
        raise DivergenceError(f"the loss is {value} at step {state.step}; lower the learning rate")
    state.optimizer.zero_grad()
    result.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    state.optimizer.step()
    state.step += 1
    keep = min(training.average, state.step / (state.step + 9))  # the first weights are soon forgotten
    with torch.no_grad():
        for mean, new in zip(state.average.parameters(), state.network.parameters(), strict=True):
            mean.lerp_(new, 1 - keep)
    return value, found


@contextmanager
def _batches(maker: ViewMaker, training: FeatureTraining, first: int) -> Iterator[Iterator[Pairs]]:
    """The batches of all steps, each made while the one before is learned from."""
    with ThreadPoolExecutor(1) as pool:

        def each() -> Iterator[Pairs]:
            def ask(step: int) -> Any:
                return pool.submit(maker, training.batch_size, training.seed * 1_000_003 + step)

            waiting = ask(first)
            for step in range(first, training.steps):
                batch = waiting.result()
                if step + 1 < training.steps:
                    waiting = ask(step + 1)
                yield batch

        yield each()


def _origin(training: FeatureTraining, views: ViewConfig) -> dict[str, Any]:
    return asdict(training) | {"views": asdict(views)}


def _save(state: _State[Any], folder: Path, training: FeatureTraining, views: ViewConfig) -> None:
    content = {
        "origin": _origin(training, views),
        "step": state.step,
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "log": state.log,
    }
    with replacing(folder / CHECKPOINT) as temporary:
        torch.save(content, temporary)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", "loss", "found"])
    writer.writeheader()
    writer.writerows(state.log)
    with replacing(folder / LOG) as temporary:
        temporary.write_text(text.getvalue())


def _restore(state: _State[Any], folder: Path, training: FeatureTraining, views: ViewConfig) -> None:
    try:
        content = torch.load(folder / CHECKPOINT, weights_only=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"cannot go on from {folder / CHECKPOINT} ({error}); train without --resume") from None
    if content["origin"] != _origin(training, views):
        raise ModelError(f"{folder / CHECKPOINT} is of a training with other settings; train without --resume")
    state.network.load_state_dict(content["network"])
    state.average.load_state_dict(content["average"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.step, state.log = content["step"], content["log"]
    if state.log:
        state.lately = state.log[-1]["loss"], state.log[-1]["found"]
