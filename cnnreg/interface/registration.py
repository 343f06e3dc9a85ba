"""A registered pair, as a Python program sees it."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from cnnreg.evaluation.measure import Measures
from cnnreg.evaluation.tables import summary
from cnnreg.geometry.transformfile import physical_matrix
from cnnreg.interface.field import Field
from cnnreg.interface.images import ImageLike, like, to_sitk
from cnnreg.pipeline import report
from cnnreg.pipeline.registration import Registration as Result


class Registration:
    """What :func:`cnnreg.register` found: the warped image, the transform, and how well they fit."""

    def __init__(self, result: Result, moving: ImageLike) -> None:
        """``moving`` decides in which kind images come back."""
        self.result = result  # of the pipeline: all that the report tells
        self._moving = moving

    @property
    def warped(self) -> Any:
        """The moving image on the fixed image's grid, of the moving image's kind, number type and channels."""
        return like(self.result.warped, self._moving)

    @property
    def transform(self) -> Field:
        """The displacement field as an object that can be applied, inverted and saved."""
        return Field(self.result.field, self.result.pair.fixed.grid, self.result.pair.moving.grid)

    @property
    def field(self) -> NDArray[np.float32]:
        """(H, W, 2): displacements (x, y) in physical units on the fixed image's grid, what ``field.mha`` holds."""
        return self.transform.xy

    @property
    def field_yx(self) -> NDArray[np.float32]:
        """(2, H, W): displacements (row, column) in pixels of the fixed image."""
        return self.transform.yx

    @property
    def affine(self) -> NDArray[np.float64]:
        """(3, 3): the initial transform of physical points (x, y, 1) of the fixed to the moving image.

        The identity where none was needed. The displacement field includes it.
        """
        initial, pair = self.result.initial, self.result.pair
        return physical_matrix(initial.affine, pair.fixed.grid, pair.moving.grid)

    @property
    def measures(self) -> dict[str, Measures]:
        """The report's metrics by stage: before, alignment (where needed), prediction, adaptation."""
        return self.result.measures

    def apply(self, image: ImageLike, labels: bool = False) -> Any:
        """Warp another image that lies where the moving image lies, see :meth:`cnnreg.Field.apply`."""
        return self.transform.apply(image, labels=labels)

    def apply_points(self, points: Any, *, physical: bool = False) -> NDArray[np.float64]:
        """Carry points (N, 2), x and y in pixels (or physical), of the fixed image to the moving image."""
        return self.transform.apply_points(points, physical=physical)

    def inverse(self) -> Field:
        """The field on the moving image's grid that leads back to the fixed image."""
        return self.transform.inverse()

    def to_sitk(self) -> sitk.Image:
        """The warped image as a SimpleITK image on the fixed image's grid; the field is ``transform.to_sitk()``."""
        return to_sitk(self.result.warped.pixels, self.result.pair.fixed.grid)

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        picture: bool = True,
        single: bool = False,
        command: list[str] | None = None,
    ) -> list[Path]:
        """Write what the command ``cnnreg register`` writes; returns the files.

        ``picture``: report.png, too. ``single``: the field as float32 instead of float64. ``command`` is for the
        report, the program's own if None.

        Raises:
            OutputError: results lie there and ``overwrite`` is off, or the folder cannot be written to.
        """
        report.claim_folder(Path(folder), overwrite=overwrite)
        told = sys.argv if command is None else command
        return report.write_registration(self.result, Path(folder), command=told, single=single, drawn=picture)

    def __repr__(self) -> str:
        height, width = self.result.pair.fixed.grid.size
        model = self.result.model.card.name
        numbers = summary(self.measures)
        return f"<cnnreg.Registration: {height} x {width} pixels, model {model}, {report.how(self.result)}; {numbers}>"

    def _repr_png_(self) -> bytes:
        """The picture of the report, for notebooks."""
        file = io.BytesIO()
        report.picture(self.result).save(file, "PNG")
        return file.getvalue()
