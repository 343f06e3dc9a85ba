"""Files that are written whole or not at all, and the hashes that tell them apart."""

import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from cnnreg.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

REPORT, PAGE = "report.json", "report.html"  # the first lists what a run has written
PREVIEW = "preview.json"  # in a pair's folder, from which the page of a batch is made
PARTIAL = ".partial-"
IMAGES = {"png", "tif", "tiff", "bmp", "mha", "nii", "nii.gz", "nrrd"}  # suffixes of images that are written


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, with the same suffixes, that takes its place when the block ends well.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=partial_prefix(), suffix="".join(path.suffixes[-2:]), dir=path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only the owner can read
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def claim(folder: Path) -> None:
    """Make sure that files can be written to ``folder``, which need not exist yet.

    Raises:
        OutputError: it is a file or a broken link, or neither it nor the nearest folder above it can be written to.
    """
    try:
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists() or p.is_symlink())
        if not existing.is_dir():
            what = "a link to nowhere" if existing.is_symlink() and not existing.exists() else "a file"
            raise OutputError(f"cannot write to the folder {folder}: {existing} is {what}")
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise OutputError(f"cannot write to the folder {folder}: {error.strerror}") from None


def claim_results(folder: Path, names: Iterable[str], *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Like :func:`claim`, and that nothing stands where the results ``names`` go but, to ``overwrite``, earlier ones.

    ``names`` are file names, or, with ``*`` for a suffix, those of images. The one that ends in ``.json`` is the
    report, which lists under ``files`` what a run has written: that alone is an earlier result.

    Raises:
        OutputError: results lie there and ``overwrite`` is off; or what is no result, or is one of ``inputs``.
    """
    claim(folder)
    ours, others = _standing(folder, tuple(names))
    refuse_inputs([*ours, *others], inputs)
    if others:
        raise OutputError(
            f"{others[0]} lies where a result would go, but no report of cnnreg lists it; "
            f"move it away, or give another folder with -o"
        )
    if ours and not overwrite:
        raise OutputError(
            f"{ours[0]} exists; give --overwrite to replace the results in {folder}, or another folder with -o"
        )


def refuse_inputs(targets: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Make sure that no input is written over, whatever the user says.

    Raises:
        OutputError: a target is an input, perhaps by another name.
    """
    if taken := {path.resolve() for path in inputs} & {path.resolve() for path in targets}:
        raise OutputError(f"{taken.pop()} is an input and lies where a result would go; give another place with -o")


def _standing(folder: Path, names: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """What stands where results go: those of earlier runs, which a report lists, and what is somebody else's."""
    there = [path for path in sorted(folder.iterdir()) if _is_name_of(path.name, names)] if folder.is_dir() else []
    listed = {name for report in names if report.endswith(".json") for name in _listed(folder / report)}
    ours = [path for path in there if path.name in listed and not path.is_dir()]
    return ours, [path for path in there if path not in ours]


def _is_name_of(name: str, names: Iterable[str]) -> bool:
    image = name.partition(".")[2].lower() in IMAGES
    return name in names or (image and any(fnmatchcase(name, pattern) for pattern in names))


def _listed(report: Path) -> set[str]:
    """Names of the files that a report says it was written with."""
    try:
        return {Path(file).name for file in json.loads(report.read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


@contextmanager
def publishing(folder: Path, *, replaces: Iterable[str], overwrite: bool = True) -> Iterator[Path]:
    """A temporary folder whose files move to ``folder`` when the block ends well, all of them or none.

    Files there that are earlier results, by ``replaces``, go; others are left alone. What was not there when
    :func:`claim_results` looked has come from another process, which was quicker, and stays.
    """
    replaces = tuple(replaces)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clean(folder)
        staging = Path(tempfile.mkdtemp(prefix=partial_prefix(), dir=folder))
    except OSError as error:
        raise OutputError(f"cannot write to the output folder {folder}: {error.strerror}") from None
    try:
        yield staging
        with locked(folder):
            ours, others = _standing(folder, replaces)
            if foreign := [*others, *([] if overwrite else ours)]:
                raise OutputError(
                    f"{foreign[0]} was written by another run in the meantime; give another folder with -o"
                )
            for stale in ours:
                stale.unlink()
            for file in staging.iterdir():
                file.replace(folder / file.name)
    except OutputError as error:
        raise OutputError(str(error).replace(str(staging), str(folder))) from None
    except OSError as error:
        raise OutputError(f"cannot write the results to {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def partial_prefix() -> str:
    """Of temporary names: whose they are."""
    return f"{PARTIAL}{socket.gethostname()}-{os.getpid()}-"


def clean(folder: Path) -> None:
    """Remove what runs on this machine that were killed left behind."""
    own = f"{PARTIAL}{socket.gethostname()}-"
    for left in folder.glob(f"{PARTIAL}*"):
        process = left.name.removeprefix(own).split("-")[0]
        if left.name.startswith(own) and process.isdigit() and not _alive(int(process)):
            shutil.rmtree(left, ignore_errors=True)
            if left.is_file():
                left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time, where the system and the file system can do that."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Hold a lock file while the block runs; False where another process does.

    True also where the system or the file system has no locks.
    """
    with path.open("w") as file:
        free = True
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                free = False
            except OSError:
                pass
        yield free


def write_text(text: str, path: Path) -> None:
    """Write ``text`` to ``path``, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def stem(path: Path) -> str:
    """A file's name without its suffix, ``.nii.gz`` being one."""
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
