# `make repro` runs the pipeline, `make test` the tests; each makes .venv first where it is missing.
PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/ready
export PATH := $(BIN):$(PATH)

.PHONY: repro test check-reproduction clean

repro: $(READY)
	dvc repro
	@python -m cje.console

test: $(READY)
	ruff check .
	ruff format --check .
	python -m pytest --numprocesses 2 --dist loadfile

# A clean clone, all stages run anew: dvc.lock and metrics/ must come out as they are in git.
check-reproduction: $(READY)
	./.ci/check-reproduction

$(READY): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
	  { echo "error: $(PYTHON) is not here; install Python 3.11 or set PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV)
