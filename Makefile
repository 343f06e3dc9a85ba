# make demo: set everything up and register a pair of images.   make test: the same set-up, then every test.
PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test interop chromium slurm cluster lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/cnnreg demo --out demo-output --overwrite

test: $(VENV)/.test-installed
	$(BIN)/python -m pytest

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cnnreg needs Python 3.11 or newer: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)

# torch first and by itself: its exact version decides which build is taken.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (a few minutes the first time)"
	$(INSTALL) "$$(grep '^torch==' constraints.txt)"
	$(INSTALL) --editable .
	touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	$(INSTALL) --editable '.[test]'
	touch $@

# A real Slurm, of which the tests make a cluster of one node (Debian's packages, as root).
slurm:
	command -v slurmctld >/dev/null && command -v mungekey >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge; }

# cnnreg batch on Slurm and on Dask.
cluster: slurm $(VENV)/.test-installed
	$(BIN)/python -m pytest tests/batch/test_cluster.py tests/batch/test_dask.py

# What ANTs and elastix themselves make of our fields: in an environment of its own, since they need older versions.
interop: $(PEERS)/.installed
	$(PEERS)/bin/python -m pytest tests/geometry/test_exchange.py tests/study/test_study.py -k "ants or transformix or elastix"

$(PEERS)/.installed: pyproject.toml constraints-peers.txt
	$(PYTHON) -m venv $(PEERS)
	@echo "installing into $(PEERS) (a few minutes the first time)"
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints-peers.txt)"
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-peers.txt --editable '.[peers,test]'
	touch $@

# The browser in which the tests look at report.html: Debian's, if there is none. Without it they are skipped, and say so.
chromium:
	command -v chromium || command -v chromium-browser || command -v google-chrome || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }

clean:
	rm -rf $(VENV) $(PEERS) demo-output build dist
