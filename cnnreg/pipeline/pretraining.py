"""``cnnreg train``: a table of pairs, or of single images to mirror, in; a model folder out."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnnreg.config import Config
from cnnreg.devices import prepare_cpu, resolve_device
from cnnreg.files import claim, sha256
from cnnreg.learning import training
from cnnreg.learning.modelcards import Card, save_model
from cnnreg.learning.modelfolder import claim_model_folder
from cnnreg.pairs.dataset import Pair, at_size, load_pair, read_intensities, read_pairs, read_singles
from cnnreg.pairs.labelmaps import read_labels
from cnnreg.pairs.mirroring import mirror_pair
from cnnreg.pipeline.setup import Setup, load
from cnnreg.watching import unwatched

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]  # (items, title, how many) -> the same items, shown


def untracked(items: Iterable[Any], _title: str, _total: int) -> Iterable[Any]:
    """The track of callers who do not care."""
    return items


@dataclass(frozen=True)
class TrainingRequest:
    """What ``cnnreg train`` was asked for."""

    pairs: Path
    folder: Path
    validation: Path | None = None
    mirror: bool = False
    epochs: int | None = None
    resume: bool = False
    overwrite: bool = False
    description: str = ""
    license: str = ""


def train_model(
    request: TrainingRequest,
    setup: Setup,
    *,
    track: Track = untracked,
    on_step: Callable[[training.Progress], None] = unwatched,
) -> Card:
    """Load everything, train, save the model with its card."""
    if request.resume:
        claim(request.folder)
    else:
        further = training.CHECKPOINT, training.LOG
        claim_model_folder(request.folder, overwrite=request.overwrite, start=setup.model, further=further)
    device = resolve_device(setup.device)
    prepare_cpu(setup.threads)
    model, config = load(setup)
    pairs = load_pairs(request.pairs, config, mirror=request.mirror, track=track)
    validation = (
        load_pairs(request.validation, config, mirror=request.mirror, track=track) if request.validation else None
    )
    if request.epochs:
        steps = math.ceil(request.epochs * len(pairs) / config.training.batch_size)
        config = replace(config, training=replace(config.training, steps=steps))
    network = model.network
    facts = provenance(request, setup, config, start=model.card.name, pairs=pairs, validation=validation)
    training.train(
        network,
        pairs,
        request.folder,
        config=config,
        seed=setup.seed,
        origin={"table": facts["table_sha256"], "start": model.card.sha256 or "none"},
        validation=validation,
        resume=request.resume,
        overwrite=request.overwrite,
        device=device,
        on_step=on_step,
    )
    metrics = {"validation": training.evaluate(network, validation, config)} if validation else {}
    return save_model(
        network,
        request.folder,
        config,
        name=request.folder.resolve().name,
        description=request.description or f"trained on {len(pairs)} pairs of {request.pairs.name}",
        training=facts,
        metrics=metrics,
        license=request.license,
    )


def provenance(
    request: TrainingRequest,
    setup: Setup,
    config: Config,
    *,
    start: str,
    pairs: list[Pair],
    validation: list[Pair] | None,
) -> dict[str, Any]:
    """What the card tells about how a model came about."""
    return {
        "table": request.pairs.name,
        "table_sha256": sha256(request.pairs),
        "pairs": len(pairs),
        "validation_pairs": len(validation or []),
        "mirror": request.mirror,
        "start": start,
        "seed": setup.seed,
        "loss": config.as_dict()["loss"],
        "training": config.as_dict()["training"],
    }


def load_pairs(table: Path, config: Config, *, mirror: bool, track: Track) -> list[Pair]:
    """Read every pair of a table, at the training size; with ``mirror``, each image against its mirror image."""
    rows: list[Any] = list(read_singles(table) if mirror else read_pairs(table))

    def pair(row: Any) -> Pair:
        if not mirror:
            return load_pair(row, config.input)
        image = read_intensities(row[0])
        seg = read_labels(row[1], image.grid) if row[1] else None
        return mirror_pair(image, seg, config.input, name=str(row[0]))

    return [at_size(pair(row), config.training.size) for row in track(rows, f"reading {table.name}", len(rows))]
