"""The paper's study on anybody's data: cases, runs, statistics, table and figure."""
