"""``cnnreg demo``."""

from pathlib import Path
from typing import Annotated

import typer

from cnnreg.cli import console, options
from cnnreg.cli.register import register


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the images and the result.")] = Path(
        "cnnreg-demo"
    ),
    adapt: Annotated[int, typer.Option("--adapt", "-a", min=0, help="One-shot steps.")] = 50,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a pair of images whose deformation is known, register it, and compare the result with the truth."""
    from cnnreg.pairs.demo import write_demo
    from cnnreg.pipeline.report import claim_folder

    claim_folder(out / "result", overwrite=overwrite)
    write_demo(out, overwrite=overwrite)
    console.say(
        f"cnnreg register {out}/fixed.png {out}/moving.png --adapt {adapt} -o {out}/result"
        f" --seg-fixed {out}/seg_fixed.png --seg-moving {out}/seg_moving.png"
        f" --points-fixed {out}/points_fixed.csv --points-moving {out}/points_moving.csv\n"
    )
    register(
        out / "fixed.png",
        out / "moving.png",
        out=out / "result",
        adapt=adapt,
        seg_fixed=out / "seg_fixed.png",
        seg_moving=out / "seg_moving.png",
        points_fixed=out / "points_fixed.csv",
        points_moving=out / "points_moving.csv",
        overwrite=overwrite,
    )
