"""``cnnreg adapt``: one-shot adaptation whose tuned weights are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnreg.config import Config
from cnnreg.devices import prepare_cpu, resolve_device
from cnnreg.learning.adaptation import Terms, adapt
from cnnreg.learning.modelcards import Card, Model, save_model
from cnnreg.learning.network import RegistrationNetwork
from cnnreg.pipeline.loading import Request, load_aligned
from cnnreg.pipeline.setup import Setup, Stopwatch, load, working_inputs
from cnnreg.watching import UNWATCHED, Watcher


@dataclass(frozen=True)
class AdaptedModel:
    """A model fine-tuned on some pairs, not yet saved."""

    network: RegistrationNetwork
    base: Model
    config: Config
    history: list[Terms]
    best_step: int
    pairs: int
    seed: int

    def save(self, folder: Path, *, overwrite: bool = True) -> Card:
        """Write it as a model folder; without ``overwrite`` only where there is none."""
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
        return save_model(
            self.network,
            folder,
            self.config,
            overwrite=overwrite,
            name=folder.resolve().name,
            description=f"{base.name}, adapted to {self.pairs} pair(s)",
            training=training,
            metrics={"cost_before": self.history[0]["total"], "cost_after": self.history[self.best_step]["total"]},
            license=base.license,
        )


def adapt_model(requests: Sequence[Request], setup: Setup, *, watcher: Watcher = UNWATCHED) -> AdaptedModel:
    """Fine-tune a model on one or several pairs and keep the tuned weights."""
    device = resolve_device(setup.device)
    prepare_cpu(setup.threads)
    watch = Stopwatch(watcher.stage)
    with watch("model"):
        model, config = load(setup)
    inputs = [working_inputs(load_aligned(request, config, watch)[0], config, device) for request in requests]
    with watch("adapt"):
        result = adapt(model.network.to(device), inputs, config=config, on_step=watcher.step)
    return AdaptedModel(result.network, model, config, result.history, result.best_step, len(requests), setup.seed)
