"""``cnnreg study``: train what is missing, run every case on every pair, write table and figure."""

import json
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cnnreg import defaults
from cnnreg.config import preset
from cnnreg.devices import prepare_cpu, resolve_device
from cnnreg.errors import ConfigError, OutputError
from cnnreg.evaluation.measure import Evidence, measure
from cnnreg.files import claim_results, write_text
from cnnreg.learning import modelcards, modelplaces, training
from cnnreg.pipeline.pretraining import TrainingRequest, train_model
from cnnreg.pipeline.setup import Setup
from cnnreg.pipeline.system import versions
from cnnreg.study import elastix, figure, runs
from cnnreg.study.cases import SOURCE, TARGET, all_cases, choose
from cnnreg.study.cohort import Cohort, Loader, read_cohort
from cnnreg.study.ledger import Ledger
from cnnreg.study.publication import SUMMARY, publish
from cnnreg.study.summary import Table

RESULTS, RECORD, GRID_SEARCH = "results.csv", "study.json", "elastix.csv"
FILES = (RESULTS, RECORD, GRID_SEARCH, SUMMARY, *figure.FILES)
SEARCH_PAIRS = 8  # training pairs of elastix's grid search


@dataclass(frozen=True)
class StudyRequest:
    """What ``cnnreg study`` was asked for."""

    source: Path
    target: Path
    folder: Path
    models: dict[str, str] = field(default_factory=dict)  # role -> model, for those that are not to be trained
    rows: str | None = None
    limit: int | None = None
    long_limit: int | None = None
    jobs: int = 1
    train_steps: int | None = None
    convergence: int = 3000
    resume: bool = False
    overwrite: bool = False
    device: str = "auto"
    threads: int | None = None
    seed: int = defaults.SEED
    command: str = "cnnreg study"


class Display(Protocol):
    """How a study shows that it goes on."""

    def training(self, role: str) -> AbstractContextManager[Callable[[training.Progress], None]]:
        """Watches one training."""

    def stage(self, title: str, total: float) -> AbstractContextManager[Callable[[float, str], None]]:
        """Watches a stage of ``total`` seconds or steps; told how much more is done, and a note."""


def conduct(request: StudyRequest, display: Display) -> list[Path]:
    """Do what is missing of a study and write its results; returns the files."""
    cohorts = {SOURCE: read_cohort(request.source), TARGET: read_cohort(request.target)}
    cases = choose(all_cases(request.convergence), request.rows)
    figure.require()
    if needs_elastix := any(case.kind == "elastix" for case in cases):
        elastix.require()
    _check(request, cohorts, display)
    _claim(request, cohorts)
    device, threads = resolve_device(request.device), prepare_cpu(request.threads)
    threads = max(1, threads // request.jobs)
    models = _models(request, cohorts, {case.start for case in cases if case.start}, display)
    prepare_cpu(threads)
    parameters = _search(cohorts[TARGET], request, threads, display) if needs_elastix else None
    record = _record(request, cohorts, models, parameters)
    ledger = Ledger(request.folder / RESULTS, runs.measures_of(cohorts[TARGET]))
    groups = cohorts[TARGET].groups()
    tasks = runs.tasks_of(cases, len(groups), limit=request.limit, long_limit=request.long_limit, seed=request.seed)
    tasks = [(case, n) for case, n in tasks if (n, case.key) not in ledger.results]
    plan = runs.Plan(cohorts[TARGET], models, parameters, device, threads, request.seed)
    start, before = time.perf_counter(), record["seconds"]
    with display.stage("registering", sum(map(_expected_seconds, tasks))) as advance:

        def done(task: runs.Task, outcome: runs.Outcome) -> None:
            ledger.add(*outcome)
            record["seconds"] = before + time.perf_counter() - start
            _write_json(record, request.folder / RECORD)
            advance(_expected_seconds(task), f"pair {outcome[0]}, row {outcome[1]}")

        if tasks:
            runs.run(plan, tasks, jobs=request.jobs, on_done=done)
    table = Table(ledger.results, all_cases(request.convergence), groups)
    return [request.folder / RESULTS, *publish(table, cohorts, record, request.folder)]


def _check(request: StudyRequest, cohorts: dict[str, Cohort], display: Display) -> None:
    """All inputs, before hours of work: nothing may turn out to be missing after them."""
    for name in request.models.values():
        modelcards.verify(modelplaces.find(name))
    rows = sum(len(cohort.rows(part)) for cohort in cohorts.values() for part in cohort.tables())
    with display.stage("checking the images", rows) as advance:
        for cohort in cohorts.values():
            for path in cohort.check():
                advance(1, path.name)


def _claim(request: StudyRequest, cohorts: dict[str, Cohort]) -> None:
    """Take the folder: from here on the record says that it is a study's, and which files are."""
    folder, inputs = request.folder, [request.source, request.target]
    inputs += [table for cohort in cohorts.values() for table in cohort.tables().values()]
    going_on = request.resume or request.overwrite
    if (folder / RECORD).is_file() and not going_on:
        raise OutputError(f"{folder / RECORD} exists; go on with --resume, or begin anew with --overwrite")
    claim_results(folder, FILES, overwrite=going_on, inputs=inputs)
    if request.overwrite:
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    if not (folder / RECORD).exists():
        _write_json({"files": FILES}, folder / RECORD)


def _models(request: StudyRequest, cohorts: dict[str, Cohort], roles: set[str], display: Display) -> dict[str, Path]:
    """The folder of each role's model: given, found finished from an earlier run, or trained now."""
    models = {}
    for role in sorted(roles, reverse=True):
        if role in request.models:
            models[role] = modelplaces.find(request.models[role]).resolve()
            modelcards.verify(models[role])
            continue
        models[role] = folder = (request.folder / "models" / role).resolve()
        if (folder / modelplaces.CARD).exists() and request.resume:
            continue
        cohort = cohorts[role]
        changes: dict[str, Any] = {"training": {"steps": request.train_steps}} if request.train_steps else {}
        setup = Setup(
            preset("paper").override(changes, source="--train-steps"),
            "none",
            request.device,
            request.seed,
            request.threads,
        )
        going_on = request.resume and (folder / training.CHECKPOINT).exists()
        training_request = TrainingRequest(
            cohort.train,
            folder,
            cohort.validation,
            cohort.mirror,
            resume=going_on,
            overwrite=request.overwrite,
            description=f"{role} model of a study, trained on {cohort.name}",
        )
        with display.training(role) as on_step:
            train_model(training_request, setup, on_step=on_step)
    return models


def _search(cohort: Cohort, request: StudyRequest, threads: int, display: Display) -> elastix.ElastixParameters:
    """elastix's parameters by mean Dice on training pairs; by correlation where they have no label maps."""
    loader = Loader(cohort, "train")
    numbers = random.Random(request.seed).sample(range(len(loader.rows)), min(SEARCH_PAIRS, len(loader.rows)))

    def score(parameters: elastix.ElastixParameters) -> float:
        scores = []
        for number in sorted(numbers):
            pair = loader(number)
            images = pair.fixed_input, pair.moving_input
            grids, segs = (pair.fixed.grid, pair.moving.grid), (pair.seg_fixed, pair.seg_moving)
            evidence = Evidence(*grids, pair.fixed_input, pair.moving_own, *segs)
            found = measure(evidence, elastix.register(*images, parameters, threads=threads))
            overlap = found.get("overlap", {}).get("dsc")
            scores.append(found["ncc"] if overlap is None else overlap)
        return float(np.mean(scores))

    with display.stage("elastix: grid search", len(elastix.GRID)) as advance:
        return elastix.search(score, request.folder / GRID_SEARCH, on_step=lambda name: advance(1, name))


def _record(
    request: StudyRequest,
    cohorts: dict[str, Cohort],
    models: dict[str, Path],
    parameters: elastix.ElastixParameters | None,
) -> dict[str, Any]:
    """What decides the results, on disk; a run that goes on must agree with it wherever both say something."""
    decides: dict[str, Any] = {
        "seed": request.seed,
        "convergence": request.convergence,
        "parameters": preset("paper").as_dict(),
        "elastix": asdict(parameters) if parameters else None,
    }
    decides |= {f"{role}_data": cohort.identity() for role, cohort in cohorts.items()}
    decides |= {f"{role}_model": None for role in cohorts}
    decides |= {f"{role}_model": modelcards.read_card(folder).sha256 for role, folder in models.items()}
    path = request.folder / RECORD
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, value in decides.items():
        earlier = old.get("decides", {}).get(name)
        if earlier is not None and value is not None and earlier != value:
            raise ConfigError(
                f"{request.folder} was begun with another {name.replace('_', ' ')}; resume with the same, "
                f"or choose another folder"
            )
        decides[name] = earlier if value is None else value
    record = {
        "files": FILES,
        "decides": decides,
        "commands": [*old.get("commands", []), request.command],
        "device": request.device,
        "cores": os.cpu_count(),
        "versions": versions(),
        "seconds": old.get("seconds", 0.0),  # of registering, over all runs
    }
    _write_json(record, path)
    return record


def _write_json(values: dict[str, Any], path: Path) -> None:
    write_text(json.dumps(values, indent=2) + "\n", path)


def _expected_seconds(task: runs.Task) -> float:
    """A guess, for the time left: what a case takes at 256 x 256 on a CPU."""
    case = task[0]
    if case.kind == "elastix":
        return 3.0
    if case.preset == "paper":
        return 0.1 + 0.025 * (case.steps or 0)
    return 0.2 + 0.2 * (case.feature_steps or 0)
