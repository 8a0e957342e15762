# Everything a new machine needs: Python >= 3.11 and Maven. `make demo` and `make test` do the rest.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests without servers, of the gateway, of domains and of the whole system; the other lane of `make test` has all the rest. The last
# ones keep a system up until the end.
WHOLE := tests/unit $(addprefix tests/integration/,gateway domains) tests/e2e
PACKAGES := domains eventstore projections gateway infra
# What holds at any issuer.
IDENTITY := $(addprefix tests/integration/gateway/test_,identity.py login.py tokens.py) tests/e2e/test_identity.py

.PHONY: help demo test test-keycloak system parts lint unit up down install clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   start everything, load real sales, show a projected view"
	@echo "make test   lint, types, architecture and all tests"
	@echo "make test-keycloak   the tests of identity, at a Keycloak that is fetched and started for them"
	@echo "make up     start everything; make down stops it"
	@echo "make clean  remove the virtual environment and all state"

# uv needs a fraction of the time. Where it can't (an index or a certificate that only pip knows), pip does the same.
PIP := $(BIN)/pip --disable-pip-version-check
install = $(BIN)/uv pip install --quiet --python $(1)/bin/python $(2) || $(PIP) --python $(1)/bin/python install --quiet $(2)
locked = $(call install,$(1),--require-hashes -r infra/locks/$(2).txt)

# A stamp is written last, so that a broken installation is repeated. Compiled once: where Python is told to keep no
# bytecode, as in many containers, each process would compile all that it loads, which nearly doubles the time of a start.
$(VENV)/runtime.stamp: infra/locks/runtime.txt infra/locks/java.txt infra/locks/uv.txt pyproject.toml
	@echo "installing what infra/locks names"
	@$(PYTHON) -m venv $(VENV)
	@-$(PIP) install --quiet --require-hashes -r infra/locks/uv.txt
	@$(call locked,$(VENV),runtime)
	@java -version >/dev/null 2>&1 || { $(call locked,$(VENV),java); }
	@$(call locked,$(VENV),build)
	@$(call install,$(VENV),--no-deps --no-build-isolation -e .)
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib $(PACKAGES)
	@touch $@

$(VENV)/dev.stamp: infra/locks/dev.txt $(VENV)/client.stamp
	@$(call locked,$(VENV),dev)
	@touch $@

# What generates clients does not go together with our own libraries, so it has an environment of its own.
$(VENV)/client.stamp: infra/locks/client.txt $(VENV)/runtime.stamp
	@$(PYTHON) -m venv --without-pip $(VENV)/client
	@$(call locked,$(VENV)/client,client)
	@touch $@

install: $(VENV)/runtime.stamp

demo: install
	$(BIN)/headrace demo

up down: install
	$(BIN)/headrace $@

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pip check

unit: $(VENV)/dev.stamp
	$(BIN)/pytest -q tests/unit

# Two lanes side by side, each with servers of its own: much of a test is waiting for what was killed to come back.
test: $(VENV)/dev.stamp
	@$(MAKE) --no-print-directory --jobs 2 system parts

lane = $(BIN)/pytest -q $(1) 2>&1 | sed -u 's/^/$@ | /'

system: $(VENV)/dev.stamp
	$(call lane,$(WHOLE))

parts: lint
	$(call lane,$(addprefix --ignore=,$(WHOLE)))

# The same tests of identity, with Keycloak in place of the development issuer. Maven fetches it, once.
test-keycloak: $(VENV)/dev.stamp
	$(BIN)/pytest -v --timeout 600 --issuer keycloak $(IDENTITY)

clean:
	@if [ -x $(BIN)/headrace ]; then $(BIN)/headrace down; fi
	rm -rf $(VENV) .headrace build *.egg-info
