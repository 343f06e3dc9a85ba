"""Options that several commands share, declared once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cnnreg.cli.declaring import (
    FILE,
    INITIAL,
    LABELS,
    MACHINE,
    METRIC,
    MODEL,
    NUMBER,
    OUTPUT,
    PROPERTIES,
    argument,
    model_names,
    option,
    preset_names,
)
from cnnreg.interface.setup import INITS

Metric = Literal["auto", "lncc", "ncc", "mse", "mi", "mind", "learned", "cc", "mattes", "meansquares", "demons"]
LARGEST_SEED = 2**63 - 1  # that torch takes


def _seed(value: int) -> int:
    if value > LARGEST_SEED:
        raise typer.BadParameter(f"{value} is larger than the largest seed, {LARGEST_SEED}.")
    return value


FixedImage = Annotated[Path, argument("FIXED", "The fixed (reference, target) image. The result lies on its grid.")]
MovingImage = Annotated[Path, argument("MOVING", "The moving (source) image, which is deformed.")]

ModelName = Annotated[
    str,
    option(
        MODEL,
        "--model",
        "-m",
        metavar="NAME",
        help="Trained model: a name ('cnnreg models list'), a folder, or none. (Not the moving image.)",
        names_of=model_names,
    ),
]
Iterations = Annotated[
    int | None,
    option(
        MODEL,
        "--adapt",
        "--iterations",
        "-a",
        low=0,
        metavar=NUMBER,
        help="Number of iterations of instance optimisation on this pair; 0 is the network's prediction alone.",
        default="50",
    ),
]
Preset = Annotated[
    str | None,
    option(
        MODEL,
        "--preset",
        metavar="NAME",
        help="Set of parameters by name ('cnnreg presets list').",
        default="default",
        names_of=preset_names,
    ),
]
Parameters = Annotated[
    Path | None,
    option(MODEL, "--parameters", "-p", metavar="FILE.toml", help="Parameters from a TOML file, instead of a preset."),
]
MaxSize = Annotated[
    int | None,
    option(
        MODEL,
        "--max-size",
        low=64,
        metavar=NUMBER,
        help="Size of the finest resolution level: pixels along the longer side.",
        default="2048",
    ),
]
Device = Annotated[
    str,
    option(
        MACHINE,
        "--device",
        metavar="NAME",
        help="Processor: auto, cpu, cuda or cuda:i.",
        names_of=lambda: ["auto", "cpu", "cuda"],
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, metavar=NUMBER, help="Random seed.", callback=_seed, rich_help_panel=MACHINE)
]
Threads = Annotated[
    int | None,
    option(
        MACHINE,
        "--threads",
        low=1,
        metavar=NUMBER,
        help="Number of CPU threads.",
        default="1, or all cores for large images",
    ),
]
Slice = Annotated[
    int | None,
    option(PROPERTIES, "--slice", low=0, metavar=NUMBER, help="Slice of a volume, or page of a TIFF, counted from 0."),
]
MovingSlice = Annotated[
    int | None,
    option(
        PROPERTIES,
        "--moving-slice",
        low=0,
        metavar=NUMBER,
        help="Slice of the moving image, where it is another.",
        default="--slice",
    ),
]
Spacing = Annotated[
    str | None,
    option(
        PROPERTIES,
        "--spacing",
        metavar="X[,Y]",
        help="Pixel spacing in mm, for images without spacing metadata.",
        default="1 px",
    ),
]
MovingSpacing = Annotated[
    str | None,
    option(
        PROPERTIES,
        "--moving-spacing",
        metavar="X[,Y]",
        help="Pixel spacing of the moving image, where it is another.",
        default="--spacing",
    ),
]
Intensities = Annotated[
    str | None,
    option(
        PROPERTIES,
        "--window",
        metavar="LOW,HIGH",
        help="Intensity window (clip range) instead of percentiles, such as -200,300 for CT.",
    ),
]
MovingIntensities = Annotated[
    str | None,
    option(
        PROPERTIES,
        "--moving-window",
        metavar="LOW,HIGH",
        help="Intensity window of the moving image, where it is another.",
        default="--window",
    ),
]
Percentiles = Annotated[
    str | None,
    option(
        PROPERTIES,
        "--percentiles",
        metavar="LOW,HIGH",
        help="Percentiles of the intensities that limit the window.",
        default="the model's, or 0.5,99.5",
    ),
]
LabelThreshold = Annotated[
    float | None, option(LABELS, "--label-threshold", metavar="T", help="Take label maps as masks: the pixels above T.")
]
Overwrite = Annotated[bool, option(OUTPUT, "--overwrite", help="Replace earlier results.")]
Quiet = Annotated[bool, option(OUTPUT, "--quiet", "-q", help="Show neither progress nor results.")]
AsJson = Annotated[bool, option(OUTPUT, "--json", help="Print JSON on standard output instead of a table.")]
FixedMask = Annotated[
    Path | None,
    option(
        METRIC,
        "--fixed-mask",
        metavar=FILE,
        help="Mask (region of interest) of the fixed image; the metric is evaluated where it is not 0.",
    ),
]
MovingMask = Annotated[
    Path | None, option(METRIC, "--moving-mask", metavar=FILE, help="Mask of the moving image, with the same meaning.")
]
SegFixed = Annotated[
    Path | None, option(LABELS, "--seg-fixed", "--fixed-seg", metavar=FILE, help="Label map of the fixed image.")
]
SegMoving = Annotated[
    Path | None, option(LABELS, "--seg-moving", "--moving-seg", metavar=FILE, help="Label map of the moving image.")
]
PointsFixed = Annotated[
    Path | None,
    option(
        LABELS,
        "--points-fixed",
        "--fixed-points",
        metavar=FILE,
        help="Landmarks of the fixed image: a CSV file with columns x, y, in pixels.",
    ),
]
PointsMoving = Annotated[
    Path | None,
    option(
        LABELS,
        "--points-moving",
        "--moving-points",
        metavar=FILE,
        help="The same landmarks in the moving image, row by row.",
    ),
]
Physical = Annotated[
    bool,
    option(
        LABELS, "--physical", help="Landmarks are in physical (world) coordinates, in mm where known, not in pixels."
    ),
]
LandmarkWeight = Annotated[
    float | None,
    option(
        LABELS,
        "--landmark-weight",
        low=0,
        metavar="W",
        help="Weight of the landmarks in the registration; with 0 they only measure it.",
        default="0",
    ),
]
Init = Annotated[
    str | None,
    option(
        INITIAL,
        "--init",
        metavar="METHOD",
        help="Initial transform: auto (searched where needed), none (header geometry), center (geometric centres), "
        "moments (centres of mass), rigid, similarity or affine (always searched), or a transform FILE.",
        default="auto",
        names_of=lambda: list(INITS),
    ),
]
NoMirror = Annotated[bool, option(INITIAL, "--no-mirror", help="Do not try mirror images of MOVING if all else fails.")]
Similarity = Annotated[
    Metric | None,
    option(
        METRIC,
        "--metric",
        "--similarity",
        metavar="METRIC",
        help="Similarity metric to be maximised: lncc (also cc), ncc, mse (meansquares, demons), mi (mattes), mind, "
        "learned (a network's representation), or auto: what held-out blocks of the two images bear out.",
        default="auto",
    ),
]
Padding = Annotated[
    Literal["auto", "keep", "off"] | None,
    option(
        METRIC,
        "--padding",
        metavar="auto|off",
        help="Automatic masking of frames, bars, filled corners and apertures: auto, or off (also keep).",
        default="auto",
    ),
]
Inverse = Annotated[bool, option(OUTPUT, "--inverse", help="Also write the inverse displacement field, inverse.mha.")]
FieldType = Annotated[
    Literal["float32", "float64"],
    option(
        OUTPUT,
        "--field-type",
        metavar="TYPE",
        help="Type of the numbers in the displacement field's file: float64, which SimpleITK asks for, or float32.",
    ),
]
Html = Annotated[
    bool, option(OUTPUT, "--html", help="Also write report.html, a page to wipe and flicker the images in.")
]
Features = Annotated[
    str | None,
    option(
        INITIAL,
        "--features",
        metavar="MODEL",
        help="Model of the descriptors that are matched, or none.",
        default="universal-2d",
        names_of=model_names,
    ),
]
Strict = Annotated[bool, option(OUTPUT, "--strict", help="Exit with code 3 if the verdict on the result is: failed.")]
NoPicture = Annotated[bool, option(OUTPUT, "--no-picture", help="Do not draw report.png: saves time in long series.")]
