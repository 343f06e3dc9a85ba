"""Files that are written whole or not at all, and the hashes that tell them apart."""

import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnnreg.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

REPORT = "report.json"  # which lists what a run has written
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
        handle, name = tempfile.mkstemp(prefix=_prefix(), suffix="".join(path.suffixes[-2:]), dir=path.parent)
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

    ``names`` are file names, or, with ``*`` for a suffix that depends on the image, what a report lists as written.

    Raises:
        OutputError: results lie there and ``overwrite`` is off; or a file that is no result, or is one of ``inputs``.
    """
    claim(folder)
    names = tuple(names)
    ours = results(folder, names)
    if taken := {path.resolve() for path in inputs} & {path.resolve() for path in [*ours, *_strangers(folder, names)]}:
        raise OutputError(f"{taken.pop()} is an input and lies where a result would go; give another folder with -o")
    if strangers := _strangers(folder, names):
        raise OutputError(
            f"{strangers[0]} lies where a result would go, but no report of cnnreg lists it; "
            f"move it away, or give another folder with -o"
        )
    if ours and not overwrite:
        raise OutputError(
            f"{ours[0]} exists; give --overwrite to replace the results in {folder}, or another folder with -o"
        )


def results(folder: Path, names: Iterable[str]) -> list[Path]:
    """The earlier results in ``folder``: files of these names, and those that match one with ``*`` and are listed."""
    listed = _listed(folder)
    found = ((path, "*" not in name) for name in names for path in sorted(folder.glob(name)))
    return [path for path, certain in found if path.is_file() and (certain or path.name in listed)]


def _listed(folder: Path) -> set[str]:
    """Names of the files that a report in ``folder`` says it was written with."""
    try:
        files = json.loads((folder / REPORT).read_text(encoding="utf-8"))["files"]
        return {Path(file).name for file in files}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _strangers(folder: Path, names: Iterable[str]) -> list[Path]:
    """Files that are no results and would be written over: those of an image's suffix."""
    open_ended = [name for name in names if "*" in name]
    found = [path for name in open_ended for path in sorted(folder.glob(name)) if path.is_file()]
    listed = _listed(folder)
    return [path for path in found if path.name not in listed and path.name.partition(".")[2].lower() in IMAGES]


@contextmanager
def publishing(folder: Path, *, replaces: Iterable[str], overwrite: bool = True) -> Iterator[Path]:
    """A temporary folder whose files move to ``folder`` when the block ends well, all of them or none.

    Files there that are earlier results, by ``replaces``, go; others are left alone. Without ``overwrite`` there must
    be none: another process may have been quicker.
    """
    replaces = tuple(replaces)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clean(folder)
        staging = Path(tempfile.mkdtemp(prefix=_prefix(), dir=folder))
    except OSError as error:
        raise OutputError(f"cannot write to the output folder {folder}: {error.strerror}") from None
    try:
        yield staging
        with locked(folder):
            if not overwrite and (stale := results(folder, replaces)):
                raise OutputError(f"{stale[0]} was written by another run in the meantime; give another folder with -o")
            for stale_file in results(folder, replaces):
                stale_file.unlink()
            for file in staging.iterdir():
                file.replace(folder / file.name)
    except OutputError as error:
        raise OutputError(str(error).replace(str(staging), str(folder))) from None
    except OSError as error:
        raise OutputError(f"cannot write the results to {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _prefix() -> str:
    """Of temporary names: whose they are."""
    return f"{PARTIAL}{socket.gethostname()}-{os.getpid()}-"


def _clean(folder: Path) -> None:
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
