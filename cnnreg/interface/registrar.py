"""Registering from Python: two images with :func:`register`, many pairs with a :class:`Registrar`."""

from pathlib import Path

from cnnreg import defaults
from cnnreg.errors import UsageError
from cnnreg.interface.images import AnyImage, PointTable, take, take_labels, take_points
from cnnreg.interface.registration import Registration
from cnnreg.interface.setup import Choices
from cnnreg.pairs.intensities import Window
from cnnreg.pipeline import registration as pipeline
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.reading import Spacing
from cnnreg.pipeline.setup import Setup, load
from cnnreg.watching import UNWATCHED, Watcher


class Registrar:
    """Registers pairs with one model and one set of parameters, which stay loaded between them.

    No pair influences the next: adapted weights are thrown away.

    Args:
        adapt: iterations on each pair; 0 for the network's prediction alone; None for the preset's own number, of which
            the default preset's is 50.
        model: name (``cnnreg models list``), folder, or "none".
        preset, parameters: parameters by name (``cnnreg presets list``), or from a TOML file.
        init: initial transform: "auto", "none", "center", "moments", "rigid", "similarity", "affine", or a file.
        similarity: similarity metric: "auto", "lncc", "ncc", "mse", "mi", "mind" or "learned"; None for the preset's.
        padding: "auto" masks borders that show nothing, "keep" does not.
        mirror: whether mirror images are tried where no other initial transform is convincing.
        max_size: pixels along the longer side of the finest resolution level of the iterations.
        percentiles: of the intensities, that become 0 and 1; None for the model's own.
        landmark_weight: how strongly landmarks pull the field in its iterations.
        features: name of the model whose descriptors propose initial transforms, or "none"; None for the preset's.
        device: "auto", "cpu", "cuda" or "cuda:i".
        threads: of the CPU; None for one on small images, where more do not pay, else all cores.
        seed: of all random numbers.

    Raises:
        CnnregError: a name is not known, or the device is not there.
    """

    def __init__(
        self,
        *,
        adapt: int | None = None,
        model: str = defaults.MODEL,
        preset: str | None = None,
        parameters: str | Path | None = None,
        init: str | Path | None = None,
        similarity: str | None = None,
        padding: str | None = None,
        mirror: bool = True,
        max_size: int | None = None,
        percentiles: tuple[float, float] | None = None,
        landmark_weight: float | None = None,
        features: str | None = None,
        device: str = "auto",
        threads: int | None = None,
        seed: int = defaults.SEED,
    ) -> None:
        choices = Choices(
            adapt,
            model,
            preset,
            parameters,
            init,
            similarity,
            padding,
            mirror,
            max_size,
            percentiles,
            landmark_weight,
            features,
            device,
            threads,
            seed,
        )
        self._start(choices.setup(), choices.transform)

    @classmethod
    def of(cls, setup: Setup, *, transform: Path | None = None) -> "Registrar":
        """With parameters that are resolved already, as the command line's are."""
        registrar = cls.__new__(cls)
        registrar._start(setup, transform)
        return registrar

    def _start(self, setup: Setup, transform: Path | None) -> None:
        if setup.model == "none" and not setup.config.adaptation.steps:
            raise UsageError("without a model nothing is predicted: give --adapt N")
        self._setup, self._transform = setup, transform
        self._loaded = load(setup)

    def register(
        self,
        fixed: AnyImage,
        moving: AnyImage,
        *,
        fixed_mask: AnyImage | None = None,
        moving_mask: AnyImage | None = None,
        seg_fixed: AnyImage | None = None,
        seg_moving: AnyImage | None = None,
        label_threshold: float | None = None,
        points: tuple[PointTable, PointTable] | None = None,
        physical: bool = False,
        spacing: Spacing | None = None,
        moving_spacing: Spacing | None = None,
        window: Window | None = None,
        moving_window: Window | None = None,
        slice_index: int | None = None,
        moving_slice: int | None = None,
    ) -> Registration:
        """Register ``moving`` to ``fixed``; see :func:`register`."""
        moving_spacing = moving_spacing or spacing
        on_disk = [isinstance(image, (str, Path)) for image in (fixed, moving)]  # what is yet to be told its spacing
        request = Request(
            take(fixed, spacing=spacing),
            take(moving, spacing=moving_spacing),
            segs=(take_labels(seg_fixed), take_labels(seg_moving)),
            points=None if points is None else (take_points(points[0]), take_points(points[1])),
            physical=physical,
            masks=(take_labels(fixed_mask), take_labels(moving_mask)),
            transform=self._transform,
            slice_index=slice_index,
            moving_slice=moving_slice,
            label_threshold=label_threshold,
            spacings=(spacing if on_disk[0] else None, moving_spacing if on_disk[1] else None),
            windows=(window, moving_window or window),
        )
        return self.run(request, moving=moving)

    def run(
        self,
        request: Request,
        *,
        moving: AnyImage = "",
        inverse: bool = False,
        watcher: Watcher = UNWATCHED,
    ) -> Registration:
        """Register what a request of the pipeline says; ``watcher`` is told where it is."""
        result = pipeline.register(request, self._setup, loaded=self._loaded, inverse=inverse, watcher=watcher)
        return Registration(result, moving)


def register(
    fixed: AnyImage,
    moving: AnyImage,
    *,
    adapt: int | None = None,
    model: str = defaults.MODEL,
    preset: str | None = None,
    parameters: str | Path | None = None,
    init: str | Path | None = None,
    similarity: str | None = None,
    padding: str | None = None,
    mirror: bool = True,
    max_size: int | None = None,
    percentiles: tuple[float, float] | None = None,
    landmark_weight: float | None = None,
    features: str | None = None,
    fixed_mask: AnyImage | None = None,
    moving_mask: AnyImage | None = None,
    seg_fixed: AnyImage | None = None,
    seg_moving: AnyImage | None = None,
    label_threshold: float | None = None,
    points: tuple[PointTable, PointTable] | None = None,
    physical: bool = False,
    spacing: Spacing | None = None,
    moving_spacing: Spacing | None = None,
    window: Window | None = None,
    moving_window: Window | None = None,
    slice_index: int | None = None,
    moving_slice: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int = defaults.SEED,
) -> Registration:
    """Register ``moving`` to ``fixed``.

    Args:
        fixed, moving: paths; arrays (H, W) or (H, W, C); tensors (H, W), (C, H, W) or (1, C, H, W); SimpleITK images.
        adapt, model, preset, parameters, init, similarity, padding, mirror, max_size, percentiles, landmark_weight,
            features, device, threads, seed: see :class:`Registrar`.
        fixed_mask, moving_mask: where the images count, not 0 there; as many pixels as their image.
        seg_fixed, seg_moving: label maps, to be measured before and after; ``label_threshold`` makes masks of them.
        points: corresponding landmarks of the fixed and of the moving image, (N, 2), (x, y) in pixels, or in physical
            units if ``physical``; or CSV files.
        spacing, moving_spacing: pixel spacing (x, y) in mm of images that do not have it; the second is the first
            unless it is given.
        window, moving_window: intensities that become 0 and 1, in place of percentiles; the second is the first
            unless it is given.
        slice_index, moving_slice: of volumes and stacks on disk, from 0; the second is the first unless it is given.

    Raises:
        CnnregError: something given cannot be used; its sentence says what was expected, and what came.
    """
    if landmark_weight and points is None:
        raise UsageError("landmark_weight has no effect without points")
    registrar = Registrar(
        adapt=adapt,
        model=model,
        preset=preset,
        parameters=parameters,
        init=init,
        similarity=similarity,
        padding=padding,
        mirror=mirror,
        max_size=max_size,
        percentiles=percentiles,
        landmark_weight=landmark_weight,
        features=features,
        device=device,
        threads=threads,
        seed=seed,
    )
    return registrar.register(
        fixed,
        moving,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        seg_fixed=seg_fixed,
        seg_moving=seg_moving,
        label_threshold=label_threshold,
        points=points,
        physical=physical,
        spacing=spacing,
        moving_spacing=moving_spacing,
        window=window,
        moving_window=moving_window,
        slice_index=slice_index,
        moving_slice=moving_slice,
    )
