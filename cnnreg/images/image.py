"""Images and fields on disk: pixels with their geometry, in every format that SimpleITK reads.

Arrays are (rows, columns) here; geometry is kept as ITK has it, (x, y). The two orders meet in :func:`index_map` and
in :func:`read_field` / :func:`write_field`, nowhere else.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from cnnreg.errors import ImageError, OutputError
from cnnreg.files import replacing
from cnnreg.images.decoding import decode, silenced
from cnnreg.images.formats import FORMATS

MIN_SIZE = 16  # pixels along the shorter side
ROWS = 64  # of a field at a time: large ones are not copied to float64 as a whole
COMPRESSION = 2  # of zlib: at 1 smooth fields do not shrink, above 2 they shrink no further

SUBMATRIX = sitk.ExtractImageFilter.DIRECTIONCOLLAPSETOSUBMATRIX

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # our own sentences instead of ITK's C++ warnings


@dataclass(frozen=True)
class Grid:
    """Where pixels lie in physical space: point = origin + direction @ (spacing * index), all (x, y)."""

    size: tuple[int, int]  # rows, columns
    spacing: tuple[float, float] = (1.0, 1.0)
    origin: tuple[float, float] = (0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 1.0)
    unit: str = "px"  # "mm" where the file says so; "px" for formats without geometry

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Index (x, y) to offset from the origin (x, y)."""
        return np.asarray(self.direction).reshape(2, 2) @ np.diag(self.spacing)

    @property
    def orthonormal(self) -> "Grid":
        """With axes at right angles: 2D files cut from an oblique volume may have but a corner of its direction."""
        left, _, right = np.linalg.svd(np.reshape(self.direction, (2, 2)))
        return replace(self, direction=tuple((left @ right).ravel().tolist()))

    @property
    def is_orthonormal(self) -> bool:
        """Whether its axes are at right angles."""
        return np.allclose(self.direction, self.orthonormal.direction, atol=1e-4)

    @property
    def plain(self) -> bool:
        """Whether a format without geometry can hold it."""
        return (self.spacing, self.origin, self.direction) == ((1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))

    def to_physical(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels (N, 2), row and column, as physical points (N, 2), x and y."""
        return points[:, ::-1] @ self.matrix.T + np.asarray(self.origin)

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Physical points (N, 2), x and y, as pixels (N, 2), row and column."""
        return ((points - np.asarray(self.origin)) @ np.linalg.inv(self.matrix).T)[:, ::-1].copy()


@dataclass(frozen=True)
class Image:
    """Pixels (H, W) or (H, W, channels) of any integer or float type, on a grid."""

    pixels: NDArray[Any]
    grid: Grid
    format: str = "meta"  # a key of FORMATS
    suffix: str = ".mha"  # of the file it came from
    missing: NDArray[np.bool_] | None = None  # (H, W): pixels that were NaN, and have been filled

    def filled(self) -> "Image":
        """With the median of what is known where nothing is, so that windows of intensities stay as they are."""
        known = np.isfinite(self.pixels)
        pixels = np.where(known, self.pixels, np.median(self.pixels[known]).astype(self.pixels.dtype))
        return replace(self, pixels=pixels, missing=~known.reshape(*self.grid.size, -1).all(axis=2))


def read_image(path: Path, *, slice_index: int | None = None, spacing: tuple[float, float] | None = None) -> Image:
    """Read a 2D image; ``slice_index`` picks one slice of a volume or one page of a TIFF, from 0.

    ``spacing``, (x, y) in mm, is that of the pixels where the file does not say.

    Raises:
        ImageError: no such file, not an image, damaged, or not 2D.
    """
    decoded = decode(path, slice_index)
    name = decoded.format
    image = _two_dimensional(decoded.image, path, None if decoded.picked else slice_index)
    if decoded.spacing:
        image.SetSpacing(decoded.spacing)
    if "complex" in image.GetPixelIDTypeAsString():
        raise ImageError(f"{path} holds complex numbers; give the magnitude image")
    pixels = sitk.GetArrayFromImage(image)
    grid = Grid(pixels.shape[:2]) if name in {"png", "jpeg", "bmp"} else _grid_of(image)
    if spacing and grid.plain:
        grid = Grid(grid.size, spacing, unit="mm")
    suffix = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()
    return Image(pixels, grid, name, suffix)


def _two_dimensional(image: sitk.Image, path: Path, slice_index: int | None) -> sitk.Image:
    size = list(image.GetSize())
    if len(size) == 2:
        if slice_index:
            raise ImageError(f"{path} is one 2D image, so slice {slice_index} does not exist; leave --slice out")
        return image
    volume, axis = _three_dimensional(image, path)
    slices = image.GetSize()[axis]
    if slices > 1 and slice_index is None:
        raise ImageError(
            f"{path} is a stack of {slices} images, a 2D image was expected; pick one with --slice 0..{slices - 1}"
        )
    index = slice_index or 0
    if not 0 <= index < slices:
        raise ImageError(f"{path} has slices 0 to {slices - 1}, so slice {index} does not exist")
    if axis > 2:
        start = [0] * len(size)
        start[axis], index = index, 0
        volume = sitk.Extract(image, [*size[:3], *[0] * (len(size) - 3)], start, SUBMATRIX)
    cut = sitk.Extract(volume, [*size[:2], 0], [0, 0, index], sitk.ExtractImageFilter.DIRECTIONCOLLAPSETOIDENTITY)
    direction, origin = _in_plane(volume, index)
    cut.SetDirection(direction.ravel().tolist())
    cut.SetOrigin(origin.tolist())
    return cut


def _three_dimensional(image: sitk.Image, path: Path) -> tuple[sitk.Image, int]:
    """The volume that begins an image of three dimensions or more, and the one axis along which its slices lie."""
    size = image.GetSize()
    long = [axis for axis in range(2, len(size)) if size[axis] > 1]
    if len(long) > 1:
        raise ImageError(
            f"{path} has {len(size)} dimensions {size}; a 2D image was expected, or slices along one more axis: "
            f"extract one volume, or one slice at all times, first"
        )
    if len(size) > 3:
        image = sitk.Extract(image, [*size[:3], *[0] * (len(size) - 3)], [0] * len(size), SUBMATRIX)
    return image, long[0] if long else 2


def _in_plane(image: sitk.Image, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Direction (2, 2) and origin (2,) of a slice of a volume, in its own plane.

    The plane's axes are two of space, projected onto it: those of an axial slice are x and y, and what lies in parallel
    slices is compared where it lies. Which two does not change by rounding at the angles that are usual, such as 45
    degrees: hence the uneven numbers.
    """
    direction = np.reshape(image.GetDirection(), (3, 3))
    normal = np.cross(direction[:, 0], direction[:, 1])
    through = 2 if abs(normal[2]) > 0.37 else 1 if abs(normal[1]) > 0.62 * abs(normal[0]) else 0
    first = np.eye(3)[(1, 0, 0)[through]]
    first = first - normal * (first @ normal)
    first /= np.linalg.norm(first)
    second = np.cross(normal * np.sign(normal[through]) * (1, -1, 1)[through], first)  # x, y; x, z; or y, z
    axes = np.stack([first, second])
    origin = np.array(image.TransformIndexToPhysicalPoint((0, 0, index)))
    return axes @ direction[:, :2], axes @ origin


def _grid_of(image: sitk.Image) -> Grid:
    width, height = image.GetSize()
    spacing = image.GetSpacing()
    if all(abs(s - 1) < 1e-6 for s in spacing):
        spacing = (1.0, 1.0)  # TIFFs that SimpleITK wrote say 1.00000002
    grid = Grid((height, width), spacing, image.GetOrigin(), image.GetDirection(), "mm")
    return Grid(grid.size) if grid.plain else grid


def write_image(image: Image, path: Path) -> None:
    """Write under a temporary name, then rename: ``path`` is never half a file. Its suffix decides the format."""
    _write(to_sitk(image), path)


def to_sitk(image: Image) -> sitk.Image:
    """Pixels with their geometry as SimpleITK has them."""
    array = np.ascontiguousarray(image.pixels)
    return _placed(sitk.GetImageFromArray(array, isVector=array.ndim == 3), image.grid)


def from_sitk(image: sitk.Image) -> Image:
    """A 2D image in memory.

    Raises:
        ImageError: it is not 2D.
    """
    if image.GetDimension() != 2:
        raise ImageError(f"a 2D image was expected, got one of {image.GetDimension()} dimensions {image.GetSize()}")
    return Image(sitk.GetArrayFromImage(image), _grid_of(image))


def _placed(image: sitk.Image, grid: Grid) -> sitk.Image:
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


def _write(image: sitk.Image, path: Path, *, compress: bool = False) -> None:
    grid = Grid(image.GetSize()[::-1], direction=image.GetDirection())
    if path.name.lower().endswith((".nii", ".nii.gz")) and not grid.is_orthonormal:
        raise OutputError(f"cannot write {path}: NIfTI holds no grid whose axes are not at right angles; write .mha")
    with replacing(path) as temporary:
        try:
            with silenced():
                sitk.WriteImage(image, str(temporary), useCompression=compress, compressionLevel=COMPRESSION)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].removeprefix("sitk::ERROR: ")
            raise OutputError(f"cannot write {path}: {reason}") from None


def suffix_for(image: Image, grid: Grid) -> str:
    """The suffix under which pixels like those of ``image`` can be written on ``grid`` without loss.

    The image's own where its format can hold the type and the geometry, else one that can.
    """
    form = FORMATS[image.format]
    if image.format == "jpeg" and grid.plain:
        return ".png"
    fits = image.pixels.dtype.str[1:] in form.types.split() and (form.geometry or grid.plain)
    fits = fits and (grid.is_orthonormal or image.format != "nifti")
    own = {"png": ".png", "bmp": ".bmp", "tiff": ".tif", "nifti": ".nii.gz", "nrrd": ".nrrd", "meta": ".mha"}
    if not fits:
        return ".mha"
    return ".nii" if image.suffix == ".nii" else own[image.format]


def index_map(fixed: Grid, moving: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix (2, 2) and offset (2,) that take a pixel (row, column) of ``fixed`` to the same place in ``moving``."""
    inverse = np.linalg.inv(moving.matrix)
    matrix = inverse @ fixed.matrix
    offset = inverse @ (np.asarray(fixed.origin) - np.asarray(moving.origin))
    return matrix[::-1, ::-1].copy(), offset[::-1].copy()  # (x, y) -> (row, column)


def write_field(
    field: NDArray[np.floating[Any]], grid: Grid, path: Path, *, number_type: type[np.floating[Any]] = np.float64
) -> None:
    """Write a field (2, H, W) in pixels (row, column) as an ITK displacement field: physical units, (x, y), compressed.

    ``number_type`` is that of the file's components: float64, which SimpleITK's transform needs, or float32. Either
    holds float32's digits only, so that the compressed files are of about the same size.
    """
    _write(field_to_sitk(field, grid, number_type=number_type), path, compress=True)


def field_to_sitk(
    field: NDArray[np.floating[Any]], grid: Grid, *, number_type: type[np.floating[Any]] = np.float64
) -> sitk.Image:
    """A field (2, H, W) in pixels (row, column) as an ITK displacement field: physical units, (x, y)."""
    vectors = np.empty((*field.shape[1:], 2), number_type)
    for top in range(0, len(vectors), ROWS):
        part = field[::-1, top : top + ROWS].astype(np.float64)
        vectors[top : top + ROWS] = np.einsum("ij,jhw->hwi", grid.matrix, part).astype(np.float32)
    return _placed(sitk.GetImageFromArray(vectors, isVector=True), grid)


def read_field(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Read an ITK displacement field: (2, H, W) in pixels (row, column), and the grid it lives on."""
    image = read_image(path)
    if image.pixels.ndim != 3 or image.pixels.shape[2] != 2 or image.pixels.dtype.kind != "f":
        channels = image.pixels.shape[2] if image.pixels.ndim == 3 else 1
        raise ImageError(
            f"{path} is no displacement field: expected 2 floating-point components a pixel, "
            f"got {channels} of type {image.pixels.dtype}"
        )
    if not np.isfinite(image.pixels).all():
        raise ImageError(f"{path} holds NaN or infinite displacements")
    field = np.einsum("ij,hwj->ihw", np.linalg.inv(image.grid.matrix), image.pixels)[::-1]
    return np.ascontiguousarray(field, dtype=np.float32), image.grid
