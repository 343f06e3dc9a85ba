"""``cnnreg demo``."""

import shlex
from pathlib import Path
from typing import Annotated

from cnnreg.cli import console, options, progress
from cnnreg.cli.declaring import FOLDER, OUTPUT, option
from cnnreg.cli.register import register

ITERATIONS = 50


def demo(
    out: Annotated[
        Path, option(OUTPUT, "--out", "-o", metavar=FOLDER, help="Folder of the images and of the results.")
    ] = Path("cnnreg-demo"),
    adapt: options.Iterations = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a pair of images whose deformation is known, register it, and measure how well that went."""
    iterations = ITERATIONS if adapt is None else adapt
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
    words = ["cnnreg", "register", fixed, moving, "--adapt", iterations, "-o", result]
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
        adapt=iterations,
        seg_fixed=segs[0],
        seg_moving=segs[1],
        points_fixed=points[0],
        points_moving=points[1],
        overwrite=overwrite,
    )
