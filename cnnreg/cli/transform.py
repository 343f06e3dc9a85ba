"""``cnnreg transform``: what can be done with a saved field or affine transform."""

from pathlib import Path
from typing import Annotated

import typer

from cnnreg.cli import console, options

app = typer.Typer(
    no_args_is_help=True,
    help="Invert, compose, measure and convert fields (field.mha and other tools') and affine transforms (affine.tfm).",
)

Input = Annotated[
    Path, typer.Argument(metavar="TRANSFORM", help="A field, or an affine transform.", show_default=False)
]
Output = Annotated[Path, typer.Option("--out", "-o", help="File of the result.", show_default=False)]
Like = Annotated[Path | None, typer.Option("--like", help="The image on whose grid the result lies.")]
Source = Annotated[
    str | None,
    typer.Option("--from", help="itk, ants, elastix, voxelmorph or scipy.", show_default="by the suffix"),
]
Target = Annotated[
    str | None, typer.Option("--to", help="itk, ants, elastix, voxelmorph or scipy.", show_default="by the suffix")
]
Fixed = Annotated[
    Path | None, typer.Option("--fixed", help="The fixed image, for files that do not tell its geometry.")
]
Moving = Annotated[
    Path | None, typer.Option("--moving", help="The moving image, for conventions in its pixels: voxelmorph, scipy.")
]


@app.command()
def info(transform: Input, source: Source = None, fixed: Fixed = None, moving: Moving = None) -> None:
    """What a transform is: kind, geometry, length, folding."""
    from cnnreg.pipeline.transformation import describe, read_transform

    for name, value in describe(read_transform(transform, kind=source, like=fixed, moving=moving)).items():
        console.say(f"{name + ':':<12} {value}")


@app.command()
def invert(transform: Input, out: Output, like: Like = None, overwrite: options.Overwrite = False) -> None:
    """The way back, from the moving to the fixed image; --like MOVING for images of different grids."""
    from cnnreg.pipeline import transformation as t

    t.claim_file(out, overwrite=overwrite, inputs=[transform, like])
    inverse, told = t.invert(t.read_transform(transform), like=like)
    written = t.write_transform(inverse, out)
    for name, value in told.items():
        console.say(f"{name} {value:.4g}")
    _tell(written)


@app.command()
def compose(
    transforms: Annotated[
        list[Path], typer.Argument(metavar="FIRST NEXT...", help="In the order that a fixed point goes through them.")
    ],
    out: Output,
    like: Like = None,
    overwrite: options.Overwrite = False,
) -> None:
    """One transform for several: points of the fixed image go through FIRST, then NEXT, to the moving image."""
    from cnnreg.pipeline import transformation as t

    t.claim_file(out, overwrite=overwrite, inputs=[*transforms, like])
    _tell(t.write_transform(t.compose([t.read_transform(path) for path in transforms], like=like), out))


@app.command()
def jacobian(transform: Input, out: Output, overwrite: options.Overwrite = False) -> None:
    """The map of the Jacobian determinant: 1 keeps areas, below 1 shrinks towards the fixed image, <= 0 folds."""
    from cnnreg.pipeline import transformation as t

    t.claim_file(out, overwrite=overwrite, inputs=[transform])
    image, summary = t.jacobian(t.read_transform(transform))
    t.save_map(image, out)
    for name, value in summary.items():
        console.say(f"{name} {value:.5g}")
    _tell([out])


@app.command()
def convert(
    transform: Input,
    out: Output,
    source: Source = None,
    target: Target = None,
    fixed: Fixed = None,
    moving: Moving = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Translate a field between ITK, ANTs, elastix, VoxelMorph and SciPy."""
    from cnnreg.pipeline import transformation as t

    t.claim_file(out, overwrite=overwrite, inputs=[transform, fixed, moving])
    read = t.read_transform(transform, kind=source, like=fixed, moving=moving)
    _tell(t.write_transform(read, out, kind=target, moving=moving))


def _tell(written: list[Path]) -> None:
    for path in written:
        console.say(f"wrote {path}")
