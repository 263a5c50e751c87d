# Everything that is done with a clone. `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The recipe that `make run` trains on the built-in sample, and what it is told.
SAMPLE_RECIPE := recipes/imdb.py
# accelerate's own defaults, said so that it does not warn that nobody said them
LAUNCH_FLAGS := --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no
SAMPLE_FLAGS := --dataset_name sample --model_type bilstm --config_overrides embedding_dim=64,hidden_size=64,readout=max \
	--learning_rate 5e-3 --per_device_train_batch_size 32 --num_train_epochs 6 --output_dir runs/sample

# One test process per core, eight at most (each loads torch), one thread in each.
JOBS ?= $(shell { env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN; echo 8; } | sort -n | head -1)

.DEFAULT_GOAL := help
.PHONY: help run test test-all pretend lint format check results bench bench-gpu proof clean-venv clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1#\2/p' Makefile | awk -F'#' '{ printf "%-16s %s\n", $$1, $$2 }'

run: $(VENV)/.installed  ## install, then train a small model on the built-in sample: no Hub, no account, no GPU
	$(BIN)/accelerate launch $(LAUNCH_FLAGS) $(SAMPLE_RECIPE) $(SAMPLE_FLAGS)

test: $(VENV)/.installed-test  ## install what the tests need, then run them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not every_kind"

test-all: $(VENV)/.installed-test  ## the same, and what one kind of model shows of every other kind too
	OMP_NUM_THREADS=1 HFTUNE_PRETEND=all $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

pretend: $(VENV)/.installed-test  ## train everything on a pretended accelerator (minutes); `make test` trains a few of it
	OMP_NUM_THREADS=1 HFTUNE_PRETEND=all $(BIN)/python -m pytest -n 0 tests/pretend

lint: $(VENV)/.installed-dev  ## ruff and mypy; nothing is changed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## ruff puts order and layout right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

check: lint test  ## lint and test, as before every commit

results: $(VENV)/.installed runs/imdb.vec  ## train the recipes on the real data (hours) and write docs/results.md
	$(BIN)/python benchmarks/results.py

bench: $(VENV)/.installed-test  ## time hftune beside its peers, half an hour, nothing else running; CASES="minilm predict" for these
	$(BIN)/python benchmarks/bench.py $(CASES)

bench-gpu:  ## on one GPU, without network, eight minutes: is it right there, how fast; GPU="--rehearse" on any machine
	$(firstword $(wildcard $(BIN)/python) $(PYTHON)) benchmarks/gpu.py $(GPU)

proof: $(VENV)/.installed-test  ## kill, fill disks, damage checkpoints, cut the network (an hour), write docs/proofs.md
	$(BIN)/python -m proofs.run

clean-venv: $(VENV)/.installed-test  ## prove in an environment without hftune (6 GB) that what was pushed loads
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.clean_venv

runs/imdb.vec: | $(VENV)/.installed
	$(PIP) --editable '.[vectors]'
	mkdir -p runs
	$(BIN)/hftune vectors stanfordnlp/imdb --split train,unsupervised --window 8 --output $@

clean:  ## remove caches and build leftovers; runs/ and the environment stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find hftune recipes tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The stamps: what was installed stays installed until pyproject.toml changes.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: $(PYTHON) is Python %d.%d, hftune needs 3.11 or newer: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	@echo "installing hftune into $(VENV): about 6 GB with torch's CUDA libraries, a few minutes"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "installing what the tests need: under a minute"
	@$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing ruff and mypy: under a minute"
	@$(PIP) --editable '.[dev]'
	@touch $@
