"""Where a command is: one line on standard error while it works, only on terminals."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cnnreg.cli import console

if TYPE_CHECKING:
    from rich.progress import Progress

LIBRARIES = "loading the libraries"
STAGES = {  # what the stages of the pipeline are called
    "model": "loading the model",
    "read": "reading the images",
    "align": "finding the initial transform",
    "affine": "finding the initial transform",
    "predict": "predicting",
    "adapt": "iterating",
    "measure": "measuring",
    "warp": "warping",
    "judge": "assessing the result",
    "invert": "inverting the field",
    "write": "writing the results",
}


class Display:
    """The stage that a command is in, and how much of it is done; nothing where no ``bar`` is wanted.

    ``iterations`` is how many there will be in the stage "adapt".
    """

    def __init__(self, bar: "Progress | None" = None, iterations: int = 0) -> None:
        self._bar, self.iterations = bar, iterations
        self._task: Any = None
        self.stage(LIBRARIES)

    def stage(self, name: str, total: float | None = None, *, count: bool = True) -> None:
        """Another stage begins: of the pipeline, or in words; ``total`` is what its parts add up to, where known.

        ``count`` shows how many are done, of how many, and not per cent.
        """
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            total = self.iterations if name == "adapt" else total
            self._task = self._bar.add_task(STAGES.get(name, name), total=total, note="", count=count)

    def at(self, done: float, note: str = "") -> None:
        """So much of the stage is done."""
        if self._bar:
            self._bar.update(self._task, completed=done, note=note)

    def step(self, done: int, terms: Mapping[str, float]) -> None:
        """So many iterations are done; the cost is what they make smaller."""
        self.at(done, f"cost {terms['total']:.3f}" if "total" in terms else "")

    def track(self, items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
        """The items, counted as they are used."""
        self.stage(title, total)
        for done, item in enumerate(items, 1):
            yield item
            self.at(done)


@contextmanager
def display(*, quiet: bool, iterations: int = 0) -> Iterator[Display]:
    """Shows the stages of a command while the block runs, from the loading of libraries on.

    Off where standard error is no terminal, and with ``quiet``.
    """
    if quiet or not sys.stderr.isatty():
        yield Display(iterations=iterations)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
    from rich.text import Text

    class Amount(ProgressColumn):
        """A bar in stages that have parts."""

        bar = BarColumn(bar_width=20)

        def render(self, task: Task) -> Any:
            return self.bar.render(task) if task.total else Text("")

    class Numbers(ProgressColumn):
        """How much of how much, and the time: still to go where that is known, so far elsewhere."""

        def render(self, task: Task) -> Text:
            left = task.time_remaining if task.total else None
            words = [task.fields["note"], _clock(task.elapsed or 0) if left is None else f"{_clock(left)} left"]
            if task.total:
                counted = f"{task.completed:g}/{task.total:g}"
                words.insert(0, counted if task.fields["count"] else f"{task.percentage:.0f} %")
            return Text("  ".join(word for word in words if word))

    columns = SpinnerColumn("line"), TextColumn("{task.description}"), Amount(), Numbers()
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5) as bar:
        yield Display(bar, iterations)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def training(shown: Display, *, quiet: bool, title: str = "training") -> Callable[[int, int, str], None]:
    """Shows (step, steps, note) of a training: on a terminal in the line of ``shown``, elsewhere a line a tenth."""
    begun = False

    def show(step: int, steps: int, note: str) -> None:
        nonlocal begun
        if not begun:
            shown.stage(title, steps)
            begun = True
        shown.at(step, note)

    def line(step: int, steps: int, note: str) -> None:
        if step % max(steps // 10, 1) == 0 or step == steps:
            console.log(f"{title}: step {step} of {steps}, {note}")

    return show if quiet or sys.stderr.isatty() else line
