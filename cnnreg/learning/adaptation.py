"""One-shot adaptation: fine-tuning the network on the very pair to be registered."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnreg.config import Config
from cnnreg.errors import DivergenceError
from cnnreg.geometry.fields import warp
from cnnreg.learning.adam import FlatAdam
from cnnreg.learning.network import RegistrationNetwork
from cnnreg.learning.objective import energy
from cnnreg.watching import unwatched

Terms = dict[str, float]


@dataclass(frozen=True)
class Adaptation:
    """A tuned copy of a network, at the step of its lowest energy."""

    network: RegistrationNetwork
    best_step: int
    history: list[Terms]  # the energy's terms before each step and after the last: N + 1 entries


def adapt(
    network: RegistrationNetwork,
    pairs: Sequence[tuple[Tensor, Tensor]],
    *,
    config: Config,
    on_step: Callable[[int, Terms], None] = unwatched,
) -> Adaptation:
    """Fine-tune all weights of a copy of ``network`` on (fixed, moving) pairs, (1, 1, H, W) each in [0, 1].

    Ferrante et al. 2018 (arXiv:1802.05984), with one pair. With several, each step follows their mean energy.
    ``network`` itself stays as it is. Step 0 is the plain prediction, so by its own energy the result is never worse.

    Raises:
        DivergenceError: the energy is not finite.
    """
    steps, rate = config.adaptation.steps, config.adaptation.learning_rate
    network = copy.deepcopy(network).train()
    optimizer = FlatAdam(network, learning_rate=rate)
    best = optimizer.weights.clone()
    history: list[Terms] = []
    lowest, best_step = math.inf, 0
    for step in range(steps + 1):
        terms = _mean_energy(network, pairs, config, backward=step < steps)
        if not math.isfinite(terms["total"]):
            raise DivergenceError(
                f"one-shot adaptation diverged: the energy is {terms['total']} at step {step}; "
                f"lower adaptation.learning_rate ({rate:g})"
            )
        if terms["total"] < lowest:
            lowest, best_step = terms["total"], step
            best.copy_(optimizer.weights)
        history.append(terms)
        on_step(step, terms)
        if step < steps:
            optimizer.step()
    optimizer.finish(best)
    return Adaptation(network.eval(), best_step, history)


def _mean_energy(
    network: RegistrationNetwork, pairs: Sequence[tuple[Tensor, Tensor]], config: Config, *, backward: bool
) -> Terms:
    """The energy's terms, averaged over the pairs; ``backward`` adds its gradient to the weights."""
    mean: dict[str, float] = {}
    for fixed, moving in pairs:
        with torch.set_grad_enabled(backward):
            field = network(fixed, moving)
            terms = energy(fixed, warp(moving, field), field, config.loss)
            if backward:
                (terms["total"].sum() / len(pairs)).backward()
        values = torch.cat(list(terms.values())).tolist()  # one transfer for all terms
        for name, value in zip(terms, values, strict=True):
            mean[name] = mean.get(name, 0.0) + value / len(pairs)
    return mean
