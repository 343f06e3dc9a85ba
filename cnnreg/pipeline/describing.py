"""``cnnreg train --features``: a table of images, or of pairs with landmarks, in; a model that describes images out."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cnnreg.config import InputConfig
from cnnreg.devices import prepare_cpu
from cnnreg.errors import TableError, UsageError
from cnnreg.files import claim, sha256
from cnnreg.learning.features.loss import described
from cnnreg.learning.features.network import DescriptorNetwork
from cnnreg.learning.features.training import CHECKPOINT, LOG, FeatureProgress, FeatureTraining, train_features
from cnnreg.learning.features.views import Scene, ViewConfig
from cnnreg.learning.modelcards import Card, load_descriptors, read_card, save_model
from cnnreg.learning.modelfolder import claim_model_folder
from cnnreg.learning.modelplaces import find
from cnnreg.pairs.dataset import existing, read_intensities, read_landmarks, read_table
from cnnreg.pairs.intensities import intensity_window
from cnnreg.pipeline.pretraining import Track, TrainingRequest, untracked
from cnnreg.pipeline.setup import Setup
from cnnreg.watching import unwatched

SIDE = 384  # pixels of the longer side, at most
STEPS = 2000
AFFINE = 4.0  # pixels: landmarks that no affine map explains better do not say what belongs together
WINDOW = InputConfig(0.5, 99.5)


def train_descriptors(
    request: TrainingRequest,
    setup: Setup,
    *,
    steps: int = STEPS,
    track: Track = untracked,
    on_step: Callable[[FeatureProgress], None] = unwatched,
) -> Card:
    """Load the images, train, save the model with its card.

    Raises:
        TableError: the table has neither ``image`` nor ``fixed`` and ``moving``, or a file is not there.
        UsageError: an option has no effect on this kind of model.
    """
    if request.validation or request.mirror or request.epochs:
        raise UsageError("--val, --mirror and --epochs have no effect with --features")
    if request.resume:
        claim(request.folder)
    else:
        claim_model_folder(request.folder, overwrite=request.overwrite, start=setup.model, further=(CHECKPOINT, LOG))
    prepare_cpu(setup.threads)
    scenes = read_scenes(request.pairs, track)
    network, rate = _start(setup)
    training = FeatureTraining(steps=steps, learning_rate=rate, seed=setup.seed, save_every=min(200, steps))
    trained = train_features(
        network, [(1.0, scenes)], request.folder, training=training, views=ViewConfig(),
        loss=described(training.queries), resume=request.resume, on_step=on_step,
    )  # fmt: skip
    start = None if setup.model == "none" else read_card(find(setup.model))
    return save_model(
        trained,
        request.folder,
        setup.config,
        name=request.folder.resolve().name,
        description=request.description or f"describes images, trained on {len(scenes)} of {request.pairs.name}",
        training={
            "table": request.pairs.name,
            "table_sha256": sha256(request.pairs),
            "images": len(scenes),
            "start": start.name if start else "none",
            **asdict(training),
        },
        license=request.license,
    )


def _start(setup: Setup) -> tuple[DescriptorNetwork, float]:
    """Random or trained weights, and the learning rate that suits them."""
    if setup.model != "none":
        return load_descriptors(find(setup.model)), 5e-4
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setup.seed)
        return DescriptorNetwork(), 2e-3


def read_scenes(table: Path, track: Track = untracked) -> list[Scene]:
    """Of a table with a column ``image``, or ``fixed`` and ``moving``, where there are landmarks also ``points_fixed``
    and ``points_moving``; paths are relative to the table's folder."""
    rows = read_table(table, [])
    singles = bool(rows) and "image" in rows[0]
    if not rows or not (singles or {"fixed", "moving"} <= rows[0].keys()):
        raise TableError(f"{table} must have a column image, or columns fixed and moving, and at least one row")
    scenes: list[Scene] = []
    for number, row in enumerate(track(rows, f"reading {table.name}", len(rows)), start=2):
        if singles:
            scenes.append(Scene(_colours(_file(row, "image", table, number))[0]))
        else:
            scenes += _pair(row, table, number)
    return scenes


def _file(row: dict[str, str], column: str, table: Path, line: int) -> Path:
    file = existing(row.get(column), table, line)
    if file is None:
        raise TableError(f"{table}, line {line}: the column {column} is empty")
    return file


def _pair(row: dict[str, str], table: Path, line: int) -> list[Scene]:
    """One scene seen twice where landmarks say what belongs together, else two scenes."""
    (fixed, by_fixed), (moving, by_moving) = (_colours(_file(row, c, table, line)) for c in ("fixed", "moving"))
    if not row.get("points_fixed"):
        return [Scene(fixed), Scene(moving)]
    ends = read_landmarks(*(_file(row, c, table, line) for c in ("points_fixed", "points_moving")))
    matrix, off = map_of_landmarks(ends, (by_fixed, by_moving))
    if len(ends[0]) < 4 or off > AFFINE:
        return [Scene(fixed), Scene(moving)]
    return [Scene(fixed, moving, matrix)]


def map_of_landmarks(
    ends: tuple[NDArray[np.float64], NDArray[np.float64]], factors: tuple[float, float]
) -> tuple[Tensor, float]:
    """The affine map (2, 3) that explains landmarks (N, 2) of two images best, and the mean distance that it leaves.

    In pixels of the images shrunk by ``factors``.
    """
    here, there = ((points + 0.5) * by - 0.5 for points, by in zip(ends, factors, strict=True))
    powers = np.c_[here, np.ones(len(here))]
    matrix = np.linalg.lstsq(powers, there, rcond=None)[0]
    off = float(np.linalg.norm(powers @ matrix - there, axis=1).mean())
    return torch.from_numpy(matrix.T).float(), off


def _colours(file: Path) -> tuple[Tensor, float]:
    """(3, H, W) of uint8, at most SIDE pixels long, and by what factor it was shrunk."""
    pixels = read_intensities(file).pixels
    low, high = intensity_window(pixels, WINDOW, name=str(file))
    values = np.clip((np.atleast_3d(pixels)[..., :3].astype(np.float32) - low) / (high - low), 0, 1)
    image = torch.from_numpy(values).permute(2, 0, 1)[None]
    factor = min(1.0, SIDE / max(image.shape[2:]))
    if factor < 1:
        size = [max(1, round(n * factor)) for n in image.shape[2:]]
        image = F.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False)
    return (255 * image[0]).round().byte().expand(3, -1, -1).contiguous(), factor
