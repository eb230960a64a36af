# A newcomer needs two commands: `make demo` and `make test`. Both bring everything they need: uv comes from pip,
# the packages from hashed locks, the servers from those packages. No Docker, no Java, no root.

SHELL := /bin/sh
PYTHON ?= python3
UV_VERSION := 0.13.8
PIP_AUDIT_VERSION := 2.10.1
VENV := .venv
TOOLS := .tools
BIN := $(VENV)/bin
UV := UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy PYTHONPATH=$(TOOLS) $(PYTHON) -m uv
LOCK_FLAGS := --no-emit-index-url --no-emit-find-links --no-annotate --universal --generate-hashes --quiet

# Bytecode is kept, whatever the shell says: a suite starts hundreds of our processes, and pytest rewrites four hundred
# files in each worker, 14 s of processor time that it then finds done.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo test drills soak spike ci-tools lint lint-types lint-rest bench lock audit down clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## the locked environment in .venv

$(TOOLS)/uv-$(UV_VERSION):
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": run make PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { echo "pip is missing for $(PYTHON): apt-get install python3-pip (or $(PYTHON) -m ensurepip)"; exit 1; }
	@mkdir -p $(TOOLS)
	@echo "installing uv $(UV_VERSION)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-input --no-deps --root-user-action=ignore --upgrade --target $(TOOLS) uv==$(UV_VERSION)
	@touch $@

$(VENV)/.installed: pyproject.toml requirements-dev.lock | $(TOOLS)/uv-$(UV_VERSION)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@echo "installing the locked packages"
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true # eight processes start at once: compile only here
	@touch $@

demo: install ## start the stack, trade as 200 customers in two cells, see the books balance
	$(BIN)/shardctl up --wait
	$(BIN)/python -m loadtests demo

lint: install ## format, lint, types, import contracts
	@$(MAKE) --no-print-directory -j 2 lint-types lint-rest

lint-types:
	$(BIN)/mypy

lint-rest:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

test: lint ## what every change must pass: lint, types, contracts, tests; at most 12 minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --ignore tests/drills --ignore tests/faults

drills: install ## what takes longer: real kills, production defaults, real clients; at most 30 minutes
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not alone and not soak" tests/drills tests/faults
	$(BIN)/python -m pytest -m "alone and not soak" tests/drills

soak: install ## hours of drills with random moments: make soak SEED=7 ROUNDS=10; the same again goes on where it stopped
	@test -n "$(SEED)" || { echo "say a seed: make soak SEED=7 [ROUNDS=10]"; exit 2; }
	$(BIN)/python -m tests.soak --seed $(SEED) --rounds $(or $(ROUNDS),1)

spike: install ## the morning of a meme: seven times the traffic on one symbol, a verdict, a report of who noticed
	$(BIN)/shardctl --stack spike up --cells 3 --admission-rate 3 --wait
	$(BIN)/python -m loadtests spike --stack spike --base-rate 5 --customers 120; code=$$?; $(BIN)/shardctl --stack spike down; exit $$code

ci-tools: ## tools from outside that tests need and that no Python package brings (Debian, as root)
	@missing=; for tool in curl node npm go javac promtool; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	 test -z "$$missing" || { export DEBIAN_FRONTEND=noninteractive; \
	   apt-get update -qq && apt-get install -qq --no-install-recommends -y \
	   $$(for tool in $$missing; do case $$tool in node) echo nodejs;; go) echo golang-go;; javac) echo default-jdk-headless;; promtool) echo prometheus;; *) echo $$tool;; esac; done); }
	@mkdir -p $(TOOLS)/oidc-provider && cp tests/support/oidc_provider/package*.json $(TOOLS)/oidc-provider/
	@cd $(TOOLS)/oidc-provider && npm ci --silent --ignore-scripts --no-audit --no-fund

bench: install ## the benchmarks, against their named peers in the same run (wants a running, quiet stack)
	$(BIN)/python -m loadtests bench orders
	$(BIN)/python -m loadtests bench router

lock: $(TOOLS)/uv-$(UV_VERSION) ## resolve the dependencies again and write every lock
	$(UV) pip compile pyproject.toml --all-extras --group dev $(LOCK_FLAGS) --custom-compile-command "make lock" -o requirements-dev.lock
	$(UV) pip compile pyproject.toml -c requirements-dev.lock $(LOCK_FLAGS) --custom-compile-command "make lock" -o requirements.lock
	$(UV) pip compile pyproject.toml --extra local -c requirements-dev.lock $(LOCK_FLAGS) --custom-compile-command "make lock" -o requirements-local.lock
	$(UV) pip compile pyproject.toml --extra loadtest -c requirements-dev.lock $(LOCK_FLAGS) --custom-compile-command "make lock" -o requirements-loadtest.lock

audit: $(TOOLS)/uv-$(UV_VERSION) ## known vulnerabilities of every locked package, and the list of what is in it (dist/sbom.json)
	@mkdir -p dist
	$(UV) tool run pip-audit==$(PIP_AUDIT_VERSION) --requirement requirements-dev.lock --require-hashes --disable-pip --progress-spinner off --format json --output dist/audit.json
	$(UV) tool run pip-audit==$(PIP_AUDIT_VERSION) --requirement requirements-dev.lock --require-hashes --disable-pip --progress-spinner off --format cyclonedx-json --output dist/sbom.json
	@$(PYTHON) -c 'import json; all = json.load(open("dist/audit.json"))["dependencies"]; skipped = [each["name"] for each in all if "skip_reason" in each]; print(len(all) - len(skipped), "packages audited,", len(skipped), "not"); raise SystemExit("not audited (is the advisory service reachable?): " + ", ".join(skipped[:5]) if skipped or not all else 0)'

down: install ## stop the stack, keep its data
	$(BIN)/shardctl down

clean: ## remove what make built (never a stack's data)
	rm -rf $(VENV) $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
