"""What registering from Python gives: a registered pair, which shows, applies and saves itself."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from cnnreg.geometry.transformfile import to_sitk as affine_to_sitk
from cnnreg.interface.fields import Field
from cnnreg.interface.images import AnyImage, give
from cnnreg.pipeline import registration as pipeline
from cnnreg.pipeline.report import PIECES, claim_folder, describe_verdict, picture, write_registration


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
        import base64
        import html

        data = base64.b64encode(self._repr_png_()).decode()
        return f'<p>{html.escape(repr(self))}</p><img src="data:image/png;base64,{data}" alt="the registration">'
