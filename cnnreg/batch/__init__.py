"""Many pairs: a table, tasks, who computes them, a folder of results that can be gone on with, and the summary."""
