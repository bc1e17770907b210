# Each target needs nothing but python3: it makes its own virtual environment first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint docs wheel lowest audit check clean

# Count the bundled example with the embedded model and write its overlay to this folder.
demo: .venv/.core
	$(BIN)/headcount demo

# The whole test suite. Tests that need real data look for it in the folder HEADCOUNT_DATA.
test: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Build the documentation into site/. Warnings are errors; --strict does not cover those about docstrings.
docs: .venv/.docs
	mkdir -p build
	$(BIN)/zensical build --strict --clean 2>build/docs.log || { cat build/docs.log; exit 1; }
	! grep griffe: build/docs.log

# Build the wheel and the sdist, install the wheel into a fresh environment, and count with it there.
wheel: .venv/.dev
	rm -rf dist build/wheel
	$(BIN)/python -m build --installer uv --outdir dist . >/dev/null
	$(PYTHON) -m venv build/wheel
	$(BIN)/uv pip install --quiet --python build/wheel/bin/python -c constraints.txt dist/*.whl
	cd build && wheel/bin/python ../tests/smoke.py
	ls -l dist

# Install the oldest versions that pyproject.toml allows, and use them.
lowest: .venv/.dev
	rm -rf build/lowest
	$(PYTHON) -m venv build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest/bin/python --resolution lowest-direct '.[serve,onnxruntime,plot]'
	cd build && lowest/bin/python ../tests/smoke.py

# Known vulnerabilities of the pinned versions, and of the oldest direct dependencies. It asks pypi.org.
audit: .venv/.dev
	mkdir -p build
	$(BIN)/uv pip compile --quiet --no-annotate -o build/newest.txt -c constraints.txt --extra train --extra serve --extra ray pyproject.toml
	$(BIN)/uv pip compile --quiet --no-annotate -o build/oldest.txt --resolution lowest-direct --extra serve pyproject.toml
	$(BIN)/uvx pip-audit --requirement build/newest.txt --no-deps --disable-pip
	$(BIN)/uvx pip-audit --requirement build/oldest.txt --no-deps --disable-pip

# What continuous integration runs.
check: lint test docs wheel lowest

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/.core: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/.dev: .venv/.core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

.venv/.docs: .venv/.core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist site
