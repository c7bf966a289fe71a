# `make demo` and `make test` do everything on a machine that has Python 3.11+, Java 17 and make.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done || echo python3)
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.PHONY: help setup train jars encoder demo check test unit integration e2e lint fuzz bench-extract bench-neighbours bench-night bench-embedding bench-encoder bench-explain bench-listeners bench-listeners-scale bench-simulated-listeners bench-matching format package clean

help: ## Say what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-26s %s\n", $$1, $$2}'

setup: .setup-stamp ## Make the environment in .venv
.setup-stamp: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v >= (3, 11) else "specrec needs Python 3.11 or newer, and $(PYTHON) is %d.%d: make PYTHON=python3.11 …" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	touch $@

train: .train-stamp ## Add what `specrec train-encoder` needs (PyTorch: some gigabytes)
.train-stamp: .setup-stamp
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train]'
	touch $@

jars: .jars/.stamp ## Fetch the jars that Spark needs for Delta and S3 into .jars
.jars/.stamp: .setup-stamp specrec/session.py specrec/storage/s3.py
	rm -rf .jars
	$(BIN)/specrec jars --to .jars
	touch $@

encoder: setup train jars ## Train anew the encoder that the package carries, on clips that it renders (an hour)
	$(BIN)/python deploy/ship_encoder.py

demo: setup jars ## Render a small catalogue, run the nightly job on it, show recommendations
	$(BIN)/specrec demo

check: lint unit ## What to run at every change: style, types and unit tests

# Measured in the process of pytest alone, not in Spark's Python workers nor in commands.
test: UNIT_COVERAGE := --cov --cov-report= --cov-fail-under=0
test: INTEGRATION_COVERAGE := --cov --cov-append
test: lint unit integration e2e ## Run all checks and tests, and measure what they cover (times: CONTRIBUTING.md)

lint: setup ## Check style, types, who imports whom, and licences
	$(BIN)/ruff check specrec jobs tests deploy examples
	$(BIN)/ruff format --check specrec jobs tests deploy examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python deploy/licences.py

unit: setup train ## Tests without a JVM
	$(BIN)/pytest tests/unit --numprocesses 2 --dist worksteal $(UNIT_COVERAGE)

integration: setup train jars ## Tests with Spark, Delta and a real S3 server
	$(BIN)/pytest tests/integration --numprocesses 2 --dist loadfile --no-loadscope-reorder $(INTEGRATION_COVERAGE)

e2e: setup jars package ## Tests with spark-submit on a standalone cluster on loopback
	$(BIN)/pytest tests/e2e

fuzz: setup ## Analyse CASES mutated files, other ones each time (make fuzz CASES=100000)
	SPECREC_FUZZ_CASES=$(or $(CASES),20000) $(BIN)/pytest -s --timeout 0 tests/unit/test_mutated_audio.py

bench-extract: setup jars ## Time extraction beside librosa, Essentia, openSMILE, and in Spark (ten minutes)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	$(BIN)/python tests/bench/extract.py $(ARGS)

bench-neighbours: setup jars ## Time the search beside FAISS, hnswlib, voyager and MLlib (an hour the first time)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	$(BIN)/python tests/bench/neighbours.py $(ARGS)

bench-night: setup jars ## Time a night that changes a little beside the first one, at three sizes (an hour; ARGS=--tracks 25000)
	$(BIN)/python tests/bench/night.py $(ARGS)

bench-embedding: setup train jars ## Time an encoder on stored spectrograms: ONNX Runtime alone, and in Spark
	$(BIN)/python tests/bench/embedding.py $(ARGS)

bench-encoder: setup train ## Cross-validate the encoder on real clips, beside the other spaces (an hour; MUSICNN=FILE)
	$(BIN)/python tests/bench/encoder.py $(if $(MUSICNN),--musicnn $(MUSICNN)) $(ARGS)

bench-explain: setup ## Time what explaining a pair costs in Python (a minute)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/bench/explain.py $(ARGS)

bench-listeners: setup ## Measure lists for people on real ratings, beside implicit and EASE (CM100K=FOLDER, ten minutes)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/bench/listeners.py $(CM100K) $(ARGS)

bench-listeners-scale: setup jars ## Time lists for 100,000 people, and a day's events, beside implicit (an hour; ARGS=--events 200000)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	$(BIN)/python tests/bench/listeners_scale.py $(ARGS)

bench-simulated-listeners: setup jars ## Measure lists for simulated listeners on real clips (MUSIC=FOLDER, half an hour)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/bench/simulated_listeners.py $(MUSIC) $(ARGS)

bench-matching: setup ## Measure how two catalogues are matched, beside the seed's methods (MATCHING=FOLDER CATALOGUE=FILE, two minutes)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/bench/matching.py $(MATCHING) $(CATALOGUE) $(ARGS)

format: setup ## Format the code
	$(BIN)/ruff check --fix --quiet specrec jobs tests deploy examples || true
	$(BIN)/ruff format specrec jobs tests deploy examples

package: setup ## Pack the environment and the package that spark-submit ships
	$(BIN)/python deploy/pack.py

clean: ## Remove what was made here
	rm -rf .venv .jars .tools .setup-stamp .train-stamp build demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
