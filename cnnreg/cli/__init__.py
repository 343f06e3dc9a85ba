"""The command line: parse, call the pipeline, print. No tensor here, and nothing heavy is imported before it is needed."""
