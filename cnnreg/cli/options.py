"""Options that several commands share, declared once."""

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


def make_setup(
    *,
    preset: str | None,
    parameters: Path | None,
    model: str,
    device: str,
    seed: int,
    threads: int | None,
    changes: Mapping[str, Mapping[str, object]] | None = None,
) -> "Setup":
    """Resolve parameters: a preset or a file, then what single options change."""
    from cnnreg.config import preset as named_preset
    from cnnreg.config import read_parameters
    from cnnreg.pipeline.setup import Setup

    if preset and parameters:
        raise UsageError('--preset and --parameters exclude each other; a file can begin with base = "PRESET"')
    config, sections = read_parameters(parameters) if parameters else (named_preset(preset or "default"), set())
    config = config.override(dict(changes or {}), source="command line")
    return Setup(config, model, device, seed, threads, frozenset(sections))


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


def both_or_neither(one: object, other: object, names: str) -> None:
    """Two options that make sense only together."""
    if (one is None) != (other is None):
        raise UsageError(f"{names} go together: give both or neither")
