"""Options that several commands share, declared once."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnreg.errors import UsageError

if TYPE_CHECKING:
    from cnnreg.pipeline.setup import Setup

FixedImage = Annotated[Path, typer.Argument(metavar="FIXED", help="The image that stays.", show_default=False)]
MovingImage = Annotated[
    Path, typer.Argument(metavar="MOVING", help="The image that is laid onto it.", show_default=False)
]
ModelName = Annotated[str, typer.Option("--model", "-m", help="Name ('cnnreg models list'), folder, or none.")]
Preset = Annotated[
    str | None, typer.Option("--preset", help="Parameters by name ('cnnreg presets list').", show_default="default")
]
Parameters = Annotated[
    Path | None, typer.Option("--parameters", "-p", help="Parameters from a TOML file.", metavar="FILE.toml")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:i.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Of all that is random.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.", show_default="all cores")]
Slice = Annotated[int | None, typer.Option("--slice", min=0, help="Which slice of volumes or pages of TIFFs, from 0.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier results.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of a table.")]
FixedMask = Annotated[
    Path | None, typer.Option("--fixed-mask", help="Where the fixed image counts: an image that is not 0 there.")
]
MovingMask = Annotated[Path | None, typer.Option("--moving-mask", help="Where the moving image counts.")]
SegFixed = Annotated[Path | None, typer.Option("--seg-fixed", help="Label map of the fixed image.")]
SegMoving = Annotated[Path | None, typer.Option("--seg-moving", help="Label map of the moving image.")]
Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        help="Initial alignment: auto (where needed), none, center, moments, rigid, similarity, affine, or a FILE.",
        show_default="the preset's",
    ),
]
Similarity = Annotated[
    str | None,
    typer.Option(
        "--similarity",
        help="What is climbed: auto, lncc, ncc, mse, mi or mind; mi and mind where contrasts differ.",
        show_default="the preset's",
    ),
]
PointsFixed = Annotated[
    Path | None, typer.Option("--points-fixed", help="Landmarks of the fixed image: CSV with x, y in pixels.")
]
PointsMoving = Annotated[
    Path | None, typer.Option("--points-moving", help="The same landmarks in the moving image, row by row.")
]
Physical = Annotated[
    bool, typer.Option("--physical", help="Points are in physical units (mm where known), not in pixels.")
]
LandmarkWeight = Annotated[
    float | None,
    typer.Option(
        "--landmark-weight",
        min=0,
        help="How much the landmarks pull the field; 0: they only measure.",
        show_default="0",
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        "--spacing", metavar="X[,Y]", help="Of pixels, in mm, where an image does not say.", show_default="1 px"
    ),
]
MovingSpacing = Annotated[
    str | None,
    typer.Option("--moving-spacing", metavar="X[,Y]", help="The moving image's, if another.", show_default="--spacing"),
]
Intensities = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="LOW,HIGH",
        help="Intensities that count, in place of percentiles: such as -200,300 of a CT.",
    ),
]
MovingIntensities = Annotated[
    str | None,
    typer.Option(
        "--moving-window", metavar="LOW,HIGH", help="The moving image's, if another.", show_default="--window"
    ),
]
Percentiles = Annotated[
    str | None,
    typer.Option(
        "--percentiles",
        metavar="LOW,HIGH",
        help="Of the intensities that count.",
        show_default="the model's, or 0.5,99.5",
    ),
]
Padding = Annotated[
    str | None,
    typer.Option(
        "--padding", help="auto: frames, bars and filled corners do not count; or keep.", show_default="the preset's"
    ),
]
FieldType = Annotated[
    str,
    typer.Option(
        "--field-type", help="Numbers in the displacement field's file: float64, which SimpleITK asks for, or float32."
    ),
]
NoPicture = Annotated[bool, typer.Option("--no-picture", help="Do not draw report.png: saves time in long series.")]
MaxSize = Annotated[
    int | None,
    typer.Option(
        "--max-size",
        min=64,
        help="Pixels along the longer side that the field is moved on.",
        show_default="the preset's",
    ),
]


def make_setup(
    *,
    preset: str | None,
    parameters: Path | None,
    model: str,
    device: str,
    seed: int,
    threads: int | None,
    changes: Mapping[str, Mapping[str, object]] | None = None,
    percentiles: tuple[float, float] | None = None,
) -> "Setup":
    """Resolve parameters: a preset or a file, then what single options change."""
    from cnnreg.config import preset as named_preset
    from cnnreg.config import read_parameters
    from cnnreg.pipeline.setup import Setup

    if preset and parameters:
        raise UsageError('--preset and --parameters exclude each other; a file can begin with base = "PRESET"')
    config, sections = read_parameters(parameters) if parameters else (named_preset(preset or "default"), set())
    config = config.override(dict(changes or {}), source="command line")
    if percentiles and not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise UsageError(f"--percentiles must be from 0 to 100, got {percentiles[0]:g} and {percentiles[1]:g}")
    return Setup(config, model, device, seed, threads, frozenset(sections), percentiles)


def initial(init: str | None) -> tuple[dict[str, dict[str, object]], Path | None]:
    """What ``--init`` changes in the parameters, or the transform file that it names."""
    if init is None:
        return {}, None
    if "." in init or "/" in init or Path(init).is_file():
        return {}, Path(init)
    return {"alignment": {"init": init}}, None


def similarity(name: str | None) -> dict[str, dict[str, object]]:
    """What ``--similarity`` changes in the parameters: of steps on the field, and of those on the weights."""
    if name is None:
        return {}
    chosen: dict[str, object] = {"similarity": name}
    return {"refinement": chosen} | ({} if name == "auto" else {"loss": chosen})


def numbers(text: str | None, option: str, *, rising: bool = False) -> tuple[float, float] | None:
    """Two numbers with a comma between; of a spacing, which is positive, one may stand for both."""
    if text is None:
        return None
    words = text.split(",")
    if not rising and len(words) == 1:
        words *= 2
    try:
        first, second = (float(word) for word in words)
    except ValueError:
        first, second = 0.0, 0.0  # which is neither
    if not (math.isfinite(first + second) and (first < second if rising else min(first, second) > 0)):
        expected = "LOW,HIGH, two numbers of which the first is smaller" if rising else "X or X,Y, above 0"
        raise UsageError(f"{option} must be {expected}, got {text!r}")
    return first, second


def two(
    text: str | None, moving: str | None, option: str, *, rising: bool = False
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Of the fixed and of the moving image, which is the same unless it is given."""
    fixed = numbers(text, option, rising=rising)
    return fixed, numbers(moving, option.replace("--", "--moving-"), rising=rising) or fixed


def section(name: str, **values: object) -> dict[str, dict[str, object]]:
    """What options that were given change in a section of the parameters."""
    return {name: {key: value for key, value in values.items() if value is not None}}


def merged(*changes: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Changes of the parameters together, by section."""
    sections = {name for change in changes for name in change}
    return {name: {k: v for change in changes for k, v in change.get(name, {}).items()} for name in sections}


def both_or_neither(one: object, other: object, names: str) -> None:
    """Two options that make sense only together."""
    if (one is None) != (other is None):
        raise UsageError(f"{names} go together: give both or neither")
