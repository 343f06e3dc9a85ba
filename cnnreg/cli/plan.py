"""From the options of ``register``, one by one, to what the Python interface takes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnreg import defaults
from cnnreg.cli import settings
from cnnreg.errors import UsageError
from cnnreg.interface.setup import Choices

if TYPE_CHECKING:
    from cnnreg.pipeline.loading import Request
    from cnnreg.pipeline.setup import Setup


@dataclass(frozen=True)
class Options:
    """Options of ``register`` that decide the result, named and typed as its arguments are."""

    fixed: Path
    moving: Path
    model: str = defaults.MODEL
    adapt: int | None = None
    preset: str | None = None
    parameters: Path | None = None
    max_size: int | None = None
    init: str | None = None
    similarity: str | None = None
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    padding: str | None = None
    no_mirror: bool = False
    features: str | None = None
    seg_fixed: Path | None = None
    seg_moving: Path | None = None
    points_fixed: Path | None = None
    points_moving: Path | None = None
    physical: bool = False
    landmark_weight: float | None = None
    spacing: str | None = None
    moving_spacing: str | None = None
    window: str | None = None
    moving_window: str | None = None
    percentiles: str | None = None
    slice_index: int | None = None
    moving_slice: int | None = None
    label_threshold: float | None = None
    inverse: bool = False
    field_type: str = "float64"
    device: str = "auto"
    seed: int = defaults.SEED
    threads: int | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Options":
        """Those among the arguments of a command."""
        return cls(**{f.name: arguments[f.name] for f in fields(cls) if f.name in arguments})


def plan(options: Options) -> tuple["Setup", "Request"]:
    """The parameters and the pair that options say.

    Raises:
        UsageError: they contradict each other, or one of them has no effect.
    """
    _check(options)
    choices = Choices(
        options.adapt,
        options.model,
        options.preset,
        options.parameters,
        options.init,
        options.similarity,
        options.padding,
        not options.no_mirror,
        options.max_size,
        settings.numbers(options.percentiles, "--percentiles", rising=True),
        options.landmark_weight,
        options.features,
        options.device,
        options.threads,
        options.seed,
    )
    request = _request(options, choices.transform)
    return choices.setup(), request


def _check(options: Options) -> None:
    settings.both_or_neither(options.points_fixed, options.points_moving, "--points-fixed and --points-moving")
    if options.field_type not in {"float32", "float64"}:
        raise UsageError(f"--field-type must be float32 or float64, got {options.field_type!r}")
    if options.landmark_weight and not options.points_fixed:
        raise UsageError("--landmark-weight has no effect without landmarks")


def _request(options: Options, transform: Path | None) -> "Request":
    from cnnreg.pipeline.loading import Request

    points = (options.points_fixed, options.points_moving)
    return Request(
        options.fixed,
        options.moving,
        (options.seg_fixed, options.seg_moving),
        points if points[0] and points[1] else None,  # type: ignore[arg-type]
        options.physical,
        masks=(options.fixed_mask, options.moving_mask),
        transform=transform,
        slice_index=options.slice_index,
        moving_slice=options.moving_slice,
        label_threshold=options.label_threshold,
        spacings=settings.two(options.spacing, options.moving_spacing, "--spacing"),
        windows=settings.two(options.window, options.moving_window, "--window", rising=True),
    )
