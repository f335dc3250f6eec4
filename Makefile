# Every target creates .venv itself; it needs only Python 3.11 or later and access to a package registry.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The demo's run, with the defaults of the trainer and the report.
DEMO_RUN := checkpoints/demo
DEMO_REPORT := reports/demo

# The comparison: 18 runs like the demo's, two at a time.
COMPARED_INITS := pytorch orthogonal normal
COMPARED_SEEDS := 0 1 2 3 4 5
COMPARED_RUNS := checkpoints/initializations
COMPARISON := reports/initializations

.PHONY: demo compare test stress check format clean

demo: $(VENV)/.demo
	@started=$$(date +%s); \
	$(BIN)/weightlapse-train --out $(DEMO_RUN) --resume && trained=$$(date +%s) && \
	$(BIN)/weightlapse report $(DEMO_RUN) --out $(DEMO_REPORT) && drawn=$$(date +%s) && \
	echo && echo "Training took $$((trained - started)) s, measuring and drawing $$((drawn - trained)) s." && \
	echo "Open $(DEMO_REPORT)/index.html in a browser."

compare: $(VENV)/.demo
	@started=$$(date +%s); \
	for init in $(COMPARED_INITS); do for seed in $(COMPARED_SEEDS); do echo "$$init $$seed"; done; done | \
	xargs -P 2 -n 2 sh -c 'output=$$($(BIN)/weightlapse-train --init "$$0" --seed "$$1" \
		--out "$(COMPARED_RUNS)/$$0-seed$$1" --resume 2>&1) || { echo "$$output"; exit 255; }; \
		echo "$$output" | grep ": epochs "' && trained=$$(date +%s) && \
	$(BIN)/weightlapse compare $(COMPARED_RUNS) --metrics motion,size,spectrum --store $(COMPARISON).sqlite \
		--out $(COMPARISON) && drawn=$$(date +%s) && \
	echo && echo "Training took $$((trained - started)) s, measuring and drawing $$((drawn - trained)) s." && \
	echo "Open $(COMPARISON)/index.html in a browser."

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

stress: $(VENV)/.dev
	WEIGHTLAPSE_STRESS=1 $(BIN)/python -m pytest -n 2

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "weightlapse needs Python 3.11 or later; name one with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.demo: $(BIN)/uv pyproject.toml
	@echo "Installing weightlapse and PyTorch (about 5 GB) into $(VENV) ..."
	@started=$$(date +%s); $(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[train]' && \
	echo "Installing took $$(($$(date +%s) - started)) s."
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group dev
	@touch $@
