"""``cnnreg transform``: what can be done with a saved field or affine transform."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cnnreg.cli import console, options, progress
from cnnreg.cli.declaring import FILE, IMAGES, OUTPUT, option
from cnnreg.cli.help import Command, Group

app = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    help="Invert, compose, inspect and convert displacement fields and affine transforms, also those of other tools.",
)

CONVENTION = "Convention"
Convention = Literal["itk", "ants", "elastix", "voxelmorph", "scipy"]
Input = Annotated[
    Path,
    typer.Argument(
        metavar="TRANSFORM",
        help="A displacement field (such as field.mha) or an affine transform (such as affine.tfm).",
        show_default=False,
    ),
]
Output = Annotated[Path, option(OUTPUT, "--out", "-o", metavar=FILE, help="File of the result.", default=False)]
Like = Annotated[
    Path | None,
    option(IMAGES, "--reference", "--like", metavar=FILE, help="The image on whose grid the result lies."),
]
Source = Annotated[
    Convention | None,
    option(
        CONVENTION,
        "--from",
        metavar="TOOL",
        help="Convention of TRANSFORM: itk, ants, elastix, voxelmorph or scipy.",
        default="by the suffix",
    ),
]
Target = Annotated[
    Convention | None,
    option(
        CONVENTION,
        "--to",
        metavar="TOOL",
        help="Convention of the result: itk, ants, elastix, voxelmorph or scipy.",
        default="by the suffix",
    ),
]
Fixed = Annotated[
    Path | None,
    option(IMAGES, "--fixed", metavar=FILE, help="The fixed image, for files that do not tell its geometry."),
]
Moving = Annotated[
    Path | None,
    option(
        IMAGES,
        "--moving",
        metavar=FILE,
        help="The moving image, for conventions in its pixels: voxelmorph and scipy.",
    ),
]


@app.command(cls=Command)
def info(transform: Input, source: Source = None, fixed: Fixed = None, moving: Moving = None) -> None:
    """Describe a transform: its kind, geometry, length and folding."""
    with progress.display(quiet=False):
        from cnnreg.interface import transforms

        found = transforms.describe(transform, source=source, fixed=fixed, moving=moving)
    for name, value in found.items():
        console.say(f"{name + ':':<12} {value}")


@app.command(cls=Command)
def invert(transform: Input, out: Output, like: Like = None, overwrite: options.Overwrite = False) -> None:
    """Invert a transform, so that it maps the moving to the fixed image.

    Give --reference MOVING where the two images have different grids.
    """
    with progress.display(quiet=False) as shown:
        from cnnreg.interface import transforms

        shown.stage("invert")
        written, told = transforms.invert(transform, out, reference=like, overwrite=overwrite)
    for name, value in told.items():
        console.say(f"{name} {value:.4g}")
    _tell(written)


@app.command(cls=Command)
def compose(
    parts: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRANSFORM...",
            help="The transforms, in the order in which a point of the fixed image goes through them.",
            show_default=False,
        ),
    ],
    out: Output,
    like: Like = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Compose several transforms into one.

    Points of the fixed image go through the first transform, then the next, to the moving image.
    """
    with progress.display(quiet=False) as shown:
        from cnnreg.interface import transforms

        shown.stage("composing the transforms")
        written = transforms.compose(parts, out, reference=like, overwrite=overwrite)
    _tell(written)


@app.command(cls=Command)
def jacobian(transform: Input, out: Output, overwrite: options.Overwrite = False) -> None:
    """Write the map of the Jacobian determinant of a displacement field.

    1 keeps areas. Above 1 an area of the fixed image is larger in the moving image. At 0 and below the field folds.
    """
    with progress.display(quiet=False) as shown:
        from cnnreg.interface import transforms

        shown.stage("computing the Jacobian determinant")
        written, summary = transforms.jacobian(transform, out, overwrite=overwrite)
    for name, value in summary.items():
        console.say(f"{name} {value:.5g}")
    _tell(written)


@app.command(cls=Command)
def convert(
    transform: Input,
    out: Output,
    source: Source = None,
    target: Target = None,
    fixed: Fixed = None,
    moving: Moving = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Convert a displacement field between ITK, ANTs, elastix, VoxelMorph and SciPy."""
    with progress.display(quiet=False) as shown:
        from cnnreg.interface import transforms

        shown.stage("converting the field")
        written = transforms.convert(
            transform, out, source=source, target=target, fixed=fixed, moving=moving, overwrite=overwrite
        )
    _tell(written)


def _tell(written: list[Path]) -> None:
    for path in written:
        console.say(f"wrote {path}")
