"""From a file to pixels, by content: SimpleITK where it reads a format well, Pillow, tifffile or NiBabel where not.

What one decoder refuses is tried with the next.
"""

import gzip
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from cnnreg.errors import ImageError
from cnnreg.images.formats import FORMATS, sniff
from cnnreg.images.nifti import is_flat, read_nifti
from cnnreg.images.tiff import read_tiff, tiff_layout

Decoder = Callable[[Path, str | None], sitk.Image]


def decode(path: Path) -> tuple[sitk.Image, str]:
    """The image in a file, of any dimension, with its geometry; and its format, a key of ``FORMATS``.

    Raises:
        ImageError: no such file, not an image, or damaged.
    """
    head = _head(path)
    name = sniff(head)
    reasons = []
    for decoder in _decoders(path, name, head):
        try:
            with _silenced():
                return decoder(path, name), name or "meta"
        except ImageError:
            raise
        except Exception as error:  # decoders raise whatever they like at damaged files
            reasons.append(str(error).strip().splitlines()[-1:] or [type(error).__name__])
    if name is None:
        raise ImageError(f"{path} is not an image in a format that cnnreg reads ({', '.join(FORMATS)})")
    reason = reasons[0][0].removeprefix("sitk::ERROR: ").rstrip(".")
    raise ImageError(f"{path} begins like a {name.upper()} file but cannot be read: damaged or truncated ({reason})")


def _decoders(path: Path, name: str | None, head: bytes) -> list[Decoder]:
    """Those that may read a format, the one that reads it best first."""
    match name:
        case "nifti":
            return [read_nifti, _by_itk] if is_flat(path) else [_by_itk, read_nifti]
        case "jpeg" | "bmp":  # of which SimpleITK takes what is clipped for whole, and grey for colour
            return [_by_pillow]
        case "png":  # grey with alpha it does not read
            return [_by_pillow, _by_itk] if head[24:26] == b"\x08\x04" else [_by_itk, _by_pillow]
        case "tiff":
            return _tiff_decoders(path)
    return [_by_itk]


def _tiff_decoders(path: Path) -> list[Decoder]:
    """TIFFs in tiles, by planes, of 1 bit or turned become 8-bit RGBA in SimpleITK, whatever they hold.

    64 bits neither it nor Pillow can read, nor Pillow colours of more than 8.
    """
    try:
        layout = tiff_layout(path)
    except Exception:  # not even its tags can be read
        return [_by_itk, _by_pillow]
    if not (layout.tiled or layout.planes != 1 or layout.bits in {1, 64} or layout.turn != 1):
        return [_by_itk, _by_pillow, read_tiff]
    beyond_pillow = layout.bits == 64 or (layout.bits > 8 and layout.channels > 1)
    return [read_tiff] if beyond_pillow and layout.turn == 1 else [_by_pillow, read_tiff]


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
def _silenced() -> Iterator[None]:
    """What libtiff, libpng and MetaIO print past Python is kept off the terminal: the error will be one sentence."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere, warnings.catch_warnings(action="ignore"):
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
        image = reader.Execute()
        if name == "nifti" and file.suffix.lower() == ".nii":  # what is missing from these would be filled with zeros
            voxels = math.prod(max(int(reader.GetMetaData(f"dim[{i}]")), 1) for i in range(1, 8))
            bits = float(reader.GetMetaData("vox_offset")) * 8 + voxels * int(reader.GetMetaData("bitpix"))
            if file.stat().st_size * 8 < bits:
                raise EOFError
    return image


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


def _by_pillow(path: Path, name: str | None) -> sitk.Image:
    """The image, or all pages of a TIFF, turned as EXIF says."""
    from PIL import Image as PILImage
    from PIL import ImageOps, ImageSequence

    if name == "png" and b"IEND" not in path.read_bytes()[-16:]:
        raise EOFError("the file ends before the image does")
    PILImage.MAX_IMAGE_PIXELS = None  # a large image is no attack here
    with path.open("rb") as opened, PILImage.open(opened) as file:  # given a name, it misreads turned TIFFs
        pages: list[PILImage.Image] = []
        for page in ImageSequence.Iterator(file) if file.format == "TIFF" else [file]:  # JPEGs may carry a preview
            if pages and page.size != pages[0].size:  # smaller levels of the first, or a thumbnail
                continue
            page.load()  # turns TIFFs; what is left to turn is then told by EXIF
            pages.append(ImageOps.exif_transpose(page))
        kept = {"L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I", "F"}
        pages = [p if p.mode in kept else p.convert("L" if p.mode == "1" else "RGB") for p in pages]
    pixels = np.stack([np.asarray(page) for page in pages]) if len(pages) > 1 else np.asarray(pages[0])
    colour = pages[0].mode in {"LA", "RGB", "RGBA"}
    return sitk.GetImageFromArray(pixels.astype(pixels.dtype.newbyteorder("=")), isVector=colour)
