"""From the options of ``register``, one by one, to what the Python interface takes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnreg import defaults
from cnnreg.cli import settings
from cnnreg.errors import UsageError

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
    method, transform = settings.initial(options.init)
    changes = settings.merged(
        method,
        settings.similarity(options.similarity),
        settings.section("adaptation", steps=options.adapt),
        settings.padding(options.padding),
        settings.section("alignment", mirror="never" if options.no_mirror else None, features=options.features),
        settings.section("refinement", landmarks=options.landmark_weight, max_size=options.max_size),
    )
    setup = settings.make_setup(
        preset=options.preset,
        parameters=options.parameters,
        model=options.model,
        device=options.device,
        seed=options.seed,
        threads=options.threads,
        changes=changes,
        percentiles=settings.numbers(options.percentiles, "--percentiles", rising=True),
    )
    adaptation = setup.config.adaptation
    if options.landmark_weight and (not adaptation.steps or adaptation.target == "weights"):
        raise UsageError("--landmark-weight pulls the field in its iterations: give --adapt N, and not --preset paper")
    return setup, _request(options, transform)


def _check(options: Options) -> None:
    settings.both_or_neither(options.seg_fixed, options.seg_moving, "--seg-fixed and --seg-moving")
    settings.both_or_neither(options.points_fixed, options.points_moving, "--points-fixed and --points-moving")
    if options.field_type not in {"float32", "float64"}:
        raise UsageError(f"--field-type must be float32 or float64, got {options.field_type!r}")
    if options.label_threshold is not None and not options.seg_fixed:
        raise UsageError("--label-threshold has no effect without label maps")
    if not options.points_fixed and (options.physical or options.landmark_weight):
        name = "--physical" if options.physical else "--landmark-weight"
        raise UsageError(f"{name} has no effect without landmarks")


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
