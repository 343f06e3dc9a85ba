"""Landmarks as other tools write them: the same points from every layout, or a sentence that says what to change."""

import numpy as np
import pytest

from cnnreg.errors import TableError
from cnnreg.images.image import Grid
from cnnreg.pairs.dataset import read_landmarks
from cnnreg.pairs.pointfiles import read_point_rows, read_points
from cnnreg.pairs.pointunits import check_inside

POINTS = np.array([[20.5, 3.25], [7.0, 40.0]])  # row, column


@pytest.mark.parametrize(
    "text",
    [
        "x,y\n3.25,20.5\n40,7\n",
        "\ufeffx,y\r\n3.25,20.5\r\n40,7\r\n",
        "x, y\n3.25, 20.5\n40, 7\n",
        ",X,Y\n1,3.25,20.5\n2,40,7\n",
        " ,Area,Mean,X,Y\n1,0,118,3.25,20.5\n2,0,5,40,7\n",
        "x;y\n3,25;20,5\n40;7\n",
        "x\ty\n3.25\t20.5\n40\t7\n",
        "index,axis-0,axis-1\n0,20.5,3.25\n1,7,40\n",
        "point\n2\n3.25 20.5\n40 7\n",
        "index\n2\n3.25 20.5\n40 7\n",
        '"Pt-0","true","0","0","3.25","20.5"\n"Pt-1","false","1","1","1","1"\n"Pt-2","true","0","0","40","7"\n',
        "name,y,x\np,20.5,3.25\nq,7,40\n",
        "x\ty\n3,25\t20,5\n40\t7\n",
        "x y\n3.25 20.5\n40   7\n",
    ],
)
def test_the_same_points_from_every_layout(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    assert np.array_equal(read_points(tmp_path / "p.csv"), POINTS)


def test_bigwarp_holds_both_images(tmp_path):
    (tmp_path / "p.csv").write_text('"Pt-0","true","3.25","20.5","1","2"\n"Pt-1","true","40","7","3","4"\n')
    assert np.array_equal(read_points(tmp_path / "p.csv", moving=True), POINTS)
    assert np.array_equal(read_points(tmp_path / "p.csv"), [[2, 1], [4, 3]])


def test_names_in_latin_1(tmp_path):
    (tmp_path / "p.csv").write_bytes("näme,x,y\nä,3.25,20.5\nö,40,7\n".encode("latin-1"))
    assert np.array_equal(read_points(tmp_path / "p.csv"), POINTS)
    assert [row["näme"] for row in read_point_rows(tmp_path / "p.csv")] == ["ä", "ö"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x,y,x\n1,2,3\n", "has the column x 2 times; leave one"),
        ("X,y,x\n1,2,3\n", "has the column x 2 times; leave one"),
        ("index,axis-0,axis-1,axis-2\n0,1,2,3\n", "points of three dimensions"),
        ("point\n3\n1 2\n", "not as elastix writes points"),
        ("u,v\n1,2\n", "lacks the column x, y; its columns are u, v; expected"),
        ("x,y\n1,\n", "line 2: there is nothing in the column y"),
        ("x,y\n1,2,3\n", "more cells than the header has columns"),
        ("x,y\n1,nan\n", "must hold finite numbers"),
        ("x,y\n1,a\n", "must hold numbers in every row"),
        ("x,y\n", "no rows below its header"),
        ("3.25,20.5\n40,7\n", "its first line holds numbers: put a line x,y above"),
        ("3.25 20.5\n40 7\n", "its first line holds numbers: put a line x,y above"),
        ('{"markups": [\n', "is JSON"),
        ("point\n0\n", "has no points"),
        ('"Pt-0","true","1","2","3","4","5","6"\n', "points of three dimensions"),
        ('"Pt-0","false","1","2","3","4"\n', "has no points"),
        ('"Pt-0","true","1","2","Infinity","Infinity"\n', "a point that is set in one of the images only"),
        ("", "is empty"),
    ],
)
def test_what_is_ambiguous_is_an_error(tmp_path, text, sentence):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(TableError, match=sentence):
        read_points(tmp_path / "p.csv")


def test_landmarks_outside_of_their_image_are_told():
    """One is a word, all are an error that names the units or the order that fit."""
    grid = Grid((40, 80), (0.5, 0.5), (100.0, 200.0), unit="mm")
    inside = np.array([[5.0, 60.0], [39.0, 79.0]])
    assert check_inside(inside, grid, which="fixed", physical=False) == ""
    note = check_inside(np.r_[inside, [[90.0, 3.0]]], grid, which="fixed", physical=False)
    assert note == "1 of 3 landmarks of the fixed image lie outside of its 80 x 40 pixels"
    in_mm = grid.to_physical(inside)[:, ::-1]
    half_out = np.array([[10.0, 10.0], [36.0, 70.0], [2.0, 3.0]])
    mm = Grid((40, 80), (2.0, 2.0), unit="mm")
    note = check_inside(mm.to_physical(half_out)[:, ::-1], mm, which="fixed", physical=False)
    assert note.endswith("80 x 40 pixels; they look like mm: give --physical")
    for points, physical, hint in (
        (in_mm, False, "they look like mm: give --physical"),
        (grid.to_pixels(inside[:, ::-1]), True, "they look like pixels: leave --physical out"),
        (np.array([[60.0, 5.0], [79.0, 20.0]]), False, "they look like y, x"),
        (np.array([[1e4, 1e4]]), False, "check that they belong to this image"),
    ):
        with pytest.raises(TableError, match=hint):
            check_inside(points, grid, which="moving", physical=physical)


def test_units_mistaken_are_told_even_where_all_points_lie_inside():
    """Finely sampled images: mm taken for pixels crowd in the corner; coarse ones: pixels taken for mm do."""
    points = np.random.default_rng(0).uniform(1, (38, 78), (6, 2))  # row, column
    fine, coarse = (Grid((40, 80), (s, s), unit="mm") for s in (0.25, 3.0))
    note = check_inside(fine.to_physical(points)[:, ::-1], fine, which="fixed", physical=False)
    assert note == "all landmarks of the fixed image crowd in its corner; they look like mm: give --physical"
    note = check_inside(coarse.to_pixels(points[:, ::-1]), coarse, which="moving", physical=True)
    assert note == "all landmarks of the moving image crowd in its corner; they look like pixels: leave --physical out"
    for grid in (fine, coarse, Grid((40, 80))):
        for physical in (False, True):
            assert check_inside(points, grid, which="fixed", physical=physical) == ""
    assert check_inside(points[:2] / 5, fine, which="fixed", physical=False) == ""  # too few to tell


def test_a_file_that_says_its_units_is_believed(tmp_path):
    """elastix writes index or point above its numbers."""
    (tmp_path / "p.pts").write_text("index\n1\n1 2\n")
    (tmp_path / "q.csv").write_text("x,y\n1,2\n")
    grids = Grid((40, 80)), Grid((40, 80))
    assert np.array_equal(read_landmarks(tmp_path / "p.pts", tmp_path / "q.csv")[0], [[2, 1]])
    with pytest.raises(TableError, match="holds pixels, as its first line, index, says; leave --physical out"):
        read_landmarks(tmp_path / "p.pts", tmp_path / "q.csv", physical=grids)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_encodings(tmp_path, encoding):
    """Excel's Unicode text among them."""
    (tmp_path / "p.txt").write_bytes("x\ty\tn\n3.25\t20.5\tä\n40\t7\tö\n".encode(encoding))
    assert np.array_equal(read_points(tmp_path / "p.txt"), POINTS)
