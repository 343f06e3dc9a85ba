"""``cnnreg train``."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cnnreg import defaults
from cnnreg.cli import console, options, progress, settings
from cnnreg.cli.declaring import FOLDER, MODEL, NUMBER, OUTPUT, TRAINING, argument, option
from cnnreg.errors import UsageError

if TYPE_CHECKING:
    from cnnreg.learning.modelcards import Card
    from cnnreg.pipeline.pretraining import TrainingRequest
    from cnnreg.pipeline.setup import Setup

Show = Callable[[int, int, str], None]  # step, steps, note
CARD = "Card of the model"


def train(
    table: Annotated[
        Path,
        argument(
            "PAIRS.csv",
            "Table of pairs with columns fixed and moving, and seg_fixed and seg_moving where there are label maps; "
            "with --mirror columns image and seg.",
        ),
    ],
    out: Annotated[Path, option(OUTPUT, "--out", "-o", metavar=FOLDER, help="Folder of the model.", default=False)],
    validation: Annotated[
        Path | None,
        option(
            TRAINING,
            "--val",
            metavar="PAIRS.csv",
            help="Table of validation pairs, by which the best weights are chosen.",
        ),
    ] = None,
    mirror: Annotated[
        bool,
        option(TRAINING, "--mirror", help="Pair each image with its own mirror image, after an affine registration."),
    ] = False,
    features: Annotated[
        bool,
        option(
            TRAINING,
            "--features",
            help="Train a model that describes images, for register --features. The table has a column image, or fixed "
            "and moving, and points_fixed and points_moving where there are landmarks.",
        ),
    ] = False,
    steps: Annotated[
        int | None,
        option(
            TRAINING,
            "--steps",
            "--iterations",
            low=1,
            metavar=NUMBER,
            help="Number of optimiser steps.",
            default="the preset's, 10000; with --features 2000",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        option(
            TRAINING, "--epochs", low=1, metavar=NUMBER, help="Number of passes over the table, instead of --steps."
        ),
    ] = None,
    resume: Annotated[
        bool, option(TRAINING, "--resume", help="Continue from the checkpoint in the folder of the model.")
    ] = False,
    model: Annotated[
        str,
        option(
            MODEL,
            "--model",
            "-m",
            metavar="NAME",
            help="Start from the weights of a trained model; none is random weights.",
        ),
    ] = "none",
    preset: options.Preset = None,
    parameters: options.Parameters = None,
    description: Annotated[str, option(CARD, "--description", metavar="TEXT", help="Description of the model.")] = "",
    license: Annotated[
        str, option(CARD, "--license", metavar="TEXT", help="Licence of the model: whose data, on which terms.")
    ] = "",
    device: options.Device = "auto",
    seed: options.Seed = defaults.SEED,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model on a table of pairs, without labels.

    Ctrl-C writes a checkpoint, from which --resume continues.
    """
    if steps and epochs:
        raise UsageError("--steps and --epochs exclude each other")
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    with progress.display(quiet=quiet) as shown:
        from cnnreg.pipeline.pretraining import TrainingRequest

        setup = settings.make_setup(
            preset=preset,
            parameters=parameters,
            model=model,
            device=device,
            seed=seed,
            threads=threads,
            changes=settings.section("training", steps=steps),
        )
        request = TrainingRequest(table, out, validation, mirror, epochs, resume, overwrite, description, license)
        show = progress.training(shown, quiet=quiet)
        card = _descriptors(request, setup, steps, shown, show) if features else _fields(request, setup, shown, show)
    if not quiet:
        for name, value in card.metrics.get("validation", {}).items():
            console.say(f"validation {name} {value:.4f}")
        console.say(f"wrote {shlex.quote(str(out))}")
        console.next_command("cnnreg", "register", "FIXED", "MOVING", "--features" if features else "--model", out)


def _fields(request: "TrainingRequest", setup: "Setup", shown: progress.Display, show: Show) -> "Card":
    """A model that predicts displacement fields."""
    from cnnreg.learning.training import Progress
    from cnnreg.pipeline.pretraining import train_model

    def on_step(now: Progress) -> None:
        show(now.step, now.steps, f"loss {now.loss:.4f}, {now.images_per_second:.0f} images/s")

    return train_model(request, setup, track=shown.track, on_step=on_step)


def _descriptors(
    request: "TrainingRequest", setup: "Setup", steps: int | None, shown: progress.Display, show: Show
) -> "Card":
    """A model that describes images."""
    from cnnreg.learning.features.training import FeatureProgress
    from cnnreg.pipeline.describing import STEPS, train_descriptors

    def on_step(now: FeatureProgress) -> None:
        show(now.step, now.steps, f"loss {now.loss:.3f}, {now.found:.0%} of the cells found")

    return train_descriptors(request, setup, steps=steps or STEPS, track=shown.track, on_step=on_step)
