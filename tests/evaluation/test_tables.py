"""Rows that several processes add to one table."""

import csv
import subprocess
import sys
from pathlib import Path

PROCESSES, ROWS = 6, 10
WRITER = """
import sys
from pathlib import Path
from cnnreg.evaluation.tables import append_csv
sys.stdin.readline()  # all begin at once
for row in range(int(sys.argv[3])):
    append_csv(Path(sys.argv[1]), {"process": sys.argv[2], "row": row, f"only {sys.argv[2]}": 1})
"""


def test_parallel_processes_lose_no_row(tmp_path: Path):
    """Six real processes, ten rows each, every process with a column of its own: all sixty rows are there."""
    table = tmp_path / "new" / "all.csv"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, table, str(i), str(ROWS)], stdin=subprocess.PIPE)
        for i in range(PROCESSES)
    ]
    for writer in writers:
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0] * PROCESSES
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((int(r["process"]), int(r["row"])) for r in rows) == [
        (process, row) for process in range(PROCESSES) for row in range(ROWS)
    ]
    assert all(r[f"only {r['process']}"] == "1" for r in rows)
