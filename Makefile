# make compare: the main job, from nothing to a table of priors.   make test: the whole test suite, in two processes.   make lint: style and types.
# make docs: the site, docs/_build/html/index.html, notebooks executed (PYRO_LVM_SHORT=1 make docs: in the short mode).
# make test-arviz1: what touches ArviZ, with its version 1, in an environment of its own.
# make torture: thousands of generated pairs against a plain scorer (make torture PAIRS=20000 SEED=7).
# make known: docs/known.md, every estimator on likelihoods that are known.
# make notebooks: docs/notebooks/*.ipynb from the programs beside them, in full (make notebooks ONLY=own_table: this one).
# make bench: what docs/benchmarks/ holds (make bench DEVICE=cuda: the same on a CUDA device; make bench ONLY="iwae dreg": the steps of these).
PYTHON ?= python3
ARVIZ1_PYTHON ?= python3.12
VENV ?= .venv
DEVICE ?= cpu
PAIRS ?= 2000
SEED ?= 0
INSTALLED := $(VENV)/.installed
INSTALLED_DOCS := $(VENV)/.installed-docs
ARVIZ1 := $(VENV)-arviz1
CORE := tests/known tests/scripts tests/svi tests/zoo

.PHONY: bench compare docs format known lint notebooks test test-arviz1 test-core test-rest torture

compare: $(INSTALLED)
	$(VENV)/bin/pyro-lvm compare --overwrite

# The tests run on one thread each, so two processes share them; --ignore gives the second one whatever the first has not.
test: $(INSTALLED)
	$(MAKE) --keep-going --jobs=2 test-core test-rest

test-core: $(INSTALLED)
	$(VENV)/bin/python -m pytest $(CORE)

test-rest: $(INSTALLED)
	$(VENV)/bin/python -m pytest $(CORE:%=--ignore=%) tests

test-arviz1: $(ARVIZ1)/.installed
	$(ARVIZ1)/bin/python -m pytest tests/scoring/test_evaluation.py tests/scoring/test_pareto.py

torture: $(INSTALLED)
	cd tests && OMP_NUM_THREADS=1 ../$(VENV)/bin/python -m zoo.torture $(PAIRS) $(SEED)

known: $(INSTALLED)
	PYTHONPATH=. OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/known.py > docs/known.md

lint: $(INSTALLED)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

format: $(INSTALLED)
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

docs: $(INSTALLED_DOCS)
	$(VENV)/bin/sphinx-build -W --keep-going -b html docs docs/_build/html

notebooks: $(INSTALLED_DOCS)
	$(VENV)/bin/jupytext --to ipynb $(if $(ONLY),$(ONLY:%=docs/notebooks/%.py),docs/notebooks/*.py)
	PYTHONWARNINGS="ignore:IProgress not found" env -u PYRO_LVM_SHORT $(VENV)/bin/jupyter execute --inplace $(if $(ONLY),$(ONLY:%=docs/notebooks/%.ipynb),docs/notebooks/*.ipynb)

bench: $(INSTALLED)
	$(VENV)/bin/python benchmarks/bench.py --device $(DEVICE) $(if $(ONLY),--only $(ONLY))

# torch first, at the tested version: an open requirement would fetch the newest build with all of CUDA.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# ArviZ 1 requires Python 3.12. Versions are those of constraints.txt, but for those that ArviZ 1 needs newer.
$(ARVIZ1)/.installed: pyproject.toml constraints.txt
	test -x $(ARVIZ1)/bin/python || $(ARVIZ1_PYTHON) -m venv $(ARVIZ1)
	grep --invert-match '^arviz' constraints.txt > $(ARVIZ1)/constraints.txt
	$(ARVIZ1)/bin/pip install --quiet --constraint $(ARVIZ1)/constraints.txt torch
	$(ARVIZ1)/bin/pip install --quiet --constraint $(ARVIZ1)/constraints.txt --editable '.[test]' 'arviz>=1'
	touch $@
