# make compare: the main job, from nothing to a table of priors.   make test: the whole test suite.   make bench: docs/benchmarks.md
# (make bench DEVICE=cuda: the same on a CUDA device).
PYTHON ?= python3
VENV ?= .venv
DEVICE ?= cpu
INSTALLED := $(VENV)/.installed

.PHONY: bench compare test

compare: $(INSTALLED)
	$(VENV)/bin/pyro-lvm compare

bench: $(INSTALLED)
	$(VENV)/bin/python benchmarks/bench.py --device $(DEVICE)

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest

# torch first, at the tested version: an open requirement would fetch the newest build with all of CUDA.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@
