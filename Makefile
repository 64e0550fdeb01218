# demo, test, lint and bench each make the environment they need in .venv; nothing else is installed.
#
#   make demo    the whole main job on the generated scenes, with embedded parts only
#   make test    the test suite
#   make lint    ruff and pyright
#   make bench   the benchmarks that need no GPU
#
# PYTHON names the interpreter that makes .venv, DEMO the folder of the demo's files.

PYTHON ?= python3
DEMO ?= demo
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMPS := .venv/stamps
INPUTS := setup.py constraints.txt

.PHONY: demo test lint bench clean

$(STAMPS)/venv:
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt pip setuptools wheel
	mkdir -p $(STAMPS) && touch $@

$(STAMPS)/demo: $(STAMPS)/venv $(INPUTS)
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable .
	touch $@

$(STAMPS)/test: $(STAMPS)/demo
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[test]'
	touch $@

# torch-scatter is sources only. It compiles against the torch that is installed (hence no build
# isolation), and in parallel only when a distutils configuration file says so.
$(STAMPS)/scatter: $(STAMPS)/demo
	printf '[build_ext]\nparallel = %s\n' "$$(nproc)" > $(STAMPS)/parallel.cfg
	DIST_EXTRA_CONFIG=$(abspath $(STAMPS)/parallel.cfg) \
		$(PIP) install --quiet --constraint constraints.txt --no-build-isolation torch-scatter
	touch $@

demo: $(STAMPS)/demo
	PATH="$(abspath $(BIN)):$$PATH" bash scripts/demo.sh $(DEMO)

test: $(STAMPS)/test $(STAMPS)/scatter
	$(BIN)/python -m pytest

lint: $(STAMPS)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf .venv $(DEMO)
