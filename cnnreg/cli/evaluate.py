"""``cnnreg evaluate`` and ``cnnreg apply``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cnnreg.cli import console, options, progress, settings
from cnnreg.errors import UsageError

OptionalFile = Path | None


def evaluate(
    fixed: Annotated[OptionalFile, typer.Option("--fixed", help="The fixed image.")] = None,
    moving: Annotated[OptionalFile, typer.Option("--moving", help="The moving image.")] = None,
    warped: Annotated[OptionalFile, typer.Option("--warped", help="The registered moving image.")] = None,
    field: Annotated[
        OptionalFile, typer.Option("--field", help="The deformation; warps what is compared first.")
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
    table: Annotated[OptionalFile, typer.Option("--csv", help="Append a row to this CSV file.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure a registration, or how alike two images, label maps or sets of landmarks are.

    MAD and NCC of the images; DSC, CMD and HD95 of the label maps; landmark error; folding and SD of log Jacobian of
    the field. Distances are in pixels of the fixed image (landmarks: of the moving one), and in mm where known.
    """
    if physical and not points_fixed:
        raise UsageError("--physical has no effect without landmarks")
    with progress.display(quiet=as_json) as shown:
        from cnnreg.evaluation.tables import append_csv, flatten
        from cnnreg.files import refuse_inputs
        from cnnreg.pipeline.scoring import Picks, ScoringRequest
        from cnnreg.pipeline.scoring import evaluate as run

        request = ScoringRequest(fixed, moving, warped, field, seg_fixed, seg_moving, points_fixed, points_moving)
        if table:
            refuse_inputs([table], request.files.values())
        shown.stage("measure")
        states = run(
            request,
            picks=Picks(slice_index, moving_slice, label_threshold),
            spacing=settings.numbers(spacing, "--spacing"),
            physical=physical,
        )
    inputs = {name: str(path) for name, path in vars(request).items() if path}
    if table:
        append_csv(table, inputs | flatten(states))
    if as_json:
        console.say(json.dumps({"schema_version": 1, "inputs": inputs, "metrics": states}, indent=2))
    else:
        console.print_measures("", states)


def apply(
    field: Annotated[
        Path, typer.Argument(metavar="FIELD", help="A saved field, such as field.mha.", show_default=False)
    ],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE...", help="Images that lie where the moving image lay.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path(),
    labels: Annotated[bool, typer.Option("--label", help="The images are label maps: no new values.")] = False,
    points: Annotated[
        OptionalFile, typer.Option("--points", help="CSV of points of the fixed image, carried to the moving one.")
    ] = None,
    moving_points: Annotated[
        OptionalFile,
        typer.Option("--moving-points", help="CSV of points of the moving image, carried to the fixed one."),
    ] = None,
    physical: options.Physical = False,
    like: Annotated[
        OptionalFile,
        typer.Option("--like", help="The moving image, if IMAGEs or points need its geometry."),
    ] = None,
    slice_index: options.Slice = None,
    spacing: options.Spacing = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Warp other images, label maps or points with a saved field; writes NAME_warped.<ext> and NAME_moved.csv."""
    if not images and not points and not moving_points:
        raise UsageError("nothing to warp: give images, or --points")
    if physical and not points and not moving_points:
        raise UsageError("--physical has no effect without points")
    if not images and (labels or (slice_index is not None and not like)):
        raise UsageError(f"{'--label' if labels else '--slice'} has no effect without images")
    from cnnreg.pipeline.application import apply_field

    written = apply_field(
        field,
        images or [],
        out,
        labels=labels,
        points=points,
        moving_points=moving_points,
        physical=physical,
        like=like,
        overwrite=overwrite,
        slice_index=slice_index,
        spacing=settings.numbers(spacing, "--spacing"),
    )
    if not quiet:
        for path in written:
            console.say(f"wrote {path}")
