"""``cnnreg evaluate``: whatever files there are, or images in memory, measured."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnreg.config import InputConfig
from cnnreg.errors import FileNotice, ImageError, UsageError
from cnnreg.evaluation.measure import Evidence, Measures, alikeness, known, measure
from cnnreg.images.image import Grid, Image, read_field
from cnnreg.pairs.dataset import PointSource, Source, make_pair, read_intensities, read_landmarks
from cnnreg.pairs.intensities import luminance, normalise
from cnnreg.pairs.labelmaps import Labels, LabelSource, read_label_map, read_labels
from cnnreg.pairs.pointfiles import Points
from cnnreg.pairs.pointunits import check_inside

_SLICED = {"fixed", "moving", "warped", "seg_fixed", "seg_moving"}  # what --slice can pick from


@dataclass(frozen=True)
class ScoringRequest:
    """What is given to ``cnnreg evaluate``: files, or what they hold."""

    fixed: Source | None = None
    moving: Source | None = None
    warped: Source | None = None
    field: Path | tuple[Tensor, Grid] | None = None  # (1, 2, H, W) in pixels of its grid
    seg_fixed: LabelSource | None = None
    seg_moving: LabelSource | None = None
    points_fixed: PointSource | None = None
    points_moving: PointSource | None = None

    @property
    def given(self) -> set[str]:
        """Names of what there is."""
        return {name for name, source in vars(self).items() if source is not None}

    @property
    def files(self) -> dict[str, Path]:
        """What is on disk."""
        return {name: file for name, file in vars(self).items() if isinstance(file, Path)}

    def name(self, which: str) -> str:
        """As errors call it."""
        source = getattr(self, which)
        return str(source) if isinstance(source, Path) else which


@dataclass(frozen=True)
class Picks:
    """Which slices of the files, and what of the label maps."""

    slice_index: int | None = None
    moving_slice: int | None = None  # where it is another
    threshold: float | None = None  # makes masks of the label maps

    def of(self, name: str) -> int | None:
        """The slice of a file of the request."""
        moving = name in {"moving", "seg_moving"} and self.moving_slice is not None
        return self.moving_slice if moving else self.slice_index


EVERYTHING = Picks()


def evaluate(
    request: ScoringRequest,
    *,
    picks: Picks = EVERYTHING,
    spacing: tuple[float, float] | None = None,
    physical: bool = False,
) -> dict[str, Measures]:
    """The numbers that the given files allow: ``before`` and ``after`` with a field or a warped image, else ``value``.

    ``spacing``, (x, y) in mm, is that of images whose files do not say; landmarks are in pixels unless ``physical``.

    Raises:
        UsageError: nothing can be measured, or a file given has no effect.
    """
    _check(request)
    if picks.slice_index is not None and not _SLICED & request.given:
        raise UsageError("--slice has no effect without images or label maps")
    if picks.moving_slice is not None and not {"moving", "seg_moving"} & request.given:
        raise UsageError("--moving-slice has no effect without a moving image or label map")
    if picks.threshold is not None and "seg_fixed" not in request.given:
        raise UsageError("--label-threshold has no effect without label maps")
    field, grid = _field(request.field)
    images = {
        name: read_intensities(source, name=name, slice_index=picks.of(name), spacing=spacing, with_missing=True)
        for name in ("fixed", "moving", "warped")
        if (source := getattr(request, name)) is not None
    }
    for name, image in images.items():
        if image.missing is not None:
            told = f"{request.name(name)}: {image.missing.sum()} pixels are NaN and do not count"
            warnings.warn(told, FileNotice, stacklevel=2)
    fixed, moving = images.get("fixed"), images.get("moving")
    if fixed and grid and fixed.grid.size != grid.size:
        raise ImageError(
            f"the field {request.name('field')} is on {_size(grid)} pixels, the fixed image on {_size(fixed.grid)}"
        )
    grid = fixed.grid if fixed else grid
    evidence = _evidence(request, fixed, moving, grid, picks, physical)
    states = {"before": measure(evidence, None)}
    if field is not None:
        states["after"] = measure(evidence, field)
    if "warped" in images:
        states["after"] = states.get("after", {}) | _warped_alikeness(request, images)
    states = {name: measures for name, measures in states.items() if measures}
    return {"value": states["before"]} if list(states) == ["before"] else states


def _check(request: ScoringRequest) -> None:
    given = request.given
    for one, other in (("seg_fixed", "seg_moving"), ("points_fixed", "points_moving")):
        if len(given & {one, other}) == 1:
            raise UsageError(
                f"--{one.replace('_', '-')} and --{other.replace('_', '-')} go together: give both or neither"
            )
    pairs = {"field"} | {name for name in given if name.startswith(("seg", "points"))}
    if "warped" in given and "fixed" not in given:
        raise UsageError("--warped is compared with the fixed image: give --fixed too")
    if not given & pairs and not ("fixed" in given and given & {"moving", "warped"}):
        raise UsageError(
            "nothing to measure: give --field, two images, two label maps or two sets of points (see --help)"
        )
    if given == {"field", "fixed"} or given == {"field", "moving"}:
        lone = "fixed" if "fixed" in given else "moving"
        raise UsageError(f"--{lone} has no effect without the other image: give --fixed and --moving, or leave it out")


def _field(source: Path | tuple[Tensor, Grid] | None) -> tuple[Tensor | None, Grid | None]:
    if source is None:
        return None, None
    if isinstance(source, tuple):
        return source
    field, grid = read_field(source)
    return torch.from_numpy(field)[None], grid


def _evidence(
    request: ScoringRequest,
    fixed: Image | None,
    moving: Image | None,
    grid: Grid | None,
    picks: Picks,
    physical: bool,
) -> Evidence:
    inputs: tuple[Tensor | None, Tensor | None] = (None, None)
    if fixed and moving:
        pair = make_pair(fixed, moving, InputConfig(), names=(request.name("fixed"), request.name("moving")))
        inputs = (pair.fixed_input, pair.moving_own)
    segs, grids = _label_maps(request, grid, moving.grid if moving else None, picks)
    points: tuple[Points | None, Points | None] = (None, None)
    if request.points_fixed is not None and request.points_moving is not None:
        if physical and not grid:
            raise UsageError("--physical needs to know where pixels lie: give --field, or --fixed and --moving")
        both = (grid, moving.grid if moving else grid) if physical and grid else None
        points = read_landmarks(request.points_fixed, request.points_moving, physical=both)
        for found, own, which in zip(points, (grid, moving.grid if moving else None), ("fixed", "moving"), strict=True):
            if own and (note := check_inside(found, own, which=which, physical=physical)):
                warnings.warn(note, FileNotice, stacklevel=2)
    return Evidence(*grids, *inputs, *segs, *points, (known(fixed), known(moving)))


def _label_maps(
    request: ScoringRequest, grid: Grid | None, moving_grid: Grid | None, picks: Picks
) -> tuple[tuple[Labels | None, Labels | None], tuple[Grid | None, Grid | None]]:
    """Both label maps, and the grids of the fixed and moving side; maps without an image lie on their own grids."""
    if request.seg_fixed is None or request.seg_moving is None:
        return (None, None), (grid, moving_grid)

    def read(source: LabelSource, grid: Grid | None, index: int | None) -> tuple[Labels, Grid]:
        if isinstance(source, Path) and grid is None:
            return read_label_map(source, slice_index=index, threshold=picks.threshold)
        grid = Grid(source.shape[:2]) if grid is None and not isinstance(source, Path) else grid
        assert grid is not None
        return read_labels(source, grid, slice_index=index, threshold=picks.threshold), grid

    seg_fixed, on_fixed = read(request.seg_fixed, grid, picks.of("seg_fixed"))
    seg_moving, on_moving = read(request.seg_moving, moving_grid, picks.of("seg_moving"))
    if not seg_fixed.any() and not seg_moving.any():
        names = f"{request.name('seg_fixed')} and {request.name('seg_moving')}"
        told = f"{names} are both empty (0 everywhere): no overlap to measure"
        warnings.warn(told, FileNotice, stacklevel=2)
    if on_fixed.size == on_moving.size:  # a map that does not say where it lies, lies where the other one lies
        if on_moving.plain and moving_grid is None:
            on_moving = on_fixed
        elif on_fixed.plain and grid is None:
            on_fixed = on_moving
    elif on_fixed.plain and on_moving.plain and request.field is None:
        sizes = f"{_size(on_fixed)} and {_size(on_moving)}"
        raise ImageError(f"the label maps are of different sizes, {sizes}; they must be alike")
    return (seg_fixed, seg_moving), (on_fixed, on_moving)


def _warped_alikeness(request: ScoringRequest, images: dict[str, Image]) -> Measures:
    """MAD and NCC of the fixed and the warped image in [0, 1]; the warped one by the moving one's range if known."""
    fixed, warped = images["fixed"], images["warped"]
    if fixed.grid.size != warped.grid.size:
        raise ImageError(
            f"{request.name('warped')} is {_size(warped.grid)} pixels, "
            f"the fixed image {_size(fixed.grid)}; they must be alike"
        )
    values: Any = luminance(warped.pixels).astype("float32")
    if "moving" in images:
        reference = luminance(images["moving"].pixels)
        low, high = float(reference.min()), float(reference.max())
        scaled = ((values - low) / ((high - low) or 1)).clip(0, 1)
    else:
        scaled = normalise(values, InputConfig(), name=request.name("warped"))
    target = normalise(fixed.pixels, InputConfig(), name=request.name("fixed"))
    missing = [image.missing for image in (fixed, warped) if image.missing is not None]
    seen = ~torch.from_numpy(np.any(missing, axis=0))[None, None] if missing else None
    return alikeness(torch.from_numpy(target)[None, None], torch.from_numpy(scaled)[None, None], seen)


def _size(grid: Grid) -> str:
    return f"{grid.size[1]}x{grid.size[0]}"
