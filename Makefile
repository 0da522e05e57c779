# `make demo` and `make test` need nothing but Python 3.11 or newer and, for the device tests, a C compiler.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FOLDERS := toolchain compiler device models tests benchmarks

.PHONY: demo install test lint format clean

demo: $(VENV)/.installed
	$(BIN)/act compress --target adreno640 --effort quick

install: $(VENV)/.installed

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadfile -m "not slow and not phone"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check $(FOLDERS)
	$(BIN)/ruff format --check $(FOLDERS)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix $(FOLDERS)
	$(BIN)/ruff format $(FOLDERS)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable . --constraint constraints.txt
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[dev]" --constraint constraints.txt
	touch $@

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
