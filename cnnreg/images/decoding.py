"""From a file to pixels, by content: SimpleITK where it reads a format well, Pillow where it does not."""

import gzip
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from cnnreg.errors import ImageError
from cnnreg.images.formats import FORMATS, sniff


def decode(path: Path) -> tuple[sitk.Image, str]:
    """The image in a file, of any dimension, with its geometry; and its format, a key of ``FORMATS``.

    Raises:
        ImageError: no such file, not an image, or damaged.
    """
    head = _head(path)
    name = sniff(head)
    try:
        with _silenced():
            image = _by_pillow(path) if _is_misread_by_itk(path, name, head) else _by_itk(path, name)
    except ImageError:
        raise
    except Exception:  # decoders raise whatever they like at damaged files
        if name is None:
            raise ImageError(f"{path} is not an image in a format that cnnreg reads ({', '.join(FORMATS)})") from None
        raise ImageError(f"{path} begins like a {name.upper()} file but cannot be read: damaged or truncated") from None
    return image, name or "meta"


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


def _is_misread_by_itk(path: Path, name: str | None, head: bytes) -> bool:
    """SimpleITK takes clipped JPEG and BMP for whole and grey BMP for colour, and fails on grey PNG with alpha.

    TIFFs in tiles, by planes, of 1 bit or turned become 8-bit RGBA there, whatever they hold; 64 bits it cannot read.
    """
    if name != "tiff":
        return name in {"jpeg", "bmp"} or (name == "png" and head[24:26] == b"\x08\x04")
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2(head[:16] if 43 in head[2:4] else head[:8])  # 43: BigTIFF
    with path.open("rb") as file:
        file.seek(tags.next)
        tags.load(file)
    tiles, planes, bits, turn = (tags.get(tag, default) for tag, default in ((322, 0), (284, 1), (258, (1,)), (274, 1)))
    misread = bool(tiles) or planes != 1 or max(bits) in {1, 64} or turn != 1
    if misread and (max(bits) == 64 or (max(bits) > 8 and len(bits) > 1)):  # Pillow cannot either
        raise ImageError(f"{path} is a TIFF of {max(bits)}-bit numbers in a layout that cannot be read; save it as PNG")
    return misread


def _by_pillow(path: Path) -> sitk.Image:
    """The image, or all pages of a TIFF, turned as EXIF says."""
    from PIL import Image as PILImage
    from PIL import ImageOps, ImageSequence

    PILImage.MAX_IMAGE_PIXELS = None  # a large image is no attack here
    with path.open("rb") as opened, PILImage.open(opened) as file:  # given a name, it misreads turned TIFFs
        pages = []
        for page in ImageSequence.Iterator(file) if file.format == "TIFF" else [file]:  # JPEGs may carry a preview
            page.load()  # turns TIFFs; what is left to turn is then told by EXIF
            pages.append(ImageOps.exif_transpose(page))
        kept = {"L", "LA", "RGB", "RGBA", "I;16", "I;16B", "F"}
        pages = [p if p.mode in kept else p.convert("L" if p.mode == "1" else "RGB") for p in pages]
    pixels = np.stack([np.asarray(page) for page in pages]) if len(pages) > 1 else np.asarray(pages[0])
    colour = pages[0].mode in {"LA", "RGB", "RGBA"}
    return sitk.GetImageFromArray(pixels.astype(pixels.dtype.newbyteorder("=")), isVector=colour)
