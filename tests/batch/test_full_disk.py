"""A disk that is really full in the middle of a batch: a small file system in memory, mounted for the test."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.batch.conftest import QUICK

PAIRS = 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Of 200 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("NOT ROOT: no file system can be mounted, so no disk was filled")
    line = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)]
    made = subprocess.run(line, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"NO MOUNT: {made.stderr.strip()}, so no disk was filled")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_leaves_whole_pairs_and_no_others(cli: Callable, table: Callable, disk: Path, jobs: int):
    """And where there is place again, the rest is done."""
    pairs, out = table(PAIRS), disk / "out"
    ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", jobs, "--outputs", "warped,field")
    assert ended.code == 1
    assert "No space left on device" in ended.err
    places = [path for path in out.iterdir() if path.is_dir() and path.name != ".batch"]
    assert 0 < len(places) < PAIRS
    for place in places:
        status = json.loads((place / "status.json").read_text())
        assert status["status"] == "done"
        assert {name: (place / name).stat().st_size for name in status["files"]} == status["files"]
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    ended = cli("batch", pairs, "-o", out, *QUICK, "--jobs", jobs, "--outputs", "warped,field", "--resume")
    assert ended.code == 0, ended.err
    assert f"{PAIRS - len(places)} done, {len(places)} were done before" in ended.out
