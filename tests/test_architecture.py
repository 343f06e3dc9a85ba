"""The shape of the package: imports point downwards, and the command line imports nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cnnreg"

RANKS = {
    "defaults": 0,
    "errors": 0,
    "watching": 0,
    "files": 1,
    "formats": 1,
    "config": 1,
    "adam": 1,
    "fields": 1,
    "similarity": 1,
    "correlation": 1,
    "regularity": 1,
    "metrics": 1,
    "devices": 1,
    "decoding": 2,
    "image": 3,
    "objective": 2,
    "network": 2,
    "transform": 4,
    "intensities": 4,
    "transformfile": 4,
    "exchange": 5,
    "strain": 4,
    "picture": 3,
    "tables": 3,
    "augmentation": 3,
    "modelstore": 3,
    "dataset": 5,
    "mirroring": 6,
    "affine": 2,
    "padding": 2,
    "filters": 1,
    "measures": 1,
    "landmarks": 2,
    "descriptors": 1,
    "alignment": 3,
    "evaluation": 6,
    "adaptation": 6,
    "pyramid": 5,
    "refinement": 6,
    "initial": 4,
    "training": 6,
    "demo": 6,
    "system": 6,
    "pipeline.setup": 7,
    "pipeline": 8,
    "study": 9,
    "report": 9,
    "cli": 10,
    "__main__": 11,
    "__init__": 0,
}


def rank(module: str) -> int:
    """The rank of ``cnnreg.<module>``, by its longest listed prefix."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[:length])) in RANKS:
            return RANKS[name]
    raise AssertionError(f"cnnreg.{module} has no rank: add it to RANKS")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> list[str]:
    """Every cnnreg module that a file imports, as dotted names below cnnreg."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cnnreg"):
            base = node.module.removeprefix("cnnreg").lstrip(".")
            for alias in node.names:
                nested = f"{base}.{alias.name}".lstrip(".")
                exists = (PACKAGE / nested.replace(".", "/")).with_suffix(".py").exists()
                exists = exists or (PACKAGE / nested.replace(".", "/")).is_dir()
                found.append(nested if exists else base or "__init__")
    return found


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_downwards(path):
    """A module imports only from lower ranks; within pipeline, study and cli, siblings may share."""
    own = name_of(path)
    for imported in imports(path):
        siblings = own.split(".")[0] == imported.split(".")[0] in {"pipeline", "study", "cli"}
        assert siblings or rank(imported) < rank(own), f"{own} imports {imported}"


HOMES = {"SimpleITK": {"decoding", "image", "mirroring", "transformfile", "devices"}, "typer": {"cli"}}


@pytest.mark.parametrize(("library", "homes"), HOMES.items())
def test_libraries_stay_in_their_place(library, homes):
    """SimpleITK is the business of images and alignment (of devices: its threads), Typer that of the CLI."""
    for path in modules():
        names = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        if library in names:
            assert name_of(path).split(".")[0] in homes


def test_no_module_is_long():
    """Every file can be read in one sitting."""
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in modules()}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


@pytest.mark.parametrize("arguments", [["--help"], ["register", "--help"], ["models", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    """No torch, SimpleITK, numpy, SciPy or scikit-image for a page of help."""
    code = (
        f"import sys; from cnnreg.cli.main import run; code = run({arguments!r});"
        "heavy = {'torch', 'SimpleITK', 'numpy', 'scipy', 'skimage', 'PIL'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cnnreg" in done.stdout
