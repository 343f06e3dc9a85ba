"""Every case on every pair: in this process or in several, each result saved as soon as it is there."""

import multiprocessing
import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cnnreg.config import preset
from cnnreg.devices import prepare_cpu
from cnnreg.errors import CnnregError
from cnnreg.evaluation.measure import Evidence, measure
from cnnreg.pipeline.registration import deform
from cnnreg.pipeline.setup import Setup, Stopwatch, load
from cnnreg.processes import follow_parent
from cnnreg.study import elastix
from cnnreg.study.cases import Case
from cnnreg.study.cohort import Cohort, Loader

MEASURES = ("dsc", "cmd_px", "cmd_mm", "hd95_px", "hd95_mm", "mad", "folding_percent", "sd_log_jacobian", "seconds")
Task = tuple[Case, int]  # the case, and the pair's number in the test table, from 1
Outcome = tuple[int, str, dict[str, float | None]]


@dataclass(frozen=True)
class Plan:
    """All that a process needs to know."""

    cohort: Cohort
    models: dict[str, Path]  # by role
    elastix: elastix.ElastixParameters | None
    device: str
    threads: int
    seed: int


def measures_of(cohort: Cohort) -> list[str]:
    """The measures of every pair and case, in order."""
    return [*MEASURES, *(f"dsc {name}" for name in cohort.labels.values())]


class Runner:
    """Runs tasks one after another; the last pair stays in memory, models are read anew for each."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.load_pair = plan, Loader(plan.cohort, "test")
        prepare_cpu(plan.threads)

    def __call__(self, task: Task) -> Outcome:
        case, number = task
        plain = self.load_pair(number - 1)
        field, seconds = self._field(case, number)
        evidence = Evidence(
            plain.fixed.grid,
            plain.moving.grid,
            plain.fixed_input,
            plain.moving_own,
            plain.seg_fixed,
            plain.seg_moving,
        )
        found = measure(evidence, field)
        overlap = found.pop("overlap", {})
        values = {name: found.get(name, overlap.get(name)) for name in MEASURES} | {"seconds": seconds}
        labels = overlap.get("labels", {})
        values |= {f"dsc {name}": labels.get(str(n), {}).get("dsc") for n, name in self.plan.cohort.labels.items()}
        return number, case.key, values

    def _field(self, case: Case, number: int) -> tuple[torch.Tensor, float]:
        """The field, and the seconds that it took: from intensities in memory to the field, models loaded."""
        plan = self.plan
        pair = self.load_pair(number - 1)
        if case.kind == "none":
            return torch.zeros(1, 2, *pair.fixed.grid.size), 0.0
        if case.kind == "elastix":
            assert plan.elastix
            start = time.perf_counter()
            field = elastix.register(pair.fixed_input, pair.moving_input, plan.elastix, threads=plan.threads)
            return field, time.perf_counter() - start
        config = preset(case.preset)
        steps = config.adaptation.steps if case.steps is None else case.steps
        config = replace(config, adaptation=replace(config.adaptation, steps=steps))
        if case.feature_steps is not None:
            changes = {
                "adaptation": {"target": "features", "feature_steps": case.feature_steps},
                "refinement": {"transform": "dense"},  # as the other rows: the images are of one kind
            }
            config = config.override(changes, source=f"row {case.key}")
        name = str(plan.models[case.start]) if case.start else "none"
        model, config = load(Setup(config, name, seed=plan.seed))  # anew for each pair: nothing leaks from the last
        watch = Stopwatch()
        fields, _ = deform(self.load_pair(number - 1, config.input), model, config, device=plan.device, watch=watch)
        return list(fields.values())[-1], sum(watch.seconds.values())


def tasks_of(cases: list[Case], pairs: int, *, limit: int | None, long_limit: int | None, seed: int) -> list[Task]:
    """Pair by pair, the long cases last; a limit takes a random part, which a larger limit only adds to."""
    order = list(range(1, pairs + 1))
    random.Random(seed).shuffle(order)
    order = order[:limit]
    short, long = ([case for case in cases if case.long is kind] for kind in (False, True))
    return [(case, n) for n in sorted(order) for case in short] + [
        (case, n) for n in order[:long_limit] for case in long
    ]


def run(plan: Plan, tasks: list[Task], *, jobs: int, on_done: Callable[[Task, Outcome], None]) -> None:
    """Run all tasks in ``jobs`` processes; ``on_done`` is told each outcome, here, when it is there.

    Raises:
        CnnregError: of the first task that fails; what had been done before is kept.
    """
    if jobs == 1:
        runner = Runner(plan)
        for task in tasks:
            on_done(task, runner(task))
        return
    context = multiprocessing.get_context("spawn")  # a forked torch cannot use CUDA, nor its own threads
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(plan,)) as pool:
        try:
            futures = {pool.submit(_work, task): task for task in tasks}
            for future in as_completed(futures):
                on_done(futures[future], future.result())
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise CnnregError(
                    "a process of the study was killed, perhaps for want of memory; try fewer --jobs"
                ) from None
            raise


_runner: Runner | None = None  # of a child process


def _begin(plan: Plan) -> None:
    global _runner
    follow_parent()
    _runner = Runner(plan)


def _work(task: Task) -> Outcome:
    assert _runner
    return _runner(task)
