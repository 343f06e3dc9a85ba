"""Tables as people have them, names of pairs, options in rows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cnnreg.batch.table import name_pairs, read_rows
from cnnreg.cli import rows as row_options
from cnnreg.cli.batch import read_tasks
from cnnreg.errors import CnnregError, TableError, UsageError
from tests.conftest import smooth_pair, write_png

TEXT = 'pair_id;fixed;Moving\r\n"two\r\nlines";"a b.png";"Bilder/ä;ö.png"\r\n;;\r\nx; c.png ;d.png\r\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_spreadsheets(tmp_path: Path, encoding: str):
    """Byte order mark, CRLF, semicolons, quoted line breaks, spaces, umlauts, empty lines."""
    path = tmp_path / "t.csv"
    path.write_bytes(TEXT.encode(encoding))
    columns, rows = read_rows(path)
    assert columns == ["pair_id", "fixed", "moving"]
    assert rows[0].cells == {"pair_id": "two\r\nlines", "fixed": "a b.png", "moving": "Bilder/ä;ö.png"}
    assert rows[1].cells == {"pair_id": "x", "fixed": "c.png", "moving": "d.png"}
    assert [row.line for row in rows] == [2, 5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "lacks the column fixed and moving; its columns are a, b"),
        ("fixed,moving,fixed\na,b,c\n", "has the column fixed twice"),
        ("fixed,moving\n", "no rows below"),
        ("fixed,moving\na,b,c\n", "line 2: there are more cells"),
        ('fixed,moving\na,"b\n', "is not CSV"),
        ("", "its columns are none"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, said: str):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=said):
        read_rows(path)


def test_a_table_in_latin_1_is_refused(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_bytes("fixed,moving\nä,b\n".encode("latin-1"))
    with pytest.raises(TableError, match="save it as 'CSV UTF-8'"):
        read_rows(path)


def names(tmp_path: Path, *ids: str) -> list[str]:
    path = tmp_path / "t.csv"
    path.write_text(
        "pair_id,fixed,moving\n" + "".join(f'"{name}",d{n}/f.png,d{n}/m.png\n' for n, name in enumerate(ids))
    )
    return name_pairs(path, read_rows(path)[1])


def test_names_are_made_where_there_are_none(tmp_path: Path):
    """From the images' names, never one that another row has."""
    assert names(tmp_path, "", "m_to_f_2", "", "") == ["m_to_f", "m_to_f_2", "m_to_f_3", "m_to_f_4"]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (("a", "b", "a"), "lines 2 and 4 have the same pair_id a"),
        (("a", "A"), "same pair_id"),
        (("a\u0301", "\u00e1"), "same pair_id"),
        (("../a",), "holds a slash"),
        (("a\nb",), "control character"),
        ((".batch",), "begins with a dot"),
        (("summary.csv",), "ends like a file"),
        (("x" * 201,), "longer than 200 bytes"),
    ],
)
def test_names_that_cannot_be_folders(tmp_path: Path, ids: tuple[str, ...], said: str):
    with pytest.raises(TableError, match=said):
        names(tmp_path, *ids)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name, image in zip(("f.png", "m.png"), smooth_pair(), strict=True):
        write_png(tmp_path / name, image)
    return tmp_path


def tasks_of(folder: Path, text: str, **given: object):
    (folder / "t.csv").write_text(text)
    return read_tasks(folder / "t.csv", given)


def test_a_row_overrides_the_command_line(images: Path):
    """Where a cell is empty, the command line holds; also switches can be taken back."""
    text = "fixed,moving,iterations,metric,no-mirror,init\nf.png,m.png,7,mattes,false,\nf.png,m.png,,,,rigid\n"
    first, second = tasks_of(images, text, adapt=3, no_mirror=True, init="none", seed=5)
    assert [task.setup.config.adaptation.steps for task in (first, second)] == [7, 3]
    assert [task.setup.config.refinement.similarity for task in (first, second)] == ["mi", "auto"]
    assert [task.setup.config.alignment.mirror for task in (first, second)] == ["auto", "never"]
    assert [task.setup.config.alignment.init for task in (first, second)] == ["none", "rigid"]
    assert {task.setup.seed for task in (first, second)} == {5}
    assert first.request.fixed == images / "f.png"


def test_all_missing_files_are_named_together(images: Path):
    with pytest.raises(TableError, match=r"no file .*/g\.png \(m_to_g and 1 other pairs\); .* no file .*/mask\.png"):
        tasks_of(images, "fixed,moving,fixed_mask\ng.png,m.png,\ng.png,m.png,mask.png\n")


def test_all_faults_of_rows_are_told_together(images: Path):
    """With their lines; in the words of the option."""
    text = "fixed,moving,adapt,spacing,physical\nf.png,m.png,many,,\nf.png,m.png,,1.25,yes\nf.png,m.png,,,maybe\n"
    with pytest.raises(TableError) as caught:
        tasks_of(images, text)
    told = str(caught.value)
    assert "line 2: Invalid value for '--adapt'" in told
    assert "line 3: --physical has no effect without landmarks" in told
    assert "line 4: physical must be true or false, got 'maybe'" in told


def test_columns_that_are_not_known(images: Path):
    with pytest.raises(UsageError, match=r"unknown column 'adpat': did you mean 'adapt'\? .*--keep adpat"):
        tasks_of(images, "fixed,moving,adpat\nf.png,m.png,3\n")


def test_every_option_of_register_is_a_column_or_of_the_run():
    """So that a new one is not forgotten."""
    names = {param.name for param in row_options._parser().params} - {"help"}
    assert names == set(row_options.columns().values()) | (row_options.OF_THE_RUN & names)


def test_kept_columns(images: Path):
    (images / "t.csv").write_text("fixed,moving,patient\nf.png,m.png,Müller\n")
    (task,) = read_tasks(images / "t.csv", {}, keep="patient")
    assert task.kept == (("patient", "Müller"),)
    with pytest.raises(CnnregError, match="unknown column of --keep 'visit'"):
        read_tasks(images / "t.csv", {}, keep="patient,visit")


def test_help_shows_the_options_of_rows(cli: Callable):
    text = cli("batch", "--help").out
    assert "--adapt" in text
    assert "--jobs" in text
    assert "--no-picture" not in text
