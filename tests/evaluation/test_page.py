"""``report.html`` as text, and what it stores of a pair. What it does in a browser: ``test_page_in_browser.py``."""

import base64
import hashlib
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from cnnreg.evaluation.page import writing
from cnnreg.evaluation.page.entries import Entry, entry_of, failure
from cnnreg.evaluation.page.preview import GRID_STEP, borders, encode_preview, preview_side
from cnnreg.evaluation.page.writing import page
from tests.conftest import smooth_image

SIZE = (45, 61)
REPORT = {
    "inputs": {"fixed": {"path": "a/f.png"}, "moving": {"path": "b/m.png"}},
    "metrics": {
        "before": {"ncc": 0.5, "overlap": {"dsc": 0.25}},
        "prediction": {"ncc": 0.6, "folding_percent": 9.0, "overlap": {"dsc": 0.5}},
        "adaptation": {"ncc": 0.75, "folding_percent": 0.5, "overlap": {"dsc": 0.875}},
    },
    "seconds": {"read": 0.5, "write": 1.0},
    "notes": ["one note"],
}


def stored(text: str, name: str = "data") -> dict:
    """What a block of the page holds."""
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)[1])


def make_preview(field: np.ndarray | None = None, jacobian: np.ndarray | None = None, **levels: float) -> dict:
    images = {name: np.full(SIZE, levels.get(name, 0.5)) for name in ("fixed", "moving", "warped")}
    field = np.zeros((2, *SIZE)) if field is None else field
    return json.loads(encode_preview(**images, field=field, jacobian=np.ones(SIZE) if jacobian is None else jacobian))


def panels(preview: dict) -> np.ndarray:
    with PILImage.open(io.BytesIO(base64.b64decode(preview["image"]))) as image:
        return np.asarray(image.convert("RGB")).reshape(4, -1, preview["size"][0], 3)[:, : preview["size"][1]]


def test_the_panels_are_fixed_moving_warped_and_jacobian():
    jacobian = np.ones(SIZE)
    jacobian[:, :20], jacobian[:, 20:40], jacobian[:, 40:] = 0.4, -1, 2.5
    fixed, moving, warped, area = panels(make_preview(jacobian=jacobian, fixed=1.0, moving=0.25, warped=0.75))
    assert [round(float(x.mean()) / 255, 2) for x in (fixed, moving, warped)] == [1.0, 0.25, 0.75]
    shrinks, folds, grows = (area[24, column].astype(int) for column in (10, 30, 52))
    assert shrinks[2] > shrinks[0] + 80
    assert grows[0] > grows[2] + 80
    assert folds.max() < 40


def test_the_grid_is_where_the_field_takes_the_nodes():
    """A shift by (3, -4) pixels; nodes of both ends are the centres of the outermost pixels."""
    field = np.stack([np.full(SIZE, 3.0), np.full(SIZE, -4.0)])
    preview = make_preview(field)
    nodes = np.frombuffer(base64.b64decode(preview["grid"]), "<i2").reshape(*preview["nodes"], 2) * GRID_STEP * SIZE
    assert preview["nodes"][1] > preview["nodes"][0] > 2
    assert np.abs(nodes[0, 0] - (0.5 + 3, 0.5 - 4)).max() < 0.02
    assert np.abs(nodes[-1, -1] - (44.5 + 3, 60.5 - 4)).max() < 0.02


def test_the_map_of_confidence_is_stored_in_bytes():
    confidence = np.stack([np.full((5, 8), 0.25), np.linspace(0, 1, 40).reshape(5, 8)])
    images = {name: np.full(SIZE, 0.5) for name in ("fixed", "moving", "warped", "jacobian")}
    preview = json.loads(encode_preview(**images, field=np.zeros((2, *SIZE)), confidence=confidence))
    values = np.frombuffer(base64.b64decode(preview["confidence"]["values"]), np.uint8)
    assert preview["confidence"]["size"] == [5, 8]
    assert np.abs(values.reshape(2, 5, 8) / 255 - confidence).max() < 0.003
    assert "confidence" not in make_preview()


def test_borders_lie_around_the_labels():
    """A rectangle at the image's rim and a disc: closed lines, to half a pixel; a lone pixel has none."""
    labels = np.zeros(SIZE, dtype=int)
    labels[0:10, 5:20] = 3
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    labels[np.hypot(rows - 30, columns - 40) < 9] = 7
    labels[44, 0] = 1
    lines = [np.frombuffer(base64.b64decode(x), "<i2").reshape(-1, 2) * GRID_STEP * SIZE for x in borders(labels)]
    assert len(lines) == 2
    assert all(np.array_equal(line[0], line[-1]) for line in lines)
    disc, rectangle = lines
    assert np.abs(rectangle.min(0) - (0, 5)).max() < 0.6
    assert np.abs(rectangle.max(0) - (10, 20)).max() < 0.6
    assert np.abs(np.hypot(*(disc - (30.5, 40.5)).T) - 9).max() < 1
    assert 6 < len(disc) < 60


def test_a_fold_of_one_pixel_survives_the_reduction():
    """Averaged with its neighbours it would vanish from the picture, and with it the warning."""
    from cnnreg.pipeline.seen import fold_keeping

    determinant = torch.ones(1, 1, 960, 720)
    determinant[0, 0, 500, 300] = -0.1
    reduced = fold_keeping(determinant, 96)
    assert reduced.shape == (1, 1, 96, 72)
    assert (reduced <= 0).sum() >= 1
    assert reduced[0, 0, 50, 30] <= 0


@pytest.mark.parametrize(("pairs", "side"), [(1, 640), (100, 640), (2000, 176), (10_000, 96), (1_000_000, 96)])
def test_the_more_pairs_the_smaller_their_images(pairs, side):
    assert preview_side(pairs) == side


def test_an_entry_has_the_first_and_the_last_state():
    entry = entry_of(REPORT | {"verdict": {"class": "check", "probability": 0.625, "reasons": ["why"]}}, pair_id="x")
    assert (entry.fixed, entry.moving, entry.verdict, entry.probability) == ("f.png", "m.png", "check", 0.625)
    assert entry.reasons == ("why", "note: one note")
    assert {ends.title: (ends.first, ends.last) for ends in entry.measures} == {
        "NCC": (0.5, 0.75),
        "DSC": (0.25, 0.875),
        "folding [%]": (None, 0.5),
        "time [s]": (None, 1.5),
    }


def test_columns_are_those_of_all_pairs_and_numbers_are_finite():
    """A pair without label maps, one with, one without registration; JSON has no infinity."""
    bare = entry_of({"metrics": {"before": {"ncc": float("nan")}, "after": {"ncc": 0.123456789}}}, pair_id="bare")
    data = stored(page([bare, entry_of(REPORT, pair_id="full"), failure("bad", "no file")], title="t"))
    late = entry_of({"metrics": {"after": {"mad": 0.5}}}, pair_id="late")  # of which a measure comes first
    assert next(iter(stored(page([bare, late], title="t"))["columns"]))[0] == "MAE (MAD)"
    assert [name for name, *_ in data["columns"]] == ["NCC", "DSC", "folding [%]", "time [s]"]
    assert data["entries"][0]["before"] == [None] * 4
    assert data["entries"][0]["after"] == [0.123457, None, None, None]
    assert (data["entries"][2]["verdict"], data["entries"][2]["reasons"]) == ("error", ["no file"])


def test_the_page_is_one_file_that_allows_its_own_script_alone():
    """Nothing is fetched, and the policy's hashes are those of the script and the style that stand in the page."""
    text = page([entry_of(REPORT, pair_id="x", preview='{"image":""}')], title="t")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"<(script|img|iframe|object)[^>]*\ssrc=|@import|url\(", text)
    assert re.findall(r'<link[^>]*href="([^"]*)"', text) == ["data:,"]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    for kind, content in (("script", r"<script>(.*?)</script>"), ("style", r"<style>(.*?)</style>")):
        digest = hashlib.sha256(re.search(content, text, re.S)[1].encode()).digest()
        assert f"{kind}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("name", ["</script><script>hack()</script>", "<!--<script>", "{{SCRIPT}}", "a\udcffb", "\\1"])
def test_names_are_text(name):
    """No name of a file opens or closes a tag, fills in a template, or cannot be written."""
    entry = Entry(name, fixed=name, moving=name, reasons=(name,), preview='{"image":""}')
    text, plain = page([entry], title=name), page([Entry("x", preview='{"image":""}')], title="x")
    text.encode()
    assert text.count("<script") == plain.count("<script")
    assert "<!--" not in text
    assert stored(text)["entries"][0]["id"] == name
    assert len(text) < len(plain) + 10 * len(name) + 100


def test_images_beyond_the_limit_are_those_of_good_pairs_and_it_is_said(monkeypatch):
    monkeypatch.setattr(writing, "MOST_BYTES", 250)
    entries = [Entry(str(n), verdict=v, preview="x" * 100) for n, v in enumerate(("good", "check", "good", "failed"))]
    text = page(entries, title="t")
    data = stored(text)
    assert [entry["shown"] for entry in data["entries"]] == [False, True, False, True]
    assert data["left_out"] == 2
    assert len(re.findall(r'id="p\d+"', text)) == 2


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_what_is_stored_of_a_pair_is_small(noise):
    """2000 pairs stay below 100 MB, even of noisy images, such as ultrasound; without noise below 60 MB."""
    side = preview_side(2000)
    image = smooth_image((side, side), scale=2.0)
    noisy = (image + noise * np.random.default_rng(0).standard_normal(image.shape)).clip(0, 1)
    text = encode_preview(
        fixed=noisy, moving=noisy, warped=noisy, field=np.zeros((2, side, side)), jacobian=image + 0.5
    )
    assert 2000 * len(text) < (100e6 if noise else 60e6)
