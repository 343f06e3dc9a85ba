"""Label maps as programs save them: palettes, white grounds, soft edges, very large numbers; NaN pixels; slices."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from numpy.typing import NDArray
from PIL import Image as PILImage
from scipy import ndimage

from cnnreg.config import read_parameters
from cnnreg.errors import ConfigError, FileNotice, ImageError
from cnnreg.images.image import Grid, write_field
from cnnreg.pairs.labelmaps import read_label_map
from cnnreg.pipeline.scoring import Picks, ScoringRequest, evaluate
from tests.conftest import Ended, smooth_image, smooth_pair, write_itk, write_png

SIZE = (60, 84)


def discs() -> NDArray[np.uint8]:
    """Two structures on a background."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    labels = np.zeros(SIZE, np.uint8)
    labels[(rows - 28) ** 2 + (columns - 30) ** 2 < 300] = 1
    labels[(rows - 30) ** 2 + (columns - 62) ** 2 < 90] = 2
    return labels


def with_palette(labels: NDArray[Any], colours: list[int], path: Path) -> Path:
    """A picture whose pixels are indices."""
    image = PILImage.fromarray(labels).convert("L")
    image = PILImage.frombytes("P", image.size, image.tobytes())
    image.putpalette(colours)
    image.save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("ground", [[0, 0, 0], [255, 255, 255]], ids=["black", "white"])
def test_a_palette_map_counts_its_indices(ground: list[int], suffix: str, tmp_path: Path) -> None:
    """Whatever colours they are shown in."""
    path = with_palette(discs(), [*ground, 128, 0, 0, 0, 128, 0], tmp_path / f"x{suffix}")
    assert np.array_equal(read_label_map(path)[0], discs())


def test_a_white_ground_is_no_label(tmp_path: Path) -> None:
    """In colours without a palette; white amid black is one."""
    colours = np.array([[255, 255, 255], [200, 0, 0], [0, 0, 200]], np.uint8)
    PILImage.fromarray(colours[discs()]).save(tmp_path / "x.png")
    assert set(np.unique(read_label_map(tmp_path / "x.png")[0])) == {0, 0xC80000, 0x0000C8}
    colours[0], colours[1] = 0, 255
    PILImage.fromarray(colours[discs()]).save(tmp_path / "y.png")
    assert set(np.unique(read_label_map(tmp_path / "y.png")[0])) == {0, 0xFFFFFF, 0x0000C8}


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0])
def test_a_mask_with_blurred_edges_is_pointed_out(sigma: float, tmp_path: Path) -> None:
    """And --label-threshold makes the mask of it that it was."""
    mask = discs() > 0
    soft = np.rint(ndimage.gaussian_filter(mask * 255.0, sigma)).astype(np.uint8)
    path = write_png(tmp_path / "x.png", soft / 255)
    with pytest.raises(ImageError, match=r"blurred edges.*--label-threshold 127\.5"):
        read_label_map(path)
    found = read_label_map(path, threshold=127.5)[0]
    assert (found != mask).mean() < 0.01


def test_many_true_labels_are_no_blurred_edges(tmp_path: Path) -> None:
    """Cells one beside the other, and cells on a background, of two hundred numbers."""
    cells = np.kron(np.arange(1, 201).reshape(10, 20), np.ones((7, 6), int))
    apart = cells.copy()
    apart[::7], apart[:, ::6] = 0, 0
    for values in (cells, apart):
        path = write_itk(tmp_path / "x.mha", values.astype(np.uint8)) or tmp_path / "x.mha"
        assert np.array_equal(read_label_map(Path(path))[0], values)


def test_probabilities_become_a_mask(tmp_path: Path) -> None:
    """Fractions are no labels; the error says what would make some of them."""
    write_itk(tmp_path / "x.mha", smooth_image(SIZE))
    with pytest.raises(ImageError, match="--label-threshold"):
        read_label_map(tmp_path / "x.mha")
    assert np.array_equal(read_label_map(tmp_path / "x.mha", threshold=0.5)[0], smooth_image(SIZE) > 0.5)


def test_labels_beyond_63_bits_keep_their_sign(tmp_path: Path) -> None:
    """Names of segments in electron microscopy."""
    names = np.array([0, 2**63 + 5, 2], np.uint64)
    sitk.WriteImage(sitk.GetImageFromArray(names[discs()]), str(tmp_path / "x.mha"))
    found = evaluate(ScoringRequest(seg_fixed=tmp_path / "x.mha", seg_moving=tmp_path / "x.mha"))
    overlap = found["value"]["overlap"]
    assert set(overlap["labels"]) == {"2", str(2**63 + 5)}
    assert overlap["dsc"] == 1


def test_two_empty_maps_are_told(tmp_path: Path) -> None:
    """There is nothing to measure in them."""
    path = write_png(tmp_path / "x.png", np.zeros(SIZE))
    with pytest.warns(FileNotice, match="both empty"):
        evaluate(ScoringRequest(seg_fixed=path, seg_moving=path))


def test_two_slices_of_one_stack(tmp_path: Path, cli: Callable[..., Ended], tiny_model: Path) -> None:
    """--moving-slice beside --slice: of images, masks and label maps."""
    pair = smooth_pair(SIZE)
    write_itk(tmp_path / "stack.mha", np.stack([pair[0], pair[1], pair[0] * 0.5]).astype(np.float32))
    write_itk(tmp_path / "a.mha", pair[1])
    write_itk(tmp_path / "b.mha", (pair[0] * 0.5).astype(np.float32))
    options = ("-m", tiny_model, "--device", "cpu", "--adapt", 2, "--quiet")
    stack = tmp_path / "stack.mha"
    picked = cli("register", stack, stack, "--slice", 1, "--moving-slice", 2, "-o", tmp_path / "x", *options)
    alone = cli("register", tmp_path / "a.mha", tmp_path / "b.mha", "-o", tmp_path / "y", *options)
    assert (picked.code, alone.code) == (0, 0), picked.err + alone.err
    assert (tmp_path / "x" / "field.mha").read_bytes() == (tmp_path / "y" / "field.mha").read_bytes()
    scored = evaluate(ScoringRequest(fixed=stack, moving=stack), picks=Picks(1, 2))
    assert scored["value"]["ncc"] == evaluate(ScoringRequest(fixed=tmp_path / "a.mha", moving=tmp_path / "b.mha"))[
        "value"
    ]["ncc"]  # fmt: skip


def test_nan_pixels_do_not_count(tmp_path: Path, cli: Callable[..., Ended], tiny_model: Path) -> None:
    """They are left out as a mask would, stay unknown in the result, and are told."""
    fixed, moving = smooth_pair(SIZE)
    lost = np.zeros(SIZE, bool)
    lost[:, :9] = True
    for name, image in (("fixed", fixed), ("moving", moving)):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.where(lost, np.nan, image).astype(np.float32))
    options = ("-m", tiny_model, "--device", "cpu", "--adapt", 3, "--init", "none")
    ended = cli("register", tmp_path / "fixed.tif", tmp_path / "moving.tif", "-o", tmp_path / "x", *options)
    assert ended.code == 0, ended.err
    assert "fixed.tif: 540 pixels are NaN" in ended.out
    warped = tifffile.imread(tmp_path / "x" / "warped.tif")
    assert np.isnan(warped[:, :6]).mean() > 0.9
    assert np.isfinite(warped[:, 20:]).mean() > 0.95
    report = json.loads((tmp_path / "x" / "report.json").read_text())
    assert any("moving.tif: 540 pixels" in note for note in report["notes"])


def test_nothing_but_nan_is_an_error(tmp_path: Path, cli: Callable[..., Ended]) -> None:
    """There is nothing to fill it from."""
    tifffile.imwrite(tmp_path / "x.tif", np.full(SIZE, np.nan, np.float32))
    ended = cli("register", tmp_path / "x.tif", tmp_path / "x.tif", "-o", tmp_path / "out", "--device", "cpu")
    assert ended.code == 1
    assert "NaN" in ended.err


def test_base_below_a_section_is_explained(tmp_path: Path) -> None:
    """TOML takes it for a key of that section."""
    (tmp_path / "p.toml").write_text('[adaptation]\nsteps = 5\nbase = "paper"\n')
    with pytest.raises(ConfigError, match="base names the preset; it must stand above the first"):
        read_parameters(tmp_path / "p.toml")


def test_a_warped_palette_map_keeps_its_indices_and_colours(cli, tmp_path):
    """So that it can be compared with others; outside is index 0."""
    labels = np.zeros((40, 30), np.uint8)
    labels[10:20, 5:15], labels[25:35, 20:30] = 1, 2
    picture = PILImage.fromarray(labels).convert("P")
    picture.putpalette([255, 255, 255, 200, 0, 0, 0, 0, 200])
    picture.save(tmp_path / "labels.png")
    write_field(np.stack([np.full(labels.shape, 3.0), np.zeros(labels.shape)]), Grid(labels.shape), tmp_path / "f.mha")
    assert cli("apply", tmp_path / "f.mha", tmp_path / "labels.png", "--label", "-o", tmp_path).code == 0
    with PILImage.open(tmp_path / "labels_warped.png") as warped:
        assert warped.mode == "P"
        np.testing.assert_array_equal(np.asarray(warped)[:-3], labels[3:])
        assert not np.asarray(warped)[-3:].any()
        assert warped.convert("RGB").getpixel((7, 10)) == (200, 0, 0)


def test_colours_on_white_stay_on_white(cli, tmp_path):
    colours = np.full((40, 30, 3), 255, np.uint8)
    colours[10:20, 5:15] = 200, 0, 0
    PILImage.fromarray(colours).save(tmp_path / "labels.png")
    write_field(np.stack([np.full((40, 30), 3.0), np.zeros((40, 30))]), Grid((40, 30)), tmp_path / "f.mha")
    assert cli("apply", tmp_path / "f.mha", tmp_path / "labels.png", "--label", "-o", tmp_path).code == 0
    warped = np.asarray(PILImage.open(tmp_path / "labels_warped.png"))
    np.testing.assert_array_equal(warped[:-3], colours[3:])
    assert (warped[-3:] == 255).all()


def test_a_soft_mask_is_warped_as_a_mask(cli, tmp_path):
    soft = np.zeros((40, 30), np.uint8)
    soft[10:20, 5:15], soft[12:18, 7:13] = 100, 255
    PILImage.fromarray(soft).save(tmp_path / "soft.png")
    write_field(np.zeros((2, 40, 30)), Grid((40, 30)), tmp_path / "f.mha")
    apply = ("apply", tmp_path / "f.mha", tmp_path / "soft.png", "-o", tmp_path, "--label-threshold", 127)
    assert "give --label" in cli(*apply).err
    assert cli(*apply, "--label").code == 0
    np.testing.assert_array_equal(np.asarray(PILImage.open(tmp_path / "soft_warped.png")), (soft > 127) * 255)
