"""The shape of the package: imports point downwards, and the command line imports nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cnnreg"

FLOORS = [  # from the ground up: a module imports from its own folder and from the floors below it
    {
        "__init__",
        "config",
        "cores",
        "defaults",
        "devices",
        "errors",
        "files",
        "memory",
        "processes",
        "synonyms",
        "watching",
    },
    {"similarity"},
    {"images"},
    {"geometry"},
    {"engine"},
    {"pairs"},
    {"evaluation"},
    {"learning"},
    {"pipeline"},
    {"interface"},
    {"study"},
    {"batch"},
    {"cli"},
    {"__main__"},
]


def floor(module: str) -> int:
    """The floor of ``cnnreg.<module>``."""
    room = module.split(".")[0]
    return next(n for n, rooms in enumerate(FLOORS) if room in rooms)


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
    own = name_of(path)
    if own == "__init__":
        return  # it shows, under other names, what the interface has
    for imported in imports(path):
        below, ground = floor(imported) < floor(own), floor(imported) == floor(own) == 0
        assert below or ground or imported.split(".")[0] == own.split(".")[0], f"{own} imports {imported}"


def test_no_import_runs_in_a_circle():
    """Within a folder, too, there is a first module."""
    waiting = {name_of(path): set(imports(path)) - {name_of(path)} for path in modules()} | {"__init__": set()}
    while ready := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
    assert not waiting


HOMES = {"SimpleITK": {"images", "geometry", "pairs", "devices", "interface"}, "typer": {"cli"}}


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


def test_registering_loads_nothing_for_the_command_line_but_typer(tmp_path):
    """No pydantic and no rich, which take longer to import than a pair takes to read; nothing of other commands; and
    what trains, draws or makes random numbers only when that is asked for."""
    code = (
        "import sys; from cnnreg.cli.main import run; code = run(['register', 'a.png', 'b.png', '--threads', '1']);"
        "extra = {'pydantic', 'rich', 'scipy', 'skimage', 'PIL', 'numpy.random', 'cnnreg.cli.study'};"
        "of = 'cli.batch', 'learning.training', 'learning.features.views', 'evaluation.picture';"
        "extra |= {f'cnnreg.{module}' for module in of};"
        "extra &= set(sys.modules);"
        "sys.exit(f'imported {extra}' if extra else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == "error: cannot read a.png: No such file or directory\n"
