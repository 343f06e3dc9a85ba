"""What can be known to be wrong before anything runs."""

from pathlib import Path

from cnnreg.batch.table import refuse
from cnnreg.batch.task import Task
from cnnreg.learning import modelplaces


def check_files(table: Path, tasks: list[Task]) -> None:
    """Make sure that every input is a file.

    Raises:
        TableError: some are missing; they are named together.
    """
    users: dict[Path, list[str]] = {}
    for task in tasks:
        for path in task.files.values():
            users.setdefault(path, []).append(task.pair_id)
    missing = [(path, names) for path, names in users.items() if not path.is_file()]
    refuse(table, [f"there is no file {path} ({_named(names)})" for path, names in missing])


def _named(pairs: list[str]) -> str:
    return f"pair {pairs[0]}" if len(pairs) == 1 else f"{pairs[0]} and {len(pairs) - 1} other pairs"


def check_models(tasks: list[Task]) -> None:
    """Make sure that every model is there, and fetched.

    Raises:
        CnnregError: one is not known.
    """
    names = {name for task in tasks for name in (task.setup.model, task.setup.config.alignment.features)}
    for name in sorted(names - {"none"}):
        modelplaces.find(name)
