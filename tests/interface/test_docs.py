"""The code of docs/python.md runs, in order, in an empty folder."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def test_the_page_runs(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    names: dict = {}
    exec("\n".join(blocks), names)
    assert (tmp_path / "registered.png").is_file()
    assert (tmp_path / "result" / "field.mha").is_file()
    np.testing.assert_allclose(names["back"], [[20, 15], [60, 80]], atol=0.1)
    assert np.array_equal(names["again"], names["on_fixed"])
    assert names["results"][0].warped.shape == names["fixed"].shape
