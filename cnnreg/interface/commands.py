"""Measuring, training and adapting models from Python; the commands of these names call them, too."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cnnreg import defaults
from cnnreg.errors import UsageError
from cnnreg.interface.fields import Field
from cnnreg.interface.images import AnyImage, PointTable, take, take_labels, take_points
from cnnreg.interface.setup import make_setup, section
from cnnreg.learning.features.training import FeatureProgress
from cnnreg.learning.modelfolder import claim_model_folder
from cnnreg.learning.training import Progress
from cnnreg.pairs.dataset import read_pairs
from cnnreg.pipeline import describing, pretraining, scoring
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.reading import Spacing
from cnnreg.pipeline.tuning import AdaptedModel, adapt_model
from cnnreg.watching import UNWATCHED, Watcher, unwatched

File = str | Path


def evaluate(
    *,
    fixed: AnyImage | None = None,
    moving: AnyImage | None = None,
    warped: AnyImage | None = None,
    field: Field | File | None = None,
    seg_fixed: AnyImage | None = None,
    seg_moving: AnyImage | None = None,
    label_threshold: float | None = None,
    points_fixed: PointTable | None = None,
    points_moving: PointTable | None = None,
    physical: bool = False,
    spacing: Spacing | None = None,
    slice_index: int | None = None,
    moving_slice: int | None = None,
) -> dict[str, dict[str, Any]]:
    """What ``cnnreg evaluate`` measures of what is given, on disk or in memory: ``before`` and ``after``, or ``value``.

    Images and label maps as :func:`cnnreg.register` takes them; arrays lie where the field's images lie if ``field`` is
    a :class:`Field`. ``spacing``, (x, y) in mm, is that of images that do not have it.

    Raises:
        UsageError: nothing can be measured, or something given has no effect.
    """
    if physical and points_fixed is None:
        raise UsageError("--physical has no effect without landmarks")
    grids = (field.grid, field.source) if isinstance(field, Field) else (None, None)
    request = scoring.ScoringRequest(
        None if fixed is None else take(fixed, grid=grids[0], spacing=spacing),
        None if moving is None else take(moving, grid=grids[1], spacing=spacing),
        None if warped is None else take(warped, grid=grids[0], spacing=spacing),
        (field.tensor, field.grid) if isinstance(field, Field) else None if field is None else Path(field),
        take_labels(seg_fixed),
        take_labels(seg_moving),
        None if points_fixed is None else take_points(points_fixed),
        None if points_moving is None else take_points(points_moving),
    )
    picks = scoring.Picks(slice_index, moving_slice, label_threshold)
    return scoring.evaluate(request, picks=picks, spacing=spacing, physical=physical)


def train(
    pairs: File,
    out: File,
    *,
    validation: File | None = None,
    mirror: bool = False,
    features: bool = False,
    model: str = "none",
    steps: int | None = None,
    epochs: int | None = None,
    preset: str | None = None,
    parameters: File | None = None,
    description: str = "",
    license: str = "",
    device: str = "auto",
    threads: int | None = None,
    seed: int = defaults.SEED,
    resume: bool = False,
    overwrite: bool = False,
    track: pretraining.Track = pretraining.untracked,
    on_step: Callable[[Progress | FeatureProgress], None] = unwatched,
) -> Path:
    """Train a model on a table of pairs, as ``cnnreg train`` does; returns its folder, which is a model's name.

    ``features``: the model describes images, for ``register(features=...)``; the table may have a column ``image``.
    ``track`` and ``on_step`` are told how far reading and training are.

    Raises:
        CnnregError: the table or the folder cannot be used.
    """
    if steps and epochs:
        raise UsageError("--steps and --epochs exclude each other")
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    setup = make_setup(
        preset=preset,
        parameters=Path(parameters) if parameters else None,
        model=model,
        device=device,
        seed=seed,
        threads=threads,
        changes=section("training", steps=steps),
    )
    table = Path(validation) if validation else None
    request = pretraining.TrainingRequest(
        Path(pairs), Path(out), table, mirror, epochs, resume, overwrite, description, license
    )
    if features:
        describing.train_descriptors(request, setup, steps=steps or describing.STEPS, track=track, on_step=on_step)
    else:
        pretraining.train_model(request, setup, track=track, on_step=on_step)
    return Path(out)


def adapt(
    pairs: File | Sequence[tuple[AnyImage, AnyImage]],
    out: File,
    *,
    model: str = defaults.MODEL,
    steps: int | None = None,
    preset: str | None = None,
    parameters: File | None = None,
    slice_index: int | None = None,
    moving_slice: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int = defaults.SEED,
    overwrite: bool = False,
    watcher: Watcher = UNWATCHED,
) -> AdaptedModel:
    """Fine-tune a model on pairs (fixed, moving), or a table of them, and save it in ``out``, which is its name then.

    ``watcher`` is told the number of iterations, as a forecast, and where they are.

    Raises:
        CnnregError: the images or the folder cannot be used, or there is nothing to iterate.
    """
    setup = make_setup(
        preset=preset,
        parameters=Path(parameters) if parameters else None,
        model=model,
        device=device,
        seed=seed,
        threads=threads,
        changes=section("adaptation", steps=steps),
    )
    if not setup.config.adaptation.steps:
        raise UsageError("the preset has no iterations: give their number with --iterations N")
    watcher.forecast(setup.config.adaptation.steps)
    claim_model_folder(Path(out), overwrite=overwrite, start=model)
    if isinstance(pairs, (str, Path)):
        pairs = [(files.fixed, files.moving) for files in read_pairs(Path(pairs))]
    requests = [Request(take(a), take(b), slice_index=slice_index, moving_slice=moving_slice) for a, b in pairs]
    adapted = adapt_model(requests, setup, watcher=watcher)
    watcher.stage("write")
    adapted.save(Path(out), overwrite=overwrite)
    return adapted
