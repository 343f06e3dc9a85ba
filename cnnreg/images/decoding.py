"""From a file to pixels, by content: SimpleITK where it reads a format well, Pillow, tifffile or NiBabel where not.

What one decoder refuses is tried with the next.
"""

import gzip
import io
import math
import os
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from cnnreg.errors import FileNotice, ImageError
from cnnreg.images.formats import FORMATS, TITLES, check_size, sniff
from cnnreg.images.nifti import is_misplaced_by_itk, read_nifti
from cnnreg.images.tiff import UPRIGHT, Layout, read_tiff, tiff_layout

Decoder = Callable[[Path, str | None], sitk.Image]


@dataclass(frozen=True)
class Decoded:
    """What a file holds."""

    image: sitk.Image  # of any dimension, with its geometry
    format: str  # a key of ``FORMATS``
    picked: bool = False  # it is the page that was asked for
    spacing: tuple[float, float] | None = None  # (x, y) in mm, where it is told elsewhere than SimpleITK looks


def decode(path: Path, page: int | None = None) -> Decoded:
    """The image in a file, or one ``page`` of it, where pages are of unlike size; then by default the first.

    Raises:
        ImageError: no such file, not an image, damaged, or larger than this machine's memory.
    """
    head = _head(path)
    name = sniff(head)
    layout = _layout(path) if name == "tiff" else None
    spacing, apart = None, layout is not None and layout.apart(page)
    if layout:
        chosen = _page(path, layout, page) if apart else 0
        spacing = layout.spacing_of(chosen)
        image = _first_to_read(path, name, _tiff_decoders(layout, chosen if apart else None))
    else:
        image = _first_to_read(path, name, _decoders(path, name, head))
    return Decoded(image, name or "meta", apart, spacing)


def _first_to_read(path: Path, name: str | None, decoders: list[Decoder]) -> sitk.Image:
    reasons = []
    for decoder in decoders:
        try:
            with warnings.catch_warnings(record=True) as told, silenced():
                image = decoder(path, name)
            for notice in told:
                warnings.warn(notice.message, stacklevel=3)
            return image
        except (ImageError, FileNotice):
            raise
        except Exception as error:  # decoders raise whatever they like at damaged files
            reasons.append(str(error).strip().splitlines()[-1:] or [type(error).__name__])
    if name is None:
        raise ImageError(f"{path} is not an image in a format that cnnreg reads ({', '.join(TITLES.values())})")
    reason = reasons[0][0].removeprefix("sitk::ERROR: ").rstrip(".")
    raise ImageError(f"{path} begins like a {TITLES[name]} file but cannot be read: damaged or truncated ({reason})")


def _decoders(path: Path, name: str | None, head: bytes) -> list[Decoder]:
    """Those that may read a format, the one that reads it best first."""
    match name:
        case "nifti":
            return [read_nifti, _by_itk] if is_misplaced_by_itk(path) else [_by_itk, read_nifti]
        case "jpeg" | "bmp":  # of which SimpleITK takes what is clipped for whole, and grey for colour
            return [_by_pillow]
        case "png" if head[24:26] == b"\x10\x04":
            return [_grey_alpha_16]
        case "png":  # grey with alpha SimpleITK does not read, and it does not turn by EXIF
            return [_by_pillow, _png_by_itk] if head[24:26] == b"\x08\x04" else [_png_by_itk, _by_pillow]
        case "tiff":  # not even its tags can be read
            return [_by_itk, _by_pillow]
    return [_by_itk]


def _layout(path: Path) -> Layout | None:
    try:
        with silenced():
            return tiff_layout(path)
    except Exception:  # tifffile raises whatever it likes at damaged files
        return None


def _page(path: Path, layout: Layout, page: int | None) -> int:
    """The page to read of pages that are of unlike size: levels of a pyramid, thumbnails."""
    levels = ", ".join(f"{n}: {width}x{height}" for n, (width, height) in enumerate(layout.sizes))
    if page is None:
        warnings.warn(
            f"{path} has pages of unlike size or type ({levels}); page 0 is read, pick another with --slice",
            FileNotice,
            stacklevel=2,
        )
    elif not 0 <= page < len(layout.sizes):
        raise ImageError(f"{path} has no page {page}; its pages are {levels}")
    return page or 0


def _tiff_decoders(layout: Layout, page: int | None) -> list[Decoder]:
    """SimpleITK where it is right; else tifffile, where stored numbers are pixels; Pillow where it keeps their type."""
    by_tifffile: list[Decoder] = [partial(read_tiff, page=page)] if layout.by_tifffile else []
    by_pillow: list[Decoder] = [partial(_by_pillow, page=page)] if layout.by_pillow else []
    if layout.misread or page is not None:
        return by_tifffile + by_pillow or [partial(read_tiff, page=page)]
    return [_by_itk, *by_tifffile, *by_pillow]


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


@contextmanager
def silenced() -> Iterator[None]:
    """What libtiff, libpng and MetaIO print past Python is kept off the terminal: the error will be one sentence.

    Of warnings, only our own are let through.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere, warnings.catch_warnings(action="ignore"):
            warnings.simplefilter("always", FileNotice)
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _by_itk(path: Path, name: str | None) -> sitk.Image:
    reader = sitk.ImageFileReader()
    if name:
        reader.SetImageIO(FORMATS[name].io)
    with _unambiguous(path, name) as file:
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
        check_size(path, reader.GetSize())
        image = reader.Execute()
        if name == "nifti" and file.suffix.lower() == ".nii":  # what is missing from these would be filled with zeros
            voxels = math.prod(max(int(reader.GetMetaData(f"dim[{i}]")), 1) for i in range(1, 8))
            bits = float(reader.GetMetaData("vox_offset")) * 8 + voxels * int(reader.GetMetaData("bitpix"))
            if file.stat().st_size * 8 < bits:
                raise EOFError
    return image


def _png_by_itk(path: Path, name: str | None) -> sitk.Image:
    """Turned as EXIF says, which SimpleITK does not do."""
    image = _by_itk(path, name)
    if b"eXIf" not in path.read_bytes():
        return image
    from PIL import Image as PILImage

    with PILImage.open(path) as file:
        turn = file.getexif().get(274, 1)
    if turn not in UPRIGHT:
        return image
    pixels = np.ascontiguousarray(UPRIGHT[turn](sitk.GetArrayFromImage(image)))
    return sitk.GetImageFromArray(pixels, isVector=image.GetNumberOfComponentsPerPixel() > 1)


def _grey_alpha_16(path: Path, _name: str | None) -> sitk.Image:
    """PNG of 16-bit grey with alpha, which SimpleITK refuses and Pillow cuts to 8 bits.

    Its pixels are four bytes, as those of 8-bit RGBA are: read as these, they come out whole.
    """
    from PIL import Image as PILImage
    from PIL import ImageOps

    content = bytearray(path.read_bytes())
    if b"IEND" not in content[-16:]:
        raise EOFError("the file ends before the image does")
    content[24:26] = b"\x08\x06"
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    PILImage.MAX_IMAGE_PIXELS = None
    with PILImage.open(io.BytesIO(content)) as file:
        check_size(path, file.size)
        four = np.ascontiguousarray(ImageOps.exif_transpose(file))
    return sitk.GetImageFromArray(four.view(">u2").astype(np.uint16), isVector=True)


@contextmanager
def _unambiguous(path: Path, name: str | None) -> Iterator[Path]:
    """The NIfTI library goes by names: for x.nii.gz it reads x.nii where there is one, and x.dat it does not read."""
    zipped = _head(path).startswith(b"\x1f\x8b")
    if name != "nifti" or (path.suffix.lower() in {".nii", ".hdr", ".img"} and not zipped):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder, gzip.open(path) if zipped else path.open("rb") as source:
        copy = Path(folder, "image.nii")
        copy.write_bytes(source.read())
        yield copy


def _by_pillow(path: Path, name: str | None, page: int | None = None) -> sitk.Image:
    """The image, or all pages of a TIFF or one of them, turned as EXIF says."""
    from PIL import Image as PILImage
    from PIL import ImageOps, ImageSequence

    if name == "png" and b"IEND" not in path.read_bytes()[-16:]:
        raise EOFError("the file ends before the image does")
    PILImage.MAX_IMAGE_PIXELS = None  # a large image is no attack here
    with path.open("rb") as opened, PILImage.open(opened) as file:  # given a name, it misreads turned TIFFs
        pages: list[PILImage.Image] = []
        for number, each in enumerate(ImageSequence.Iterator(file) if file.format == "TIFF" else [file]):
            if page in {None, number}:  # JPEGs may carry a preview
                check_size(path, each.size)
                each.load()  # turns TIFFs; what is left to turn is then told by EXIF
                pages.append(ImageOps.exif_transpose(each))
        kept = {"L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I", "F"}
        pages = [p if p.mode in kept else p.convert("L" if p.mode == "1" else "RGB") for p in pages]
    pixels = np.stack([np.asarray(page) for page in pages]) if len(pages) > 1 else np.asarray(pages[0])
    colour = pages[0].mode in {"LA", "RGB", "RGBA"}
    return sitk.GetImageFromArray(pixels.astype(pixels.dtype.newbyteorder("=")), isVector=colour)
