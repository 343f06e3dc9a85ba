"""The memory of a job: the least limit of its control groups, where there is one."""

from pathlib import Path

import pytest

from cnnreg import memory

VERSIONS = {
    "2": ("0::/jobs/one\n", "", "memory.max"),
    "1": ("4:memory:/jobs/one\n0::/\n", "memory", "memory.limit_in_bytes"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("limits", "expected"), [((8, 5, 6), 5), ((None, None, 7), 7), ((None, 3, None), 3)])
def test_the_least_limit_on_the_way_holds(version: str, limits: tuple[int | None, ...], expected: int, tmp_path: Path):
    own, folder, name = VERSIONS[version]
    (tmp_path / "own").write_text(own)
    place = tmp_path / folder
    for below, limit in zip(("", "jobs", "one"), limits, strict=True):
        place /= below
        place.mkdir(exist_ok=True)
        (place / name).write_text("max\n" if limit is None else f"{limit}\n")
    assert memory.job_limit(tmp_path / "own", tmp_path) == expected


def test_without_control_groups_there_is_no_limit(tmp_path: Path):
    assert memory.job_limit(tmp_path / "none", tmp_path) == memory.UNKNOWN
    (tmp_path / "own").write_text("3:memory:/gone\n")
    assert memory.job_limit(tmp_path / "own", tmp_path) == memory.UNKNOWN


def test_there_is_some_memory():
    assert 2**20 < memory.available() < 2**63
