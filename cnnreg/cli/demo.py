"""``cnnreg demo``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cnnreg.cli import console, options, progress
from cnnreg.cli.register import register


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the images and the result.")] = Path(
        "cnnreg-demo"
    ),
    adapt: Annotated[int, typer.Option("--adapt", "-a", min=0, help="One-shot steps.")] = 50,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a pair of images whose deformation is known, register it, and compare the result with the truth."""
    result = out / "result"
    with progress.display(quiet=False) as shown:
        from cnnreg.pairs.demo import write_demo
        from cnnreg.pipeline.report import claim_folder

        claim_folder(result, overwrite=overwrite)
        shown.stage("making the images")
        write_demo(out, overwrite=overwrite)
    fixed, moving = out / "fixed.png", out / "moving.png"
    segs = out / "seg_fixed.png", out / "seg_moving.png"
    points = out / "points_fixed.csv", out / "points_moving.csv"
    words = ["cnnreg", "register", fixed, moving, "--adapt", adapt, "-o", result]
    words += [
        "--seg-fixed",
        segs[0],
        "--seg-moving",
        segs[1],
        "--points-fixed",
        points[0],
        "--points-moving",
        points[1],
    ]
    words += ["--overwrite"] if overwrite else []
    console.say(f"{shlex.join(map(str, words))}\n")
    register(
        fixed,
        moving,
        out=result,
        adapt=adapt,
        seg_fixed=segs[0],
        seg_moving=segs[1],
        points_fixed=points[0],
        points_moving=points[1],
        overwrite=overwrite,
    )
