"""``cnnreg evaluate`` and ``cnnreg apply``."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from cnnreg.cli import console, options, progress, settings
from cnnreg.cli.declaring import FILE, FOLDER, IMAGES, OUTPUT, option
from cnnreg.errors import UsageError

WARPING, POINTS = "Warping", "Points"


def evaluate(
    fixed: Annotated[Path | None, option(IMAGES, "--fixed", metavar=FILE, help="The fixed image.")] = None,
    moving: Annotated[Path | None, option(IMAGES, "--moving", metavar=FILE, help="The moving image.")] = None,
    warped: Annotated[
        Path | None,
        option(IMAGES, "--warped", metavar=FILE, help="The moving image after a registration."),
    ] = None,
    field: Annotated[
        Path | None,
        option(
            IMAGES,
            "--field",
            metavar=FILE,
            help="The displacement field: moving image, label map and landmarks are transformed by it first.",
        ),
    ] = None,
    seg_fixed: options.SegFixed = None,
    seg_moving: options.SegMoving = None,
    points_fixed: options.PointsFixed = None,
    points_moving: options.PointsMoving = None,
    physical: options.Physical = False,
    slice_index: options.Slice = None,
    moving_slice: options.MovingSlice = None,
    label_threshold: options.LabelThreshold = None,
    spacing: options.Spacing = None,
    table: Annotated[
        Path | None, option(OUTPUT, "--csv", metavar=FILE, help="Append the measures as a row to a CSV file.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure a registration, or the agreement of two images, label maps or sets of landmarks.

    Of images: MAE, NCC and NMI. Of label maps: Dice (DSC), average symmetric surface distance (ASSD) and HD95. Of
    landmarks: target registration error (TRE). Of the field: folding and the standard deviation of the log Jacobian.

    Distances are in pixels of the fixed image (TRE: of the moving image), and in mm where they are known.
    """
    files = {"fixed": fixed, "moving": moving, "warped": warped, "field": field}
    files |= {"seg_fixed": seg_fixed, "seg_moving": seg_moving}
    files |= {"points_fixed": points_fixed, "points_moving": points_moving}
    inputs = {name: str(file) for name, file in files.items() if file}
    with progress.display(quiet=as_json) as shown:
        from cnnreg.evaluation.tables import append_csv, flatten
        from cnnreg.files import refuse_inputs
        from cnnreg.interface.commands import evaluate as run

        if table:
            refuse_inputs([table], [file for file in files.values() if file])
        shown.stage("measure")
        states = run(
            **files,
            label_threshold=label_threshold,
            physical=physical,
            spacing=settings.numbers(spacing, "--spacing"),
            slice_index=slice_index,
            moving_slice=moving_slice,
        )
    if table:
        append_csv(table, inputs | flatten(states))
    if as_json:
        console.say(json.dumps({"schema_version": 1, "inputs": inputs, "metrics": states}, indent=2))
    else:
        console.print_measures("", states)


def apply(
    field: Annotated[
        Path,
        typer.Argument(
            metavar="FIELD", help="The displacement field of a registration, such as field.mha.", show_default=False
        ),
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE...", help="Images or label maps in the space of the moving image."),
    ] = None,
    interpolation: Annotated[
        Literal["linear", "nearest"] | None,
        option(
            WARPING,
            "--interpolation",
            metavar="METHOD",
            help="Interpolation: linear, or nearest (for label maps).",
            default="linear",
        ),
    ] = None,
    labels: Annotated[
        bool, option(WARPING, "--label", help="The images are label maps: the same as --interpolation nearest.")
    ] = False,
    moving: Annotated[
        Path | None,
        option(
            WARPING,
            "--moving",
            "--like",
            metavar=FILE,
            help="The moving image, whose geometry is used for images and points that do not have it.",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        option(
            WARPING,
            "--reference",
            metavar=FILE,
            help="Image on whose grid the warped images lie, in the space of the fixed image.",
            default="grid of FIELD",
        ),
    ] = None,
    points: Annotated[
        Path | None,
        option(
            POINTS,
            "--points",
            "--points-fixed",
            "--fixed-points",
            metavar=FILE,
            help="Points of the fixed image, to be transformed to the moving image: a CSV file.",
        ),
    ] = None,
    moving_points: Annotated[
        Path | None,
        option(
            POINTS,
            "--moving-points",
            "--points-moving",
            metavar=FILE,
            help="Points of the moving image, to be transformed to the fixed image: a CSV file.",
        ),
    ] = None,
    physical: Annotated[
        bool,
        option(POINTS, "--physical", help="Points are in physical (world) coordinates, in mm where known."),
    ] = False,
    slice_index: options.Slice = None,
    label_threshold: options.LabelThreshold = None,
    spacing: options.Spacing = None,
    out: Annotated[
        Path,
        option(OUTPUT, "--out", "-o", metavar=FOLDER, help="Folder of the results.", default="the current folder"),
    ] = Path(),
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Warp other images, label maps or points with the displacement field of a registration.

    Writes NAME_warped.<ext> for images and NAME_transformed.csv for points.
    """
    if labels and interpolation == "linear":
        raise UsageError("--label and --interpolation linear exclude each other")
    if interpolation and not images:
        raise UsageError("--interpolation has no effect without images")
    with progress.display(quiet=quiet) as shown:
        from cnnreg.interface.transforms import apply as run

        shown.stage("warp")
        written = run(
            field,
            images or (),
            out=out,
            points=points,
            moving_points=moving_points,
            labels=labels or interpolation == "nearest",
            physical=physical,
            moving=moving,
            reference=reference,
            slice_index=slice_index,
            label_threshold=label_threshold,
            spacing=settings.numbers(spacing, "--spacing"),
            overwrite=overwrite,
        )
    if not quiet:
        for path in written:
            console.say(f"wrote {path}")
