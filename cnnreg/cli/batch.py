"""``cnnreg batch``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnreg.cli import batching, options
from cnnreg.cli.declaring import FOLDER, MACHINE, NUMBER, OUTPUT, argument, option
from cnnreg.cli.rows import WithRowOptions
from cnnreg.cli.shelf import alone
from cnnreg.errors import UsageError

if TYPE_CHECKING:
    from cnnreg.batch.task import Task

RUN = "Many pairs"


def batch(
    ctx: typer.Context,
    pairs: Annotated[
        Path | None,
        argument(
            "PAIRS.csv",
            "Table with the columns fixed and moving, and any of: pair_id, label maps, landmarks, masks, and further "
            "options of 'cnnreg register', which hold for their row.",
        ),
    ] = None,
    out: Annotated[
        Path | None, option(OUTPUT, "--out", "-o", metavar=FOLDER, help="Folder of the results.", default=False)
    ] = None,
    outputs: Annotated[
        str | None,
        option(
            OUTPUT,
            "--outputs",
            metavar="LIST",
            help="What is written of each pair: warped, field, report, picture, page.",
            default="all; from 200 pairs on no picture",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        option(
            OUTPUT,
            "--keep",
            metavar="LIST",
            help="Further columns of the table that are copied into the summary, such as patient,visit.",
        ),
    ] = None,
    resume: Annotated[bool, option(RUN, "--resume", help="Go on: register only what is not done yet.")] = False,
    fail_fast: Annotated[bool, option(RUN, "--fail-fast", help="Stop at the first pair that fails.")] = False,
    part: Annotated[
        str | None,
        option(
            RUN,
            "--part",
            metavar="I/N",
            help="Only part I of N of the rows. In a job array of Slurm, SGE or LSF its own variables say which.",
        ),
    ] = None,
    collect: Annotated[
        Path | None,
        option(
            RUN,
            "--collect",
            metavar=FOLDER,
            help="Write the summary of a folder whose parts have ended, and name the pairs that are not done.",
        ),
    ] = None,
    slurm: Annotated[
        str | None,
        option(
            RUN,
            "--slurm",
            metavar="KEY=VALUE,...",
            help="Submit a job array and a job that collects it: partition, account, qos, constraint, time, mem, cpus "
            "and gpus of each task, and the number of parts.",
        ),
    ] = None,
    slurm_script: Annotated[
        bool, option(RUN, "--slurm-script", help="With --slurm: only print the sbatch file that does the same.")
    ] = False,
    dask: Annotated[
        str | None,
        option(RUN, "--dask", metavar="ADDRESS", help="Register on the workers of this Dask scheduler."),
    ] = None,
    jobs: Annotated[
        int | None,
        option(
            MACHINE,
            "--jobs",
            "-j",
            low=1,
            metavar=NUMBER,
            help="Number of pairs at a time, each in a process.",
            default="one for each core, 1 on CUDA",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Register all pairs of a table, and go on where an earlier run has ended.

    Writes a folder for each pair, as 'cnnreg register' does, with its status, and summary.csv.
    """
    if collect:
        if pairs or out:
            raise UsageError("--collect takes the folder of the results alone")
        batching.collect(collect, quiet=quiet)
        return
    if pairs is None or out is None:
        raise UsageError("give the table PAIRS.csv, and the folder of the results with -o")
    if resume and overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    if slurm is not None and (part or jobs or dask or overwrite or fail_fast):
        raise UsageError("--slurm excludes --part, --jobs, --dask, --overwrite and --fail-fast")
    if slurm_script and slurm is None:
        raise UsageError("--slurm-script needs --slurm KEY=VALUE,...")
    if dask and (part or jobs):
        raise UsageError("--dask excludes --part and --jobs: its workers decide")
    tasks = read_tasks(pairs, {**ctx.obj, "device": device}, outputs=outputs, keep=keep)
    run = batching.Run(
        table=pairs,
        out=out,
        command=("cnnreg", *sys.argv[1:]),
        jobs=jobs,
        threads=threads,
        part=part,
        resume=resume,
        overwrite=overwrite,
        fail_fast=fail_fast,
        quiet=quiet,
        dask=dask,
    )
    if slurm is None:
        batching.conduct(run, tasks)
    else:
        batching.submit(run, tasks, slurm, only_print=slurm_script)


def read_tasks(
    table: Path, given: Mapping[str, Any], *, outputs: str | None = None, keep: str | None = None
) -> list["Task"]:
    """The tasks of a table, all of them checked: ``given`` are options of the command line.

    Raises:
        TableError: rows cannot be used; the faults of all are told together.
    """
    from cnnreg.batch.checks import check_files, check_models
    from cnnreg.batch.forecast import default_pieces
    from cnnreg.batch.table import name_pairs, read_rows, refuse
    from cnnreg.batch.task import Task
    from cnnreg.cli.plan import plan
    from cnnreg.cli.rows import check_columns, read_options
    from cnnreg.errors import CnnregError

    kept = words(keep)
    columns, rows = read_rows(table)
    check_columns(columns, kept)
    pieces = choose_pieces(outputs) or default_pieces(len(rows))
    tasks, faults = [], []
    for name, row in zip(name_pairs(table, rows), rows, strict=True):
        cells = {column: cell for column, cell in row.cells.items() if column not in {"pair_id", *kept}}
        try:
            chosen = read_options(cells, given, base=table.absolute().parent)
            setup, request = plan(chosen)
        except CnnregError as error:
            faults.append(f"line {row.line}: {error}")
            continue
        extra = tuple((column, row.cells.get(column, "")) for column in kept)
        tasks.append(Task(name, request, setup, pieces, chosen.inverse, chosen.field_type == "float32", extra))
    refuse(table, faults)
    check_files(table, tasks)
    check_models(tasks)
    return tasks


def words(text: str | None) -> list[str]:
    """Names with commas between."""
    return [word.strip().lower().replace("-", "_") for word in (text or "").split(",") if word.strip()]


def choose_pieces(text: str | None) -> tuple[str, ...]:
    """``--outputs``; nothing where it is not given."""
    from cnnreg.errors import unknown_name
    from cnnreg.pipeline.report import PIECES

    for word in words(text):
        if word not in PIECES:
            raise UsageError(unknown_name("value of --outputs", word, PIECES))
    return tuple(piece for piece in PIECES if piece in words(text))


app = alone(batch, cls=WithRowOptions)
