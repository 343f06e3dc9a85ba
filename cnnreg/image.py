"""Images and fields on disk: pixels with their geometry, in every format that SimpleITK reads.

Arrays are (rows, columns) here; geometry is kept as ITK has it, (x, y). The two orders meet in :func:`index_map` and
in :func:`read_field` / :func:`write_field`, nowhere else.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from cnnreg.errors import ImageError, OutputError
from cnnreg.files import replacing

MIN_SIZE = 16  # pixels along the shorter side

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
    def plain(self) -> bool:
        """Whether a format without geometry can hold it."""
        return (self.spacing, self.origin, self.direction) == ((1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Image:
    """Pixels (H, W) or (H, W, channels) of any integer or float type, on a grid."""

    pixels: NDArray[Any]
    grid: Grid
    format: str = "meta"  # a key of FORMATS
    suffix: str = ".mha"  # of the file it came from


@dataclass(frozen=True)
class Format:
    """What a file format can hold."""

    io: str  # SimpleITK's name for its reader
    types: str = "u1 i1 u2 i2 u4 i4 u8 i8 f4 f8"  # pixel types that survive writing
    geometry: bool = True


FORMATS = {
    "png": Format("PNGImageIO", "u1 u2", geometry=False),
    "jpeg": Format("JPEGImageIO", "", geometry=False),  # lossy: results are written as PNG instead
    "bmp": Format("BMPImageIO", "u1", geometry=False),
    "tiff": Format("TIFFImageIO", "u1 i1 u2 i2 f4", geometry=False),
    "nifti": Format("NiftiImageIO"),
    "meta": Format("MetaImageIO"),
    "nrrd": Format("NrrdImageIO"),
    "dicom": Format("GDCMImageIO", ""),  # results are no DICOM series: written as MetaImage
}


def sniff(head: bytes) -> str | None:
    """The format of a file by its first bytes, whatever its name says; None if it is none of ours."""
    starts = {
        b"\x89PNG\r\n": "png",
        b"\xff\xd8\xff": "jpeg",
        b"BM": "bmp",
        b"II*\0": "tiff",
        b"MM\0*": "tiff",
        b"II+\0": "tiff",
        b"NRRD000": "nrrd",
        b"\x1f\x8b": "nifti",  # .nii.gz
        b"\x5c\x01\0\0": "nifti",
        b"\0\0\x01\x5c": "nifti",
    }
    for start, name in starts.items():
        if head.startswith(start):
            return name
    if head[128:132] == b"DICM":
        return "dicom"
    if b"ObjectType" in head or b"NDims" in head:
        return "meta"
    return None


def read_image(path: Path, *, slice_index: int | None = None) -> Image:
    """Read a 2D image; ``slice_index`` picks one slice of a volume or one page of a TIFF, from 0.

    Raises:
        ImageError: no such file, not an image, damaged, or not 2D.
    """
    head = _head(path)
    name = sniff(head)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    if name:
        reader.SetImageIO(FORMATS[name].io)
    try:
        image = reader.Execute()
    except RuntimeError:
        if name is None:
            raise ImageError(f"{path} is not an image in a format that cnnreg reads ({', '.join(FORMATS)})") from None
        raise ImageError(f"{path} begins like a {name.upper()} file but cannot be read: damaged or truncated") from None
    image = _two_dimensional(image, path, slice_index)
    if "complex" in image.GetPixelIDTypeAsString():
        raise ImageError(f"{path} holds complex numbers; give the magnitude image")
    pixels = sitk.GetArrayFromImage(image)
    if name == "png":
        _check_png_complete(path)
    if name in {"png", "jpeg", "bmp"}:
        pixels = _upright(pixels, path) if name == "jpeg" else pixels
        grid = Grid(pixels.shape[:2])
    else:
        grid = _grid_of(image)
    suffix = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()
    return Image(pixels, grid, name or "meta", suffix)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder; an image file was expected") from None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from None
    if not head:
        raise ImageError(f"{path} is empty (0 bytes); an image file was expected")
    return head


def _check_png_complete(path: Path) -> None:
    # libpng fills what is missing with black and only warns: a clipped download would pass for an image.
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 4096))
        if b"IEND" not in file.read():
            raise ImageError(f"{path} begins like a PNG file but ends too early: damaged or truncated")


def _upright(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Apply the EXIF orientation that cameras write, as every viewer does."""
    from PIL import Image as PILImage

    with PILImage.open(path) as file:
        orientation = file.getexif().get(0x0112, 1)
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _two_dimensional(image: sitk.Image, path: Path, slice_index: int | None) -> sitk.Image:
    size = list(image.GetSize())
    if len(size) == 2:
        if slice_index:
            raise ImageError(f"{path} is one 2D image, so slice {slice_index} does not exist; leave --slice out")
        return image
    slices = size[2]
    if len(size) > 3 and any(n > 1 for n in size[3:]):
        raise ImageError(f"{path} has {len(size)} dimensions {tuple(size)}; a 2D image was expected")
    if slices > 1 and slice_index is None:
        raise ImageError(
            f"{path} is a stack of {slices} images, a 2D image was expected; pick one with --slice 0..{slices - 1}"
        )
    index = slice_index or 0
    if not 0 <= index < slices:
        raise ImageError(f"{path} has slices 0 to {slices - 1}, so slice {index} does not exist")
    start = [0, 0, index] + [0] * (len(size) - 3)
    return sitk.Extract(
        image, size[:2] + [0] * (len(size) - 2), start, sitk.ExtractImageFilter.DIRECTIONCOLLAPSETOGUESS
    )


def _grid_of(image: sitk.Image) -> Grid:
    width, height = image.GetSize()
    grid = Grid((height, width), image.GetSpacing(), image.GetOrigin(), image.GetDirection(), "mm")
    return Grid(grid.size) if grid.plain else grid


def write_image(image: Image, path: Path) -> None:
    """Write under a temporary name, then rename: ``path`` is never half a file. Its suffix decides the format."""
    array = np.ascontiguousarray(image.pixels)
    _write(sitk.GetImageFromArray(array, isVector=array.ndim == 3), image.grid, path)


def _write(image: sitk.Image, grid: Grid, path: Path) -> None:
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    with replacing(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary))
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


def write_field(field: NDArray[np.floating[Any]], grid: Grid, path: Path) -> None:
    """Write a field (2, H, W) in pixels (row, column) as an ITK displacement field: physical units, (x, y), float64."""
    vectors = np.einsum("ij,jhw->hwi", grid.matrix, field[::-1].astype(np.float64))
    _write(sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True), grid, path)


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


def luminance(pixels: NDArray[Any]) -> NDArray[Any]:
    """One value a pixel: grey as it is, colour by ITU-R BT.601, alpha ignored, other channels averaged."""
    if pixels.ndim == 2:
        return pixels
    channels = pixels.shape[2]
    if channels in {3, 4}:
        return pixels[..., :3] @ np.array([0.299, 0.587, 0.114])
    return pixels[..., 0] if channels <= 2 else pixels.mean(axis=2)
