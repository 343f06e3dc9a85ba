"""Registering two images from Python: once with :func:`register`, many with a :class:`Registrar`."""

import base64
import html
import io
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from cnnreg import defaults
from cnnreg.errors import UsageError
from cnnreg.geometry.transformfile import to_sitk as affine_to_sitk
from cnnreg.interface import setup as settings
from cnnreg.interface.fields import Field
from cnnreg.interface.images import AnyImage, give, take, take_labels
from cnnreg.pairs.dataset import PointSource
from cnnreg.pipeline import registration as pipeline
from cnnreg.pipeline.loading import Request
from cnnreg.pipeline.report import PIECES, claim_folder, describe_verdict, picture, write_registration
from cnnreg.pipeline.setup import Setup, load
from cnnreg.watching import UNWATCHED, Watcher

PointTable = str | Path | NDArray[Any]  # a file, or (N, 2), (x, y) in pixels


class Registration:
    """The moving image registered to the fixed one: what it became, the deformation, and how well it went."""

    def __init__(self, result: pipeline.Registration, moving: AnyImage) -> None:
        self.result = result  # all that a report tells
        self._moving = moving
        self._field = Field(result.field, result.pair.fixed.grid, result.pair.moving.grid)

    @property
    def warped(self) -> Any:
        """The moving image on the fixed image's grid, own intensities; in the type it came in, an array for a path."""
        return give(self.result.warped, self._moving)

    @property
    def field(self) -> Field:
        """The displacement field; ``numpy.asarray`` of it is (H, W, 2), (x, y) in physical units."""
        return self._field

    @property
    def field_yx(self) -> NDArray[np.float32]:
        """Displacements (2, H, W) in pixels of the fixed image, along rows and along columns."""
        return self._field.yx

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """The initial transform, (3, 3), of physical points (x, y, 1) of the fixed image to the moving image.

        The identity where the images' own geometry was kept; None where it was no affine map but a field.
        """
        initial, pair = self.result.initial, self.result.pair
        if initial.field is not None:
            return None
        transform = affine_to_sitk(initial.affine, pair.fixed.grid, pair.moving.grid)
        matrix = np.eye(3)
        matrix[:2, :2] = np.reshape(transform.GetMatrix(), (2, 2))
        matrix[:2, 2] = transform.TransformPoint((0.0, 0.0))
        return matrix

    @property
    def verdict(self) -> dict[str, Any] | None:
        """Whether it went well, as in ``report.json``: "class" is "good", "check" or "failed"."""
        return describe_verdict(self.result.verdict) if self.result.verdict else None

    @property
    def measures(self) -> dict[str, dict[str, Any]]:
        """Before and after every stage, as in ``report.json`` under ``metrics``."""
        return self.result.measures

    def apply(self, image: AnyImage, *, labels: bool = False) -> Any:
        """Another image or label map of the moving image's space on the fixed image's grid; see :meth:`Field.apply`."""
        return self._field.apply(image, labels=labels)

    def apply_points(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Points (N, 2), (x, y) in pixels of the fixed image, as pixels (x, y) of the moving image."""
        return self._field.apply_points(points)

    def inverse(self) -> Field:
        """The field from the moving to the fixed image."""
        return self._field.inverse()

    def to_sitk(self) -> sitk.DisplacementFieldTransform:
        """For ``SimpleITK.Resample(moving, fixed, transform)``."""
        return self._field.to_sitk()

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        command: list[str] | None = None,
        single: bool = False,
        drawn: bool = True,
        paged: bool = False,
    ) -> list[Path]:
        """Write what ``cnnreg register`` writes: warped image, field, report and picture. Returns the files.

        ``single``: fields as float32. ``drawn``: the picture, too. ``paged``: the page ``report.html``.

        Raises:
            OutputError: the folder cannot be written, or holds results and ``overwrite`` is off.
        """
        claim_folder(Path(folder), overwrite=overwrite, inputs=self.result.request.paths)
        return write_registration(
            self.result,
            Path(folder),
            command=command or ["cnnreg.register"],
            overwrite=overwrite,
            single=single,
            pieces=[piece for piece, wanted in zip(PIECES, (True, True, True, drawn, paged), strict=True) if wanted],
        )

    def __repr__(self) -> str:
        height, width = self.result.pair.fixed.grid.size
        last = list(self.measures.values())[-1]
        return (
            f"<Registration of {width} x {height} pixels: NCC {self.measures['before']['ncc']:.3f} -> "
            f"{last['ncc']:.3f}, folding {last['folding_percent']:.3g} %>"
        )

    def _repr_png_(self) -> bytes:
        """The picture of ``report.png``, which notebooks show."""
        file = io.BytesIO()
        picture(self.result).save(file, "PNG")
        return file.getvalue()

    def _repr_html_(self) -> str:
        data = base64.b64encode(self._repr_png_()).decode()
        return f'<p>{html.escape(repr(self))}</p><img src="data:image/png;base64,{data}" alt="the registration">'


class Registrar:
    """Registers pairs with one model and one set of parameters, which stay loaded between them.

    No pair influences the next: adapted weights are thrown away.

    Args:
        adapt: iterations on each pair; 0 for the network's prediction alone; None for the preset's own number, of which
            the default preset's is 50.
        model: name (``cnnreg models list``), folder, or "none".
        preset, parameters: parameters by name (``cnnreg presets list``), or from a TOML file.
        init: initial transform: "auto", "none", "center", "moments", "rigid", "similarity", "affine", or a file.
        similarity: similarity metric: "auto", "lncc", "ncc", "mse", "mi" or "mind"; None for the preset's.
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
        device: str = "auto",
        threads: int | None = None,
        seed: int = defaults.SEED,
    ) -> None:
        method, transform = settings.initial(init)
        metric, steps = settings.similarity(similarity), settings.section("adaptation", steps=adapt)
        changes = settings.merged(method, metric, steps)
        file = Path(parameters) if parameters else None
        setup = settings.make_setup(
            preset=preset, parameters=file, model=model, device=device, seed=seed, threads=threads, changes=changes
        )
        self._start(setup, transform)

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
        points: tuple[PointTable, PointTable] | None = None,
        spacing: tuple[float, float] | None = None,
        moving_spacing: tuple[float, float] | None = None,
    ) -> Registration:
        """Register ``moving`` to ``fixed``; see :func:`register`."""
        moving_spacing = moving_spacing or spacing
        on_disk = [isinstance(image, (str, Path)) for image in (fixed, moving)]  # what is yet to be told its spacing
        request = Request(
            take(fixed, spacing=spacing),
            take(moving, spacing=moving_spacing),
            segs=(take_labels(seg_fixed), take_labels(seg_moving)),
            points=None if points is None else (_points(points[0]), _points(points[1])),
            masks=(take_labels(fixed_mask), take_labels(moving_mask)),
            transform=self._transform,
            spacings=(spacing if on_disk[0] else None, moving_spacing if on_disk[1] else None),
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
    fixed_mask: AnyImage | None = None,
    moving_mask: AnyImage | None = None,
    seg_fixed: AnyImage | None = None,
    seg_moving: AnyImage | None = None,
    points: tuple[PointTable, PointTable] | None = None,
    spacing: tuple[float, float] | None = None,
    moving_spacing: tuple[float, float] | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int = defaults.SEED,
) -> Registration:
    """Register ``moving`` to ``fixed``.

    Args:
        fixed, moving: paths; arrays (H, W) or (H, W, C); tensors (H, W), (C, H, W) or (1, C, H, W); SimpleITK images.
        adapt, model, preset, parameters, init, similarity, device, threads, seed: see :class:`Registrar`.
        fixed_mask, moving_mask: where the images count, not 0 there; as many pixels as their image.
        seg_fixed, seg_moving: label maps, to be measured before and after.
        points: corresponding landmarks of the fixed and of the moving image, (N, 2), (x, y) in pixels, or CSV files.
        spacing, moving_spacing: pixel spacing (x, y) in mm of images that do not have it; the second is the first
            unless it is given.

    Raises:
        CnnregError: something given cannot be used; its sentence says what was expected, and what came.
    """
    registrar = Registrar(
        adapt=adapt,
        model=model,
        preset=preset,
        parameters=parameters,
        init=init,
        similarity=similarity,
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
        points=points,
        spacing=spacing,
        moving_spacing=moving_spacing,
    )


def _points(points: PointTable) -> PointSource:
    """(x, y) outside, row and column inside."""
    if isinstance(points, (str, Path)):
        return Path(points)
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise UsageError(f"points must be (N, 2), x and y in pixels, got an array of shape {array.shape}")
    return array[:, ::-1].copy()
