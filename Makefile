# make demo: train on the embedded digits.  make test: the whole suite.  make check: the quick part.  make bench: measure.  make results: docs/results.md.  make docs: site/.
PYTHON ?= python3
BIN = .venv/bin
PYTEST = $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test check format bench results docs clean

demo: .venv/installed
	@rm -rf runs/demo
	@$(BIN)/sparring train --out runs/demo

test: .venv/installed-dev
	$(PYTEST)

check: .venv/installed-dev
	$(BIN)/ruff format --check src tests benchmarks docs/tools
	$(BIN)/ruff check src tests benchmarks docs/tools
	$(BIN)/mypy
	$(PYTEST) -m "not slow"

format: .venv/installed-dev
	$(BIN)/ruff format src tests benchmarks docs/tools
	$(BIN)/ruff check --fix src tests benchmarks docs/tools

bench: .venv/installed-dev
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.roof
	$(BIN)/python -m benchmarks.scoring

results: .venv/installed-dev
	$(BIN)/python -m benchmarks.results

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

clean:
	rm -rf .venv runs build site src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	@touch $@
