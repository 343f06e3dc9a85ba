"""Pages, levels, times, turned pictures, and what a pixel measures: in files as scanners and microscopes write them."""

import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from numpy.typing import NDArray
from PIL import Image as PILImage

from cnnreg.cli.main import run
from cnnreg.errors import FileNotice, ImageError, OutputError
from cnnreg.images.image import Grid, Image, read_image, suffix_for, write_image
from cnnreg.images.tiff import UPRIGHT
from tests.conftest import SIZE, smooth_image

GREY = (smooth_image() * 200).astype(np.uint8)
SKEW = Grid(SIZE, (0.7, 0.7), (0.0, 0.0), (-0.47, 0.44, -0.77, -0.63), "mm")


def levels(path: Path, **options: Any) -> list[NDArray[Any]]:
    """A file of three pages, each smaller than the one before."""
    pages = [GREY, GREY[::2, ::2].copy(), GREY[5:35, 3:20].copy()]
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page, **options)
    return pages


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {}, {"tile": (16, 16), "compression": "deflate"}])
def test_pages_of_unlike_size_are_picked_by_number(options: dict[str, Any], tmp_path: Path) -> None:
    """By default the first, which is told; --slice picks any of them, and no other."""
    pages = levels(tmp_path / "x.tif", **options)
    for number, page in enumerate(pages):
        assert np.array_equal(read_image(tmp_path / "x.tif", slice_index=number).pixels, page)
    with pytest.warns(FileNotice, match=r"0: .*, 1: .*, 2: 17x30"):
        assert np.array_equal(read_image(tmp_path / "x.tif").pixels, GREY)
    with pytest.raises(ImageError, match=r"no page 3; its pages are 0: .*2: 17x30"):
        read_image(tmp_path / "x.tif", slice_index=3)


@pytest.mark.parametrize("slices", [1, 2])
def test_levels_below_a_page_are_numbered_after_the_pages(slices: int, tmp_path: Path) -> None:
    """As OME-TIFF stores them, in SubIFDs; of a stack, the slices stay what --slice picks first."""
    tops = [GREY, GREY[::-1].copy()][:slices]
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for top in tops:
            file.write(top, subifds=2, resolution=(20, 20), resolutionunit="CENTIMETER")
            for step in (2, 3):
                file.write(top[::step, ::step].copy(), subfiletype=1)
    expected = [*tops, *(top[::step, ::step] for top in tops for step in (2, 3))]
    for number, pixels in enumerate(expected):
        image = read_image(tmp_path / "x.tif", slice_index=number)
        assert np.array_equal(image.pixels, pixels)
        assert image.grid.spacing == pytest.approx(
            [0.5 * a / b for a, b in zip(SIZE[::-1], pixels.shape[::-1], strict=True)]
        )
    if slices == 1:
        with pytest.warns(FileNotice, match=r"1: 31x24"):
            assert np.array_equal(read_image(tmp_path / "x.tif").pixels, GREY)
    else:
        with pytest.raises(ImageError, match="a stack of 2 images"):
            read_image(tmp_path / "x.tif")


def test_the_levels_are_a_note_on_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not a Python warning."""
    levels(tmp_path / "x.tif")
    assert run(["evaluate", "--fixed", str(tmp_path / "x.tif"), "--moving", str(tmp_path / "x.tif")]) == 0
    err = capfd.readouterr().err
    assert err.startswith("note: ")
    assert "2: 17x30" in err
    assert "Warning" not in err


@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 16)}, {"photometric": "miniswhite"}, {"byteorder": ">"}], ids=str
)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"])
def test_tiff_numbers_keep_sign_and_size(dtype: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Whichever decoder reads them: float16 is not taken for whole numbers, nor -1 for 255."""
    low, high = {"i1": (-120, 120), "u1": (0, 250), "i2": (-3e4, 3e4), "u4": (0, 4.2e9), "i4": (-2e9, 2e9)}.get(
        dtype, (0, 6e4)
    )
    values = (low + smooth_image().astype(np.float64) * (high - low)).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", values, **options)
    pixels = read_image(tmp_path / "x.tif").pixels
    assert pixels.dtype == ("f4" if dtype == "f2" else dtype)
    assert np.array_equal(pixels, values.astype(pixels.dtype))


@pytest.mark.parametrize("turn", UPRIGHT)
@pytest.mark.parametrize("dtype", ["u2", "f8"])
def test_a_turned_tiff_stands_upright(turn: int, dtype: str, tmp_path: Path) -> None:
    """The first pixel of the file goes where the TIFF standard says: orientation n is (row 0, column 0) at ..."""
    top, left = {2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[turn]
    stored = np.arange(20 * 30, dtype=dtype).reshape(20, 30)
    tifffile.imwrite(tmp_path / "x.tif", stored, extratags=[(274, "H", 1, turn, False)])
    pixels = read_image(tmp_path / "x.tif").pixels
    assert pixels.shape == ((30, 20) if turn > 4 else (20, 30))
    assert pixels[top, left] == 0
    along_row = {2: (0, -2), 3: (-1, -2), 4: (-1, 1), 5: (1, 0), 6: (1, -1), 7: (-2, -1), 8: (-2, 0)}[turn]
    assert pixels[along_row] == 1


@pytest.mark.parametrize("turn", [1, *UPRIGHT])
@pytest.mark.parametrize("kind", ["grey", "deep", "colour", "grey with alpha"])
def test_a_turned_png_stands_upright(turn: int, kind: str, tmp_path: Path) -> None:
    """As Pillow shows it."""
    from PIL import ImageOps

    alpha = PILImage.merge("LA", [PILImage.fromarray(GREY)] * 2)
    deep = PILImage.fromarray(GREY.astype(np.uint16) * 257)
    colour = PILImage.fromarray(np.dstack([GREY, GREY[::-1], 255 - GREY]))
    image = {"grey": PILImage.fromarray(GREY), "deep": deep, "colour": colour, "grey with alpha": alpha}[kind]
    exif = PILImage.Exif()
    exif[274] = turn
    image.save(tmp_path / "x.png", exif=exif)
    with PILImage.open(tmp_path / "x.png") as file:
        expected = np.asarray(ImageOps.exif_transpose(file))
    assert np.array_equal(read_image(tmp_path / "x.png").pixels, expected)


@pytest.mark.parametrize("turn", [None, 6])
def test_png_of_16_bit_grey_with_alpha_keeps_its_bits(turn: int | None, tmp_path: Path) -> None:
    """Written here by hand: no library at hand writes it. Rows are filtered by what lies to the left."""
    values = np.random.default_rng(0).integers(0, 65536, (*SIZE, 2)).astype(">u2")
    raw = values.view(np.uint8).reshape(SIZE[0], -1)
    left = raw.copy()
    left[:, 4:] -= raw[:, :-4]
    rows = np.concatenate([np.ones((SIZE[0], 1), np.uint8), left], axis=1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 16, 4, 0, 0, 0))]
    if turn:
        chunks.append((b"eXIf", b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 274, 3, 1, turn, 0)))
    chunks += [(b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    expected = np.rot90(values, -1) if turn else values
    image = read_image(tmp_path / "x.png")
    assert image.pixels.dtype == np.uint16
    assert np.array_equal(image.pixels, expected)
    assert suffix_for(image, image.grid) == ".png"


@pytest.mark.parametrize(
    ("options", "spacing"),
    [
        ({"imagej": True, "resolution": (2, 4), "metadata": {"unit": "um"}}, (0.0005, 0.00025)),
        ({"imagej": True, "resolution": (2, 4), "metadata": {"unit": "\\u00B5m"}}, (0.0005, 0.00025)),
        ({"imagej": True, "resolution": (2, 4), "metadata": {"unit": "mm"}}, (0.5, 0.25)),
        ({"imagej": True, "resolution": (2, 4), "metadata": {"unit": "pixel"}}, None),
        ({"ome": True, "metadata": {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.7}}, (0.0005, 0.0007)),
        (
            {"ome": True, "metadata": {"axes": "YX", "PhysicalSizeX": 2, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 3,
                                       "PhysicalSizeYUnit": "nm"}},
            (2e-6, 3e-6),
        ),
        ({"resolution": (20, 10), "resolutionunit": "CENTIMETER"}, (0.5, 1.0)),
        ({"resolution": (20, 10), "resolutionunit": "CENTIMETER", "tile": (16, 16)}, (0.5, 1.0)),
        ({"resolution": (25.4, 50.8), "resolutionunit": "INCH", "tile": (16, 16)}, (1.0, 0.5)),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_pixel_of_a_tiff_measures(
    options: dict[str, Any], spacing: tuple[float, float] | None, tmp_path: Path
) -> None:
    """OME-XML, ImageJ and the resolution tags, in mm."""
    tifffile.imwrite(tmp_path / "x.tif", GREY, **options)
    grid = read_image(tmp_path / "x.tif").grid
    if spacing is None:
        assert grid == Grid(SIZE)
    else:
        assert grid.spacing == pytest.approx(spacing)
        assert grid.unit == "mm"


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
@pytest.mark.parametrize("axis", [2, 3])
def test_times_are_picked_as_slices_are(axis: int, suffix: str, tmp_path: Path) -> None:
    """Of four dimensions, one of the last two longer than 1: its images lie in the same place."""
    frames = np.stack([GREY, 255 - GREY, GREY // 2])
    values = frames[:, None] if axis == 3 else frames[None]
    if suffix == ".mha":
        image = sitk.GetImageFromArray(values, isVector=False)
        image.SetSpacing((0.7, 0.9, 3.0, 2.0))
        sitk.WriteImage(image, str(tmp_path / "x.mha"))
    else:
        affine = np.diag([-0.7, -0.9, 3.0, 1.0])
        nibabel.Nifti1Image(values.transpose(3, 2, 1, 0), affine).to_filename(tmp_path / "x.nii.gz")
    for number, frame in enumerate(frames):
        image = read_image(tmp_path / f"x{suffix}", slice_index=number)
        assert np.array_equal(image.pixels, frame)
        assert image.grid.spacing == pytest.approx((0.7, 0.9))
    with pytest.raises(ImageError, match="stack of 3 images"):
        read_image(tmp_path / f"x{suffix}")


def test_slices_at_times_are_refused(tmp_path: Path) -> None:
    """One number does not pick one of them."""
    values = np.zeros((20, 30, 2, 3), np.float32)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "x.nii")
    with pytest.raises(ImageError, match="extract one volume"):
        read_image(tmp_path / "x.nii", slice_index=0)


def test_a_sheared_sform_gives_way_to_the_qform(tmp_path: Path) -> None:
    """Which is what the scanner said."""
    sform, qform = np.diag([-0.7, -0.9, 2.0, 1.0]), np.diag([-0.6, -0.8, 2.0, 1.0])
    sform[0, 1] = 0.2
    image = nibabel.Nifti1Image(GREY.T[..., None], sform)
    image.set_qform(qform, 1)
    image.to_filename(tmp_path / "x.nii.gz")
    with pytest.warns(FileNotice, match="its qform is used"):
        grid = read_image(tmp_path / "x.nii.gz").grid
    assert grid.spacing == pytest.approx((0.6, 0.8))
    assert grid.direction == pytest.approx((1, 0, 0, 1))


@pytest.mark.parametrize("normal", [(1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1), (0, 0, -1), (1, -1, 0)])
def test_rounding_does_not_turn_a_slice(normal: tuple[float, ...], tmp_path: Path) -> None:
    """Two series planned at the same usual angle, whose headers differ in the seventh digit, lie on each other."""
    grids = []
    for tiny in (-1e-7, 0, 1e-7):
        across = np.array(normal) / np.linalg.norm(normal) + np.array([tiny, -tiny, tiny])
        across /= np.linalg.norm(across)
        first = np.cross(across, [0.3, 0.5, 0.81])
        first /= np.linalg.norm(first)
        image = sitk.GetImageFromArray(GREY[None])
        image.SetDirection(np.stack([first, np.cross(across, first), across], 1).ravel().tolist())
        image.SetOrigin((10, 20, 30))
        sitk.WriteImage(image, str(tmp_path / "x.mha"))
        grids.append(read_image(tmp_path / "x.mha").grid)
    for grid in grids:
        assert grid.is_orthonormal
        assert grid.direction == pytest.approx(grids[0].direction, abs=1e-5)
        assert grid.origin == pytest.approx(grids[0].origin, abs=1e-4)


def test_nifti_is_not_asked_to_hold_skew_axes(tmp_path: Path) -> None:
    """ITK writes them and refuses to read them."""
    image = Image(GREY, SKEW, "nifti", ".nii.gz")
    assert suffix_for(image, SKEW) == ".mha"
    with pytest.raises(OutputError, match=r"not at right angles; write \.mha"):
        write_image(image, tmp_path / "x.nii.gz")
    assert not list(tmp_path.iterdir())


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG's first chunk, and next to no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bmp_that_claims(width: int, height: int) -> bytes:
    """A BMP's headers."""
    return struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 1078, 0, 0, 1078, 40, width, height, 1, 8, 0, 0, 0, 0, 256, 0) + (
        bytes(1024)
    )


def meta_that_claims(width: int, height: int) -> bytes:
    """A MetaImage's header."""
    return f"ObjectType = Image\nNDims = 2\nDimSize = {width} {height}\nElementType = MET_UCHAR\n".encode() + (
        b"ElementDataFile = LOCAL\n" + bytes(100)
    )


def tiff_that_claims(width: int, height: int) -> bytes:
    """A TIFF of one page."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, height), (279, 100)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(300)


@pytest.mark.parametrize("make", [png_that_claims, bmp_that_claims, meta_that_claims, tiff_that_claims])
def test_a_file_that_claims_more_than_there_is_memory_is_refused(make: Any, tmp_path: Path) -> None:
    """By its header, in one sentence."""
    (tmp_path / "x.dat").write_bytes(make(3_000_000, 2_000_000))
    with pytest.raises(ImageError, match="claims to be 3000000 x 2000000 pixels"):
        read_image(tmp_path / "x.dat")
