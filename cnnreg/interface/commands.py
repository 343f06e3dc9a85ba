"""Measuring and training from Python, on files."""

from pathlib import Path
from typing import Any

from cnnreg import defaults
from cnnreg.interface import setup as settings
from cnnreg.pipeline import pretraining, scoring

File = str | Path


def evaluate(
    *,
    fixed: File | None = None,
    moving: File | None = None,
    warped: File | None = None,
    field: File | None = None,
    seg_fixed: File | None = None,
    seg_moving: File | None = None,
    points_fixed: File | None = None,
    points_moving: File | None = None,
    physical: bool = False,
) -> dict[str, dict[str, Any]]:
    """What ``cnnreg evaluate`` measures of the files given: ``before`` and ``after``, or ``value``.

    Raises:
        UsageError: nothing can be measured, or a file given has no effect.
    """
    given = (fixed, moving, warped, field, seg_fixed, seg_moving, points_fixed, points_moving)
    request = scoring.ScoringRequest(*(None if file is None else Path(file) for file in given))
    return scoring.evaluate(request, physical=physical)


def train(
    pairs: File,
    out: File,
    *,
    validation: File | None = None,
    mirror: bool = False,
    model: str = "none",
    steps: int | None = None,
    preset: str | None = None,
    parameters: File | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int = defaults.SEED,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Train a model on a table of pairs, as ``cnnreg train`` does; returns its folder, which is a model's name.

    Raises:
        CnnregError: the table or the folder cannot be used.
    """
    setup = settings.make_setup(
        preset=preset,
        parameters=Path(parameters) if parameters else None,
        model=model,
        device=device,
        seed=seed,
        threads=threads,
        changes=settings.section("training", steps=steps),
    )
    request = pretraining.TrainingRequest(
        Path(pairs),
        Path(out),
        Path(validation) if validation else None,
        mirror=mirror,
        resume=resume,
        overwrite=overwrite,
    )
    pretraining.train_model(request, setup)
    return Path(out)
