"""Images and fields on disk, against other libraries: every mode, every name, geometry, slices, ITK's own warp."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageOps

from cnnreg.config import InputConfig
from cnnreg.errors import ImageError, OutputError
from cnnreg.geometry import fields
from cnnreg.geometry.resampling import warp_image
from cnnreg.images.image import Grid, Image, read_field, read_image, suffix_for, write_field, write_image
from cnnreg.pairs.intensities import intensity_window, luminance
from tests.conftest import SIZE, Ended, save_tiny_model, smooth_image, tree, write_dicom, write_itk, write_png

Array = NDArray[Any]
ANGLE = 0.4
TURNED = (np.cos(ANGLE), -np.sin(ANGLE), np.sin(ANGLE), np.cos(ANGLE))
OBLIQUE = Grid(SIZE, (0.7, 1.9), (-31.0, 12.5), TURNED, "mm")


def scaled(dtype: str, *, seed: int = 0, low: float = 0, high: float = 250) -> Array:
    """A smooth image of any type whose values span [low, high]."""
    return (low + smooth_image(seed=seed).astype(np.float64) * (high - low)).astype(dtype)


GREY, DEEP = scaled("u1"), scaled("u2", high=60000)
COLOUR = np.stack([scaled("u1", seed=seed) for seed in range(3)], axis=2)
ALPHA = np.dstack([COLOUR, scaled("u1", seed=3)])
DEEP_COLOUR = np.stack([scaled("u2", seed=seed, high=60000) for seed in range(3)], axis=2)
BITS = (smooth_image(seed=4) > 0.5).astype(np.uint8) * 255
PALETTE = PILImage.fromarray(COLOUR).quantize(7)
PALETTE_COLOURS = np.asarray(PALETTE.convert("RGB"))
SEE_THROUGH = PALETTE_COLOURS.copy(), np.where(np.asarray(PALETTE) == 2, 0, 255).astype(np.uint8)


def pil(pixels: Array | PILImage.Image, **options: Any) -> Callable[[Path], object]:
    """A writer that uses Pillow."""
    image = PILImage.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    return lambda path: image.save(path, **options)


def tif(pixels: Array, **options: Any) -> Callable[[Path], object]:
    """A writer that uses tifffile."""
    return lambda path: tifffile.imwrite(path, pixels, **options)


def itk(pixels: Array, **options: Any) -> Callable[[Path], object]:
    """A writer that uses SimpleITK."""
    return lambda path: write_itk(path, pixels, **options)


def itk_slice(pixels: Array) -> Callable[[Path], object]:
    """A volume of a single slice."""
    return lambda path: write_itk(path, pixels[None])


MODES: dict[str, tuple[str, Callable[[Path], object], Array]] = {  # file, how it is made, what it holds
    "PNG 1-bit": ("a.png", pil(PILImage.fromarray(BITS).convert("1")), BITS),
    "PNG 8-bit": ("a.png", pil(GREY), GREY),
    "PNG 16-bit": ("a.png", pil(DEEP), DEEP),
    "PNG palette": ("a.png", pil(PALETTE), PALETTE_COLOURS),
    "PNG palette of 4 bits": ("a.png", pil(PALETTE, bits=4), PALETTE_COLOURS),
    "PNG palette, transparent": ("a.png", pil(PALETTE, transparency=2), np.dstack(SEE_THROUGH)),
    "PNG grey with alpha": ("a.png", pil(ALPHA[..., 1:3]), ALPHA[..., 1:3]),
    "PNG RGB": ("a.png", pil(COLOUR), COLOUR),
    "PNG RGBA": ("a.png", pil(ALPHA), ALPHA),
    "PNG 16-bit RGB": ("a.png", itk(DEEP_COLOUR, vector=True), DEEP_COLOUR),
    "PNG with a resolution": ("a.png", pil(GREY, dpi=(300, 300)), GREY),
    "TIFF 8-bit": ("a.tif", tif(GREY), GREY),
    "TIFF 8-bit signed": ("a.tif", tif(scaled("i1", low=-90, high=90)), scaled("i1", low=-90, high=90)),
    "TIFF 16-bit": ("a.tif", tif(DEEP), DEEP),
    "TIFF 16-bit signed": ("a.tif", tif(scaled("i2", low=-900, high=900)), scaled("i2", low=-900, high=900)),
    "TIFF 32-bit": ("a.tif", tif(scaled("u4", high=4e9)), scaled("u4", high=4e9)),
    "TIFF 32-bit signed": ("a.tif", tif(scaled("i4", low=-2e9, high=2e9)), scaled("i4", low=-2e9, high=2e9)),
    "TIFF float": ("a.tiff", tif(scaled("f4", high=1)), scaled("f4", high=1)),
    "TIFF RGB": ("a.tif", tif(COLOUR, photometric="rgb"), COLOUR),
    "TIFF RGBA": ("a.tif", tif(ALPHA, photometric="rgb", extrasamples=["unassalpha"]), ALPHA),
    "TIFF 16-bit RGB": ("a.tif", tif(DEEP_COLOUR, photometric="rgb"), DEEP_COLOUR),
    "TIFF float RGB": ("a.tif", tif(COLOUR / np.float32(7), photometric="rgb"), COLOUR / np.float32(7)),
    "TIFF LZW": ("a.tif", pil(GREY, compression="tiff_lzw"), GREY),
    "TIFF LZW 16-bit": ("a.tif", pil(DEEP, compression="tiff_lzw"), DEEP),
    "TIFF LZW RGB": ("a.tif", pil(COLOUR, compression="tiff_lzw"), COLOUR),
    "TIFF deflate": ("a.tif", pil(GREY, compression="tiff_adobe_deflate"), GREY),
    "TIFF big-endian": ("a.tif", tif(DEEP, byteorder=">"), DEEP),
    "BigTIFF": ("a.tif", tif(DEEP, bigtiff=True), DEEP),
    "TIFF tiled": ("a.tif", tif(GREY, tile=(16, 16)), GREY),
    "TIFF tiled 16-bit": ("a.tif", tif(DEEP, tile=(16, 16)), DEEP),
    "TIFF tiled 16-bit, big-endian": ("a.tif", tif(DEEP, tile=(16, 16), byteorder=">"), DEEP),
    "TIFF tiled float": ("a.tif", tif(scaled("f4", high=1), tile=(16, 16)), scaled("f4", high=1)),
    "TIFF tiled RGB": ("a.tif", tif(COLOUR, tile=(16, 16), photometric="rgb"), COLOUR),
    "TIFF by planes": (
        "a.tif",
        tif(np.moveaxis(COLOUR, 2, 0), photometric="rgb", planarconfig="separate"),
        COLOUR,
    ),
    "TIFF 1-bit": ("a.tif", pil(PILImage.fromarray(BITS).convert("1")), BITS),
    "TIFF palette": ("a.tif", pil(PALETTE), PALETTE_COLOURS.astype(np.uint16) * 256),  # its colours have 16 bits
    "TIFF turned": ("a.tif", tif(np.rot90(DEEP), extratags=[(274, "H", 1, 6, False)]), DEEP),
    "BMP grey": ("a.bmp", pil(GREY), GREY),
    "BMP RGB": ("a.bmp", pil(COLOUR), COLOUR),
    "BMP 32-bit": ("a.bmp", pil(ALPHA), COLOUR),  # the fourth byte is padding
    "BMP palette": ("a.bmp", pil(PALETTE), PALETTE_COLOURS),
    "BMP 1-bit": ("a.bmp", pil(PILImage.fromarray(BITS).convert("1")), BITS),
    "NIfTI": ("a.nii", itk(scaled("i2", low=-900, high=900)), scaled("i2", low=-900, high=900)),
    "NIfTI gzipped": ("a.nii.gz", itk(scaled("f4", high=1)), scaled("f4", high=1)),
    "NIfTI double": ("a.nii.gz", itk(scaled("f8", high=1)), scaled("f8", high=1)),
    "NIfTI of one slice": ("a.nii.gz", itk_slice(DEEP), DEEP),
    "NIfTI pair": ("a.hdr", itk(DEEP), DEEP),
    "MHA": ("a.mha", itk(scaled("f8", high=1)), scaled("f8", high=1)),
    "MHA of one slice": ("a.mha", itk_slice(scaled("i4", low=-9e8)), scaled("i4", low=-9e8)),
    "MHA 64-bit": ("a.mha", itk(scaled("i8", low=-9e15)), scaled("i8", low=-9e15)),
    "MHA RGB": ("a.mha", itk(COLOUR, vector=True), COLOUR),
    "MHD": ("a.mhd", itk(DEEP), DEEP),
    "NRRD": ("a.nrrd", itk(scaled("f4", high=1)), scaled("f4", high=1)),
    "NRRD of one slice": ("a.nrrd", itk_slice(DEEP), DEEP),
    "NHDR": ("a.nhdr", itk(DEEP), DEEP),
    "DICOM": ("a.dcm", lambda path: write_dicom(path, DEEP), DEEP),
}
CASES = [pytest.param(*case, id=name) for name, case in MODES.items()]


def assert_same(pixels: Array, expected: Array) -> None:
    """Same type, same shape, same values."""
    assert (pixels.dtype, pixels.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(pixels, expected)


def assert_same_grid(grid: Grid, expected: Grid) -> None:
    """Equal up to the float32 in which NIfTI stores geometry."""
    assert (grid.size, grid.unit) == (expected.size, expected.unit)
    for name in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(grid, name), getattr(expected, name), atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("name", "make", "expected"), CASES)
def test_every_mode_is_read_as_it_was_written(
    name: str, make: Callable[[Path], object], expected: Array, *, tmp_path: Path
) -> None:
    """Type, channels and values are those that another library wrote, bit for bit."""
    make(tmp_path / name)
    assert_same(read_image(tmp_path / name).pixels, expected)


def read_elsewhere(file: Path) -> Array:
    """The pixels as another program would read them: Pillow, tifffile or SimpleITK, by the file's name."""
    if file.suffix == ".tif":
        return tifffile.imread(file)
    if file.suffix == ".bmp" or file.read_bytes()[24:26] == b"\x08\x04":  # PNG of grey with alpha
        with PILImage.open(file) as opened:
            return np.asarray(opened)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


@pytest.mark.parametrize(("name", "make", "expected"), CASES)
@pytest.mark.parametrize("grid", [Grid(SIZE), OBLIQUE], ids=["plain", "oblique"])
def test_results_keep_type_channels_values_and_geometry(
    name: str, make: Callable[[Path], object], expected: Array, grid: Grid, *, tmp_path: Path
) -> None:
    """An image of any mode, laid onto any grid, survives writing under the suffix that is chosen for it."""
    make(tmp_path / name)
    original = read_image(tmp_path / name)
    result = Image(original.pixels, grid, original.format, original.suffix)
    file = tmp_path / f"out{suffix_for(result, grid)}"
    write_image(result, file)
    back = read_image(file)
    assert_same(back.pixels, original.pixels)
    assert_same_grid(back.grid, grid)
    assert back.suffix == file.name.removeprefix("out")
    np.testing.assert_array_equal(read_elsewhere(file), original.pixels)


@pytest.mark.parametrize(
    ("name", "dtype", "grid", "suffix"),
    [
        ("png", "u1", Grid(SIZE), ".png"),
        ("png", "u2", Grid(SIZE), ".png"),
        ("png", "u1", OBLIQUE, ".mha"),
        ("jpeg", "u1", Grid(SIZE), ".png"),
        ("jpeg", "u1", OBLIQUE, ".mha"),
        ("bmp", "u1", Grid(SIZE), ".bmp"),
        ("tiff", "i2", Grid(SIZE), ".tif"),
        ("tiff", "f4", Grid(SIZE), ".tif"),
        ("tiff", "f8", Grid(SIZE), ".mha"),
        ("tiff", "u4", Grid(SIZE), ".mha"),
        ("nifti", "f8", OBLIQUE, ".nii.gz"),
        ("nrrd", "i8", OBLIQUE, ".nrrd"),
        ("meta", "u2", OBLIQUE, ".mha"),
        ("dicom", "u2", OBLIQUE, ".mha"),
    ],
)
def test_suffix_is_the_images_own_where_that_holds_it(name: str, dtype: str, grid: Grid, suffix: str) -> None:
    """A result has its image's format, unless that would lose type or geometry."""
    assert suffix_for(Image(np.zeros(SIZE, dtype), grid, name), grid) == suffix


@pytest.mark.parametrize(("name", "pixels"), [("grey", GREY), ("colour", COLOUR)])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2}], ids=["plain", "progressive", "420"]
)
def test_jpeg_is_read_as_pillow_reads_it(name: str, pixels: Array, options: dict[str, Any], *, tmp_path: Path) -> None:
    """JPEG decoders may differ by a little; a lost channel, a shift or a swap would differ by much."""
    file = tmp_path / "a.jpg"
    PILImage.fromarray(pixels).save(file, quality=95, **options)
    image = read_image(file)
    with PILImage.open(file) as opened:
        reference = np.asarray(opened)
    assert (image.pixels.dtype, image.pixels.shape) == (reference.dtype, reference.shape)
    assert np.abs(image.pixels.astype(int) - reference).max() <= 8
    assert np.abs(image.pixels.astype(int) - pixels).mean() < 3


@pytest.mark.parametrize(
    ("make", "pixels"),
    [
        (tif(GREY.astype(np.float64)), GREY.astype(np.float64)),
        (tif(DEEP_COLOUR, tile=(16, 16), photometric="rgb"), DEEP_COLOUR),
        (tif(np.moveaxis(DEEP_COLOUR, 2, 0), planarconfig="separate", photometric="rgb"), DEEP_COLOUR),
    ],
    ids=["double", "tiles of 16-bit colour", "planes of 16-bit colour"],
)
def test_a_tiff_that_others_misread_is_read(make: Callable[[Path], object], pixels: np.ndarray, tmp_path: Path) -> None:
    """Not 8-bit garbage, and not "damaged"."""
    make(tmp_path / "a.tif")
    found = read_image(tmp_path / "a.tif").pixels
    assert found.dtype == pixels.dtype
    assert np.array_equal(found, pixels)


def test_a_preview_inside_a_jpeg_is_not_a_second_image(tmp_path: Path) -> None:
    """Phones put a second picture into their JPEGs; the first one is the photograph."""
    preview = PILImage.fromarray(GREY[::2, ::2])
    PILImage.fromarray(GREY).save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview], quality=95)
    pixels = read_image(tmp_path / "a.jpg").pixels
    assert pixels.shape == GREY.shape
    assert np.abs(pixels.astype(int) - GREY).mean() < 3


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    """Print colours are converted, not taken for RGB with alpha."""
    PILImage.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    pixels = read_image(tmp_path / "a.jpg").pixels
    assert pixels.shape == COLOUR.shape
    assert np.abs(pixels.astype(int) - COLOUR).mean() < 3


STORED = {  # EXIF orientation -> how the camera's rows lie in the file, for an image that a viewer shows upright
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.T,
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].T,
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_photographs_stand_upright(orientation: int, tmp_path: Path) -> None:
    """The EXIF orientation is applied, as viewers and Pillow do."""
    file = tmp_path / "a.jpg"
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    PILImage.fromarray(np.ascontiguousarray(STORED[orientation](GREY))).save(file, quality=95, exif=exif)
    pixels = read_image(file).pixels
    assert pixels.shape == GREY.shape
    assert np.abs(pixels.astype(int) - GREY).mean() < 3
    with PILImage.open(file) as opened:
        assert np.abs(pixels.astype(int) - np.asarray(ImageOps.exif_transpose(opened))).max() <= 8


@pytest.mark.parametrize(
    "source", ["PNG 8-bit", "TIFF 16-bit", "BMP RGB", "NIfTI", "NIfTI gzipped", "MHA", "NRRD", "DICOM", "PNG RGBA"]
)
@pytest.mark.parametrize(
    "name", ["x.dat", "x", "x.tif", "x.png", "x.nii", "x.nii.gz", "x.mha", "scan.1.2.3", "Röntgen bild.x"]
)
def test_files_are_known_by_content_whatever_their_name(source: str, name: str, tmp_path: Path) -> None:
    """A wrong, missing or strange suffix changes nothing."""
    original, make, expected = MODES[source]
    make(tmp_path / original)
    reference = read_image(tmp_path / original)
    folder = tmp_path / "renamed"
    folder.mkdir()
    shutil.move(tmp_path / original, folder / name)
    image = read_image(folder / name)
    assert_same(image.pixels, expected)
    assert (image.grid, image.format) == (reference.grid, reference.format)


def test_jpeg_is_known_by_content(tmp_path: Path) -> None:
    """A JPEG called .png is read, and its result is not called JPEG."""
    PILImage.fromarray(GREY).save(tmp_path / "a.png", format="JPEG", quality=95)
    image = read_image(tmp_path / "a.png")
    assert image.format == "jpeg"
    assert np.abs(image.pixels.astype(int) - GREY).mean() < 3


def test_a_zipped_nifti_is_not_mistaken_for_its_unzipped_neighbour(tmp_path: Path) -> None:
    """Where both x.nii and x.nii.gz lie in a folder, each name gives its own pixels."""
    write_itk(tmp_path / "x.nii.gz", DEEP)
    write_itk(tmp_path / "x.nii", DEEP + 7)
    assert_same(read_image(tmp_path / "x.nii.gz").pixels, DEEP)
    assert_same(read_image(tmp_path / "x.nii").pixels, DEEP + 7)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "mha", "mhd", "nrrd"])
@pytest.mark.parametrize("single_slice", [False, True], ids=["2D", "one slice"])
def test_geometry_is_read_as_itk_reads_it(suffix: str, single_slice: bool, tmp_path: Path) -> None:
    """Spacing, origin and direction, (x, y), of an anisotropic turned image; a single slice keeps its plane's."""
    image = sitk.GetImageFromArray(DEEP)
    image.SetSpacing(OBLIQUE.spacing)
    image.SetOrigin(OBLIQUE.origin)
    image.SetDirection(OBLIQUE.direction)
    sitk.WriteImage(sitk.JoinSeries([image], 3.0, 5.0) if single_slice else image, str(tmp_path / f"a.{suffix}"))
    assert_same_grid(read_image(tmp_path / f"a.{suffix}").grid, OBLIQUE)


def test_nothing_is_known_of_the_size_of_pixels_in_a_picture(tmp_path: Path) -> None:
    """PNG and JPEG have unit spacing in pixels, whatever resolution for printing they name."""
    PILImage.fromarray(GREY).save(tmp_path / "a.png", dpi=(300, 300))
    PILImage.fromarray(GREY).save(tmp_path / "a.jpg", dpi=(300, 300))
    for name in ("a.png", "a.jpg"):
        assert read_image(tmp_path / name).grid == Grid(SIZE)


def test_dicom_is_read_in_its_own_units(tmp_path: Path) -> None:
    """Rescaled values (Hounsfield units) and pixel spacing, which DICOM gives as (row, column)."""
    write_dicom(tmp_path / "a.dcm", DEEP, slope=0.5, intercept=-1024, spacing=(0.8, 0.3))
    image = read_image(tmp_path / "a.dcm")
    file = pydicom.dcmread(tmp_path / "a.dcm")
    np.testing.assert_allclose(image.pixels, file.pixel_array * file.RescaleSlope + file.RescaleIntercept)
    assert image.pixels.min() < 0
    np.testing.assert_allclose(image.grid.spacing, (0.3, 0.8))
    assert image.grid.unit == "mm"


STACK = np.stack([scaled("u2", seed=seed, high=60000) for seed in range(4)])


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.tif", tif(STACK, photometric="minisblack")),
        ("tiled.tif", tif(STACK, photometric="minisblack", tile=(16, 16))),
        ("a.nii.gz", itk(STACK, spacing=(0.5, 0.7, 3.0))),
        ("a.mha", itk(STACK, spacing=(0.5, 0.7, 3.0))),
        ("a.nrrd", itk(STACK, spacing=(0.5, 0.7, 3.0))),
    ],
)
def test_one_slice_of_a_stack(name: str, make: Callable[[Path], object], tmp_path: Path) -> None:
    """Slice i, counted from 0, with the spacing of its plane; without a number a stack is refused, not guessed."""
    make(tmp_path / name)
    for index, expected in enumerate(STACK):
        image = read_image(tmp_path / name, slice_index=index)
        assert_same(image.pixels, expected)
        if not name.endswith("tif"):
            np.testing.assert_allclose(image.grid.spacing, (0.5, 0.7), atol=1e-6)
    for wrong in (None, 4, -1):
        with pytest.raises(ImageError):
            read_image(tmp_path / name, slice_index=wrong)


def test_slice_on_the_command_line(tmp_path: Path, cli: Callable[..., Ended], tiny_model: Path) -> None:
    """--slice 2 of a TIFF and of a volume registers what the same page and slice register as files of their own."""
    tifffile.imwrite(tmp_path / "pages.tif", STACK, photometric="minisblack")
    write_itk(tmp_path / "volume.mha", STACK[::-1])
    tifffile.imwrite(tmp_path / "page.tif", STACK[2])
    write_itk(tmp_path / "plane.mha", STACK[::-1][2])
    options = ("-m", tiny_model, "--device", "cpu", "--quiet")
    picked = cli(
        "register", tmp_path / "pages.tif", tmp_path / "volume.mha", "--slice", 2, "-o", tmp_path / "a", *options
    )
    alone = cli("register", tmp_path / "page.tif", tmp_path / "plane.mha", "-o", tmp_path / "b", *options)
    assert (picked.code, alone.code) == (0, 0)
    for name in ("warped.mha", "field.mha"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (16, 700), (611, 19)], ids=str)
def test_any_size_from_16_pixels_up(size: tuple[int, int], tmp_path: Path, cli: Callable[..., Ended]) -> None:
    """Nothing has to divide by anything, not even when a long narrow image is made smaller for the network."""
    model = save_tiny_model(tmp_path / "model")
    fixed, moving = (write_png(tmp_path / f"{seed}.png", smooth_image(size, seed=seed)) for seed in range(2))
    ended = cli("register", fixed, moving, "-o", tmp_path / "out", "-m", model, "--adapt", 2, "--device", "cpu")
    assert (ended.code, ended.err) == (0, "")
    assert read_image(tmp_path / "out" / "warped.png").pixels.shape == size
    assert read_field(tmp_path / "out" / "field.mha")[0].shape == (2, *size)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    """Pixels that a format cannot hold are an error; the old file stays, and no temporary one."""
    write_png(tmp_path / "a.png", smooth_image())
    before = tree(tmp_path)
    with pytest.raises(OutputError, match=r"cannot write .*a\.png"):
        write_image(Image(scaled("f8"), Grid(SIZE)), tmp_path / "a.png")
    with pytest.raises(OutputError, match="cannot write"):
        write_image(Image(GREY, Grid(SIZE)), tmp_path / "a.png" / "b.png")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i4", "f8"])
@pytest.mark.parametrize("limits", [(0.5, 99.5), (2.0, 98.3), (0.0, 99.0), (30.1, 70.4)])
def test_windows_are_the_percentiles_of_numpy(kind: str, limits: tuple[float, float]) -> None:
    """To the last bit, ends of the type's range included, where differences do not fit into the type."""
    values = np.random.default_rng(3).normal(0, 60, SIZE)
    pixels = values.clip(-128 if kind != "u1" and kind != "u2" else 0, 127).astype(kind)
    pixels[0, :2] = pixels.min(), pixels.max()
    expected = np.percentile(pixels.astype(np.float64), limits)
    assert intensity_window(pixels, InputConfig(*limits)) == tuple(expected)


def test_luminance_weighs_the_colours() -> None:
    """ITU-R BT.601, in the order red, green, blue; alpha does not count."""
    primaries = np.array([[[255, 0, 0, 9], [0, 255, 0, 9], [0, 0, 255, 9]]], dtype=np.uint8)
    np.testing.assert_allclose(luminance(primaries)[0], [76.245, 149.685, 29.07])
    np.testing.assert_allclose(luminance(primaries[..., :3]), luminance(primaries))
    with PILImage.open(io.BytesIO(png_bytes(COLOUR))) as opened:
        np.testing.assert_allclose(luminance(COLOUR), np.asarray(opened.convert("L")), atol=0.51)


def png_bytes(pixels: Array) -> bytes:
    buffer = io.BytesIO()
    PILImage.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def smooth_field(size: tuple[int, int] = SIZE, *, length: float = 3.0) -> NDArray[np.float32]:
    """A field (2, H, W), in pixels, whose components reach ``length`` both ways."""
    return np.stack([(smooth_image(size, seed=seed, scale=6) * 2 - 1) * length for seed in (10, 11)])


def test_why_fields_are_float64(tmp_path):
    """SimpleITK's transform takes no other type; the file holds float32's digits and is not a third larger."""
    field, sizes = smooth_field((256, 240), length=12.0), {}
    for kind in (np.float32, np.float64):
        path = tmp_path / f"{kind.__name__}.mha"
        write_field(field, Grid((256, 240)), path, number_type=kind)
        sizes[kind] = path.stat().st_size
    assert sizes[np.float64] < 1.33 * sizes[np.float32]
    assert sizes[np.float64] < 0.7 * field.astype(np.float64).nbytes
    sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "float64.mha")))
    with pytest.raises(RuntimeError, match="vector of 64-bit float"):  # else float32 might become the default
        sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "float32.mha")))
    sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "float32.mha"), sitk.sitkVectorFloat64))


@pytest.mark.parametrize("grid", [Grid(SIZE), OBLIQUE], ids=["plain", "oblique"])
def test_field_survives_the_disk(grid: Grid, tmp_path: Path) -> None:
    """What is written is read back, in pixels, with its grid."""
    field = smooth_field()
    write_field(field, grid, tmp_path / "field.mha")
    back, back_grid = read_field(tmp_path / "field.mha")
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, field, atol=1e-6)
    assert_same_grid(back_grid, grid)


def test_field_on_disk_is_physical_and_x_comes_first(tmp_path: Path) -> None:
    """A displacement of (rows, columns) pixels is direction @ (spacing * (columns, rows)) in the file."""
    field = smooth_field()
    write_field(field, OBLIQUE, tmp_path / "field.mha")
    stored = sitk.ReadImage(str(tmp_path / "field.mha"))
    assert stored.GetNumberOfComponentsPerPixel() == 2
    assert stored.GetSize() == (SIZE[1], SIZE[0])
    for row, column in ((0, 0), (5, 40), (47, 60)):
        start = np.array(stored.TransformContinuousIndexToPhysicalPoint((float(column), float(row))))
        down, right = (float(d) for d in field[:, row, column])
        end = np.array(stored.TransformContinuousIndexToPhysicalPoint((column + right, row + down)))
        np.testing.assert_allclose(stored.GetPixel(column, row), end - start, atol=1e-6)


MOVING_GRIDS = {
    "same grid": OBLIQUE,
    "other grid": Grid((57, 44), (1.1, 1.4), (-24.0, 9.0), (np.cos(0.2), -np.sin(0.2), np.sin(0.2), np.cos(0.2)), "mm"),
    "mirrored grid": Grid((70, 52), (1.0, 1.3), (22.0, 8.0), (-1.0, 0.0, 0.0, 1.0), "mm"),
}


@pytest.mark.parametrize("moving_grid", MOVING_GRIDS.values(), ids=list(MOVING_GRIDS))
def test_itk_warps_as_we_do(moving_grid: Grid, tmp_path: Path) -> None:
    """SimpleITK.Resample with the written field equals our warp wherever the moving image is, and is 0 elsewhere."""
    moving = Image(smooth_image(moving_grid.size, seed=5), moving_grid)
    field = smooth_field()
    write_field(field, OBLIQUE, tmp_path / "field.mha")
    write_image(moving, tmp_path / "moving.mha")
    ours = warp_image(moving, torch.from_numpy(field)[None], OBLIQUE).pixels

    def resample(name: str, interpolator: int, pixels: Array | None = None) -> Array:
        image = sitk.ReadImage(str(tmp_path / name))
        if pixels is not None:
            flat = sitk.GetImageFromArray(pixels)
            flat.CopyInformation(image)
            image = flat
        vectors = sitk.ReadImage(str(tmp_path / "field.mha"))
        transform = sitk.DisplacementFieldTransform(sitk.Cast(vectors, sitk.sitkVectorFloat64))
        return sitk.GetArrayFromImage(sitk.Resample(image, sitk.ReadImage(str(tmp_path / "field.mha")), transform,
            interpolator, 0.0, sitk.sitkFloat64))  # fmt: skip

    theirs = resample("moving.mha", sitk.sitkLinear)
    covered = resample("moving.mha", sitk.sitkLinear, np.ones(moving_grid.size))
    rim = np.ones(moving_grid.size)
    rim[1:-1, 1:-1] = 0
    interior = (covered > 0.999) & (resample("moving.mha", sitk.sitkLinear, rim) < 1e-6)
    assert interior.mean() > 0.4
    assert np.abs(ours - theirs)[interior].max() < 1e-3
    assert theirs[interior].std() > 0.1
    outside = covered == 0
    assert np.abs(ours[outside]).max(initial=0) == 0


def test_itk_warps_labels_as_we_do(tmp_path: Path) -> None:
    """Nearest neighbour through the written field, on another grid: the same labels but for ties."""
    moving_grid = MOVING_GRIDS["other grid"]
    labels = Image((smooth_image(moving_grid.size, seed=6) * 4.99).astype(np.uint8), moving_grid)
    field = smooth_field()
    write_field(field, OBLIQUE, tmp_path / "field.mha")
    write_image(labels, tmp_path / "labels.mha")
    ours = warp_image(labels, torch.from_numpy(field)[None], OBLIQUE, labels=True).pixels
    vectors = sitk.Cast(sitk.ReadImage(str(tmp_path / "field.mha")), sitk.sitkVectorFloat64)
    reference = sitk.Image(SIZE[1], SIZE[0], sitk.sitkUInt8)
    reference.CopyInformation(vectors)
    transform = sitk.DisplacementFieldTransform(vectors)
    theirs = sitk.Resample(sitk.ReadImage(str(tmp_path / "labels.mha")), reference, transform, sitk.sitkNearestNeighbor)
    assert ours.dtype == np.uint8
    assert set(np.unique(ours)) <= set(np.unique(labels.pixels))
    assert (ours != sitk.GetArrayFromImage(theirs)).mean() < 0.002


@pytest.mark.parametrize(("name", "make", "expected"), CASES)
def test_warped_image_has_the_moving_images_type_and_channels(
    name: str, make: Callable[[Path], object], expected: Array, *, tmp_path: Path
) -> None:
    """A warp by nothing at all, onto the same grid, changes no bit of any mode."""
    make(tmp_path / name)
    image = read_image(tmp_path / name)
    warped = warp_image(image, torch.zeros(1, 2, *SIZE), image.grid)
    assert_same(warped.pixels, expected)


@pytest.mark.parametrize("length", [3.0, 200.0], ids=["near", "far"])
@pytest.mark.parametrize("source", [Grid((57, 44)), MOVING_GRIDS["other grid"]], ids=["plain", "other grid"])
@pytest.mark.parametrize("labels", [False, True], ids=["image", "labels"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8"])
def test_warping_in_strips_changes_no_bit(
    dtype: str, source: Grid, length: float, *, labels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grey and colour, strips that fall inside, partly or wholly outside: as if all were done at once."""
    field = torch.from_numpy(smooth_field(length=length))[None]
    grid = OBLIQUE if source.unit == "mm" else Grid(SIZE)
    for channels in ((), (3,)):
        pixels = (np.random.default_rng(1).random((*source.size, *channels)) * 250).astype(dtype)
        whole = warp_image(Image(pixels, source), field, grid, labels=labels).pixels
        assert (whole == 0).any()
        for strip in (1, 5 * SIZE[1], 20 * SIZE[1]):
            monkeypatch.setattr(fields, "STRIP", strip)
            assert_same(warp_image(Image(pixels, source), field, grid, labels=labels).pixels, whole)
        monkeypatch.undo()


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4"])
def test_whole_numbers_are_rounded_and_never_wrap(dtype: str) -> None:
    """Between pixels an integer image takes the nearest whole number, within its range, up to its very ends."""
    limits = np.iinfo(dtype)
    image = Image(scaled(dtype, low=limits.min, high=limits.max), Grid(SIZE))
    field = torch.from_numpy(smooth_field())[None]
    warped = warp_image(image, field, image.grid)
    exact = warp_image(Image(image.pixels.astype(np.float64), image.grid), field, image.grid)
    assert warped.pixels.dtype == dtype
    assert np.abs(warped.pixels - exact.pixels).max() < 0.51  # float32 holds 16 bits, and a little more
    assert abs((warped.pixels - exact.pixels).mean()) < 0.05  # cutting off instead of rounding would give 0.5
