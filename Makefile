# Everything here runs on a fresh machine with Python >= 3.10, venv and make. Each environment is made once and
# again when pyproject.toml changes.

PYTHON ?= python3
BIN := .venv/bin
WHEEL_ENV := .venvs/wheel
OLDEST := 1.20.1 1.23.2
SOURCES := $(shell find runtime benchmarks/ortolan_bench converters -name '*.py' -o -name '*.yaml' -o -name 'py.typed') README.md
PIP := -m pip --disable-pip-version-check install --quiet
TOOLS := 'ruff==0.17.*' 'mypy==2.4.*' 'hatchling>=1.26'
# A clean room for the tests: no user site, no plug-ins of the host, messages that do not depend on the locale.
ISOLATED := env -u PYTHONPATH PYTHONNOUSERSITE=1

.PHONY: demo test lint wheel test-wheel test-oldest test-providers test-aarch64 test-models clean
.DELETE_ON_ERROR:

demo: .venv/demo.stamp
	@$(BIN)/ortolan demo

.venv/bin/python:
	@echo "making .venv" >&2
	@$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml | .venv/bin/python
	@echo "installing Ortolan and the demo's training libraries into .venv (a few minutes on a small board)" >&2
	@$(BIN)/python $(PIP) --editable '.[demo]'
	@touch $@

.venv/tools.stamp: pyproject.toml | .venv/bin/python
	@$(BIN)/python $(PIP) $(TOOLS)
	@touch $@

test: lint test-wheel

lint: .venv/tools.stamp $(WHEEL_ENV)/ready.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --python-executable $(WHEEL_ENV)/bin/python

dist/wheel.stamp: $(SOURCES) pyproject.toml .venv/tools.stamp
	@rm -rf dist && mkdir dist
	@$(BIN)/python -m hatchling build -t wheel -d dist > dist/build.log 2>&1 || { cat dist/build.log; exit 1; }
	@touch $@

wheel: dist/wheel.stamp
	@ls dist/*.whl

$(WHEEL_ENV)/ready.stamp: pyproject.toml
	@echo "making the clean environment the wheel is tested in" >&2
	@rm -rf $(WHEEL_ENV) && $(PYTHON) -m venv $(WHEEL_ENV)
	@$(WHEEL_ENV)/bin/python tests/requirements.py pyproject.toml test > $(WHEEL_ENV)/requirements.txt
	@$(WHEEL_ENV)/bin/python $(PIP) -r $(WHEEL_ENV)/requirements.txt
	@touch $@

# The tests are copied out of the tree, so that only the installed wheel can be imported. Real models and the large training
# frameworks have a leg of their own.
test-wheel: dist/wheel.stamp $(WHEEL_ENV)/ready.stamp
	@$(WHEEL_ENV)/bin/python $(PIP) --force-reinstall --no-deps dist/*.whl
	@tests/away $(WHEEL_ENV)/bin/python tests --ignore=tests/models --ignore=tests/frameworks

# The runtime's slice on the oldest onnxruntime that is supported and on the last one for Python 3.10, with bundles made by
# the newest.
test-oldest: dist/wheel.stamp $(WHEEL_ENV)/ready.stamp
	@$(WHEEL_ENV)/bin/python $(PIP) --force-reinstall --no-deps dist/*.whl
	@for version in $(OLDEST); do tests/oldest/run $$version $(WHEEL_ENV)/bin/python $(PYTHON) || exit 1; done

# Other execution providers, really run: OpenVINO, WebGPU on a GPU in software, ggml.
test-providers: dist/wheel.stamp $(WHEEL_ENV)/ready.stamp
	@$(WHEEL_ENV)/bin/python $(PIP) --force-reinstall --no-deps dist/*.whl
	@tests/providers/run $(WHEEL_ENV)/bin/python $(PYTHON)

# The runtime's slice on aarch64 wheels, emulated as the processors of three boards, with bundles made here.
test-aarch64: dist/wheel.stamp $(WHEEL_ENV)/ready.stamp
	@$(WHEEL_ENV)/bin/python $(PIP) --force-reinstall --no-deps dist/*.whl
	@tests/aarch64/run.sh $(WHEEL_ENV)/bin/python $(PYTHON)

# The large training frameworks, and real models: from the artifacts their makers published to answers, beside the
# frameworks they were made with.
test-models: dist/wheel.stamp
	@tests/models/run $(PYTHON)

clean:
	rm -rf .venv .venvs dist ortolan-demo .mypy_cache .ruff_cache .pytest_cache
