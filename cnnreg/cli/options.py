"""Options that several commands share, declared once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

IMAGES, MODEL, INITIAL = "Images", "Model and adaptation", "Initial transform"
METRIC, LABELS, OUTPUT, MACHINE = "Metric and masks", "Labels and landmarks", "Output", "Machine"

Metric = Literal["auto", "lncc", "ncc", "mse", "mi", "mind", "cc", "mattes", "meansquares"]
METRIC_ALIASES = {"cc": "lncc", "mattes": "mi", "meansquares": "mse"}  # the names in ANTs and elastix
INITS = ("auto", "none", "center", "moments", "rigid", "similarity", "affine")

FixedImage = Annotated[
    Path,
    typer.Argument(
        metavar="FIXED",
        help="The fixed (reference, target) image. The result lies on its grid.",
        show_default=False,
        rich_help_panel=IMAGES,
    ),
]
MovingImage = Annotated[
    Path,
    typer.Argument(
        metavar="MOVING",
        help="The moving (source) image, which is deformed.",
        show_default=False,
        rich_help_panel=IMAGES,
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Trained model: a name ('cnnreg models list'), a folder, or none. (Not the moving image.)",
        rich_help_panel=MODEL,
    ),
]
Iterations = Annotated[
    int | None,
    typer.Option(
        "--adapt",
        "--iterations",
        "-a",
        min=0,
        metavar="N",
        help="Iterations of instance optimisation on this pair.",
        show_default="50; 0 is the network's prediction alone",
        rich_help_panel=MODEL,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Set of parameters by name ('cnnreg presets list').",
        show_default="default",
        rich_help_panel=MODEL,
    ),
]
Parameters = Annotated[
    Path | None,
    typer.Option("--parameters", "-p", help="Parameters from a TOML file.", metavar="FILE.toml", rich_help_panel=MODEL),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Processor: auto, cpu, cuda or cuda:i.",
        autocompletion=lambda: ["auto", "cpu", "cuda"],
        rich_help_panel=MACHINE,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, max=2**63 - 1, metavar="N", help="Seed of all random numbers.", rich_help_panel=MACHINE
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        metavar="N",
        help="Number of CPU threads.",
        show_default="all cores",
        rich_help_panel=MACHINE,
    ),
]
Slice = Annotated[
    int | None,
    typer.Option(
        "--slice",
        min=0,
        metavar="N",
        help="Slice of a volume, or page of a TIFF, counted from 0.",
        rich_help_panel=IMAGES,
    ),
]
MovingSlice = Annotated[
    int | None,
    typer.Option(
        "--moving-slice",
        min=0,
        metavar="N",
        help="Slice of the moving image.",
        show_default="--slice",
        rich_help_panel=IMAGES,
    ),
]
LabelThreshold = Annotated[
    float | None,
    typer.Option("--label-threshold", metavar="T", help="Label maps as masks: values above T.", rich_help_panel=LABELS),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier results.", rich_help_panel=OUTPUT)]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show neither progress nor results.", rich_help_panel=OUTPUT)
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON on standard output instead of a table.", rich_help_panel=OUTPUT),
]
FixedMask = Annotated[
    Path | None,
    typer.Option(
        "--fixed-mask",
        metavar="FILE",
        help="Mask (region of interest) of the fixed image; the metric is evaluated where it is not 0.",
        rich_help_panel=METRIC,
    ),
]
MovingMask = Annotated[
    Path | None,
    typer.Option(
        "--moving-mask", metavar="FILE", help="Mask of the moving image, with the same meaning.", rich_help_panel=METRIC
    ),
]
SegFixed = Annotated[
    Path | None,
    typer.Option(
        "--seg-fixed", "--fixed-seg", metavar="FILE", help="Label map of the fixed image.", rich_help_panel=LABELS
    ),
]
SegMoving = Annotated[
    Path | None,
    typer.Option(
        "--seg-moving", "--moving-seg", metavar="FILE", help="Label map of the moving image.", rich_help_panel=LABELS
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="METHOD",
        help="Initial transform: auto (searched where needed), none (header geometry), center (geometric centres), "
        "moments (centres of mass), rigid, similarity or affine (always searched), or a transform FILE.",
        show_default="auto",
        autocompletion=lambda: list(INITS),
        rich_help_panel=INITIAL,
    ),
]
Similarity = Annotated[
    Metric | None,
    typer.Option(
        "--similarity",
        "--metric",
        metavar="METRIC",
        help="Similarity metric to be maximised: lncc (also cc), ncc, mse (meansquares), mi (mattes), mind. "
        "The default takes mind where contrasts differ, and else lncc.",
        show_default="auto",
        rich_help_panel=METRIC,
    ),
]
PointsFixed = Annotated[
    Path | None,
    typer.Option(
        "--points-fixed",
        "--fixed-points",
        metavar="FILE",
        help="Landmarks of the fixed image: a CSV file with columns x, y, in pixels.",
        rich_help_panel=LABELS,
    ),
]
PointsMoving = Annotated[
    Path | None,
    typer.Option(
        "--points-moving",
        "--moving-points",
        metavar="FILE",
        help="The same landmarks in the moving image, row by row.",
        rich_help_panel=LABELS,
    ),
]
Physical = Annotated[
    bool,
    typer.Option(
        "--physical",
        help="Landmarks are in physical (world) coordinates, in mm where known, not in pixels.",
        rich_help_panel=LABELS,
    ),
]
LandmarkWeight = Annotated[
    float | None,
    typer.Option(
        "--landmark-weight",
        min=0,
        metavar="W",
        help="Weight of the landmarks in the registration; with 0 they only measure it.",
        show_default="0",
        rich_help_panel=LABELS,
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        "--spacing",
        metavar="X[,Y]",
        help="Pixel spacing in mm, for images without spacing metadata.",
        show_default="1 px",
        rich_help_panel=IMAGES,
    ),
]
MovingSpacing = Annotated[
    str | None,
    typer.Option(
        "--moving-spacing",
        metavar="X[,Y]",
        help="Pixel spacing of the moving image.",
        show_default="--spacing",
        rich_help_panel=IMAGES,
    ),
]
Intensities = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="LOW,HIGH",
        help="Intensity window (clip range) instead of percentiles, such as -200,300 for CT.",
        rich_help_panel=IMAGES,
    ),
]
MovingIntensities = Annotated[
    str | None,
    typer.Option(
        "--moving-window",
        metavar="LOW,HIGH",
        help="Intensity window of the moving image.",
        show_default="--window",
        rich_help_panel=IMAGES,
    ),
]
Percentiles = Annotated[
    str | None,
    typer.Option(
        "--percentiles",
        metavar="LOW,HIGH",
        help="Percentiles of the intensities that limit the window.",
        show_default="the model's, or 0.5,99.5",
        rich_help_panel=IMAGES,
    ),
]
Padding = Annotated[
    Literal["auto", "keep", "off"] | None,
    typer.Option(
        "--padding",
        help="Automatic masking of frames, bars, filled corners and apertures: auto, or off (also keep).",
        show_default="auto",
        rich_help_panel=METRIC,
    ),
]
FieldType = Annotated[
    str,
    typer.Option(
        "--field-type",
        rich_help_panel=OUTPUT,
        help="Numbers in the displacement field's file: float64, which SimpleITK asks for, or float32.",
    ),
]
NoPicture = Annotated[
    bool,
    typer.Option("--no-picture", rich_help_panel=OUTPUT, help="Do not draw report.png: saves time in long series."),
]
MaxSize = Annotated[
    int | None,
    typer.Option(
        "--max-size",
        min=64,
        metavar="N",
        help="Size of the finest resolution level: pixels along the longer side.",
        show_default="2048",
        rich_help_panel=MODEL,
    ),
]
