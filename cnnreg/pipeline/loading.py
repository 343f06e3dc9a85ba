"""From files, and what their user says about them, to a pair of images that is ready to be registered."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from cnnreg.config import Config
from cnnreg.engine.initial import Initial, find_initial, given_alignment
from cnnreg.errors import ImageError, UsageError
from cnnreg.geometry.affine import Displacement
from cnnreg.geometry.exchange import import_field, kind_of
from cnnreg.geometry.resampling import regrid
from cnnreg.geometry.transformfile import is_affine, read_affine
from cnnreg.images.image import Image
from cnnreg.learning.features.describing import Describer, load_features
from cnnreg.pairs.dataset import Pair, PointSource, Source, make_pair, with_labels
from cnnreg.pairs.intensities import Window
from cnnreg.pairs.labelmaps import LabelSource
from cnnreg.pipeline.reading import Given, Side, Spacing, read_side
from cnnreg.pipeline.setup import Stopwatch

Sides = tuple[Side, Side]  # fixed and moving


@dataclass(frozen=True)
class Request:
    """Two images to be registered. Of what comes in twos, the first is of the fixed, the second of the moving image.

    Images, label maps, masks and landmarks are files or in memory.
    """

    fixed: Source
    moving: Source
    segs: tuple[LabelSource | None, LabelSource | None] = (None, None)  # label maps
    points: tuple[PointSource, PointSource] | None = None  # landmarks
    physical: bool = False  # the landmarks are physical points, not pixels
    masks: tuple[LabelSource | None, LabelSource | None] = (None, None)  # where the images count
    transform: Path | None = None  # the initial alignment, affine or a field, instead of the configuration's
    slice_index: int | None = None  # of volumes and stacks
    moving_slice: int | None = None  # of the moving image and its maps, where it is another
    label_threshold: float | None = None  # makes masks of the label maps
    spacings: tuple[Spacing | None, Spacing | None] = (None, None)  # where the files do not say
    windows: tuple[Window | None, Window | None] = (None, None)  # instead of the configuration's percentiles

    def __post_init__(self) -> None:
        if (self.segs[0] is None) != (self.segs[1] is None):
            raise UsageError("--seg-fixed and --seg-moving go together: give both or neither")
        if self.label_threshold is not None and self.segs[0] is None:
            raise UsageError("--label-threshold has no effect without label maps")
        if self.physical and not self.points:
            raise UsageError("--physical has no effect without landmarks")

    @property
    def slices(self) -> tuple[int | None, int | None]:
        """Of the fixed and of the moving image."""
        return self.slice_index, self.slice_index if self.moving_slice is None else self.moving_slice

    @property
    def given(self) -> tuple[Given, Given]:
        """What is said of either image."""
        a, b = zip(
            (self.fixed, self.moving), self.names, self.masks, self.slices, self.spacings, self.windows, strict=True
        )
        return Given(*a), Given(*b)

    @property
    def paths(self) -> list[Path]:
        """All that is read from files."""
        sources = (self.fixed, self.moving, *self.segs, *self.masks, *(self.points or ()), self.transform)
        return [source for source in sources if isinstance(source, Path)]

    @property
    def names(self) -> tuple[str, str]:
        """Of the images, as titles and errors call them."""
        return _name(self.fixed, "fixed image"), _name(self.moving, "moving image")


def _name(source: Source, other: str) -> str:
    return str(source) if isinstance(source, Path) else other


def load_aligned(request: Request, config: Config, watch: Stopwatch) -> tuple[Pair, Initial]:
    """Read two images, find their initial alignment, and bring them to one grid by it."""
    return align(request, config, read(request, config, watch), watch)


def read(request: Request, config: Config, watch: Stopwatch) -> Sides:
    """The two images as they are compared."""
    with watch("read"):
        fixed, moving = (read_side(given, config) for given in request.given)
        _check_spacings(request, fixed.image, moving.image)
    return fixed, moving


def align(request: Request, config: Config, sides: Sides, watch: Stopwatch) -> tuple[Pair, Initial]:
    """The initial alignment of two images, and the pair on one grid by it, with its label maps."""
    fixed, moving = sides
    try:
        pair, initial = _align(request, config, (fixed, moving), watch)
    except ImageError:
        if not (fixed.padding or moving.padding):
            raise
        fixed, moving = fixed.whole(), moving.whole()  # what was found by itself does not keep images apart
        pair, initial = _align(request, config, (fixed, moving), watch)
    return with_labels(pair, request.segs, slices=request.slices, threshold=request.label_threshold), initial


def _align(request: Request, config: Config, sides: Sides, watch: Stopwatch) -> tuple[Pair, Initial]:
    """The initial alignment, and the pair on one grid by it."""
    fixed, moving = sides
    with watch("align"):
        initial = _initial(request, config, fixed, moving)
    with watch("read"):
        pair = make_pair(
            fixed.image,
            moving.image,
            config.input,
            initial=initial.map,
            regions=(fixed.region, moving.region),
            inputs=(fixed.values, moving.values),
            names=request.names,
        )
    return replace(pair, windows=(fixed.window, moving.window), padding=(fixed.padding, moving.padding)), initial


def _check_spacings(request: Request, *images: Image) -> None:
    asked = [(image.grid.spacing, spacing) for image, spacing in zip(images, request.spacings, strict=True) if spacing]
    if asked and all(own != spacing for own, spacing in asked):
        raise UsageError(
            f"--spacing is for images whose files do not say it; {' and '.join(request.names)} say "
            + " and ".join("{:g} x {:g}".format(*own) for own, _ in asked)
        )


def _initial(request: Request, config: Config, fixed: Side, moving: Side) -> Initial:
    """From the file that the user gives, or as the configuration says."""
    grids, file = (fixed.image.grid, moving.image.grid), request.transform
    given = given_alignment(*grids)
    if file is None:
        spacings = grids[0].spacing[::-1], grids[1].spacing[::-1]
        method, mirror = config.alignment.init, config.alignment.mirror == "auto"
        features = None if config.alignment.features == "none" else load_features(config.alignment.features)
        images = fixed.seen, moving.seen
        adapt = _adaptation(features, images, config.alignment.adapt_features) if features else None
        return find_initial(
            *images, given, method=method, spacings=spacings, mirror=mirror, features=features, adapt=adapt
        )
    if is_affine(file) or not file.is_file():
        return Initial(read_affine(file, *grids), given, f"from {file.name}")
    field, own = import_field(file, kind=kind_of(file), grid=grids[0], moving=grids[1])
    return Initial(given, given, f"from the field {file.name}", Displacement(regrid(field, own, grids[0])))


def _adaptation(features: Describer, images: tuple[Tensor, Tensor], steps: int) -> Callable[[], Describer] | None:
    """What makes the features of this very pair, if that is asked for."""
    if not steps:
        return None
    from cnnreg.learning.features.oneshot import adapted

    return partial(adapted, features, images, steps=steps)
