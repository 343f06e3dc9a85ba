"""The command line: parse, call the pipeline, print. No tensor here; heavy imports wait until needed."""
