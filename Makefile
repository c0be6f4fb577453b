# make demo and make test do all their own set-up; the rest is for developers.
PYTHON ?= python3
# Another package index for torch, e.g. PyTorch's own CPU wheels: make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test setup lint bench bench-gpu coverage clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term

setup: $(STAMP)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Takes half an hour on a machine that does nothing else. TEXTVAE_DATA is a folder with the corpora tweets and tweets32.
bench: $(STAMP)
	$(BIN)/python benchmarks/sampling.py --json docs/performance/sampling.json
	$(BIN)/python benchmarks/recurrence.py --rounds 9 --json docs/performance/recurrence.json
	for part in training growth; do $(BIN)/python benchmarks/$$part.py --threads 1 --json docs/performance/$$part.json || exit 1; done
	test -z "$(TEXTVAE_DATA)" || $(BIN)/python benchmarks/pipeline.py $(TEXTVAE_DATA)/tweets --threads 1 --json docs/performance/pipeline.json
	test -z "$(TEXTVAE_DATA)" || $(BIN)/python benchmarks/whole.py $(TEXTVAE_DATA)/tweets --json docs/performance/whole.json
	test -z "$(TEXTVAE_DATA)" || $(BIN)/python benchmarks/quality.py $(TEXTVAE_DATA)/tweets32 --json docs/performance/quality.json
	$(BIN)/python benchmarks/page.py

# On a machine with a GPU and a CUDA build of torch.
bench-gpu: $(STAMP)
	$(BIN)/python benchmarks/gpu.py --corpus $(TEXTVAE_DATA)/tweets32 --json docs/performance/gpu.json
	$(BIN)/python benchmarks/quality.py $(TEXTVAE_DATA)/tweets32 --minutes 1 --json docs/performance/quality-gpu.json
	$(BIN)/python benchmarks/page.py

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "textvae needs Python 3.11 or later: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), once: torch and all that textvae and its tests need. This takes some minutes."
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt torch
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt --editable '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache build dist
