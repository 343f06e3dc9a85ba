"""``cnnreg train``."""

import shlex
from pathlib import Path
from typing import Annotated

from cnnreg import defaults
from cnnreg.cli import console, options, progress
from cnnreg.cli.declaring import FOLDER, MODEL, NUMBER, OUTPUT, TRAINING, argument, model_names, option

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
            names_of=model_names,
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
    with progress.display(quiet=quiet) as shown:
        from cnnreg.interface.commands import train as run
        from cnnreg.learning.modelcards import read_card

        show = progress.training(shown, quiet=quiet)
        run(
            table,
            out,
            validation=validation,
            mirror=mirror,
            features=features,
            model=model,
            steps=steps,
            epochs=epochs,
            preset=preset,
            parameters=parameters,
            description=description,
            license=license,
            device=device,
            threads=threads,
            seed=seed,
            resume=resume,
            overwrite=overwrite,
            track=shown.track,
            on_step=lambda now: show(now.step, now.steps, now.note),
        )
    if not quiet:
        for name, value in read_card(out).metrics.get("validation", {}).items():
            console.say(f"validation {name} {value:.4f}")
        console.say(f"wrote {shlex.quote(str(out))}")
        console.next_command("cnnreg", "register", "FIXED", "MOVING", "--features" if features else "--model", out)
