# Tamis. `make help` lists what there is; CI runs `make check` and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TRITON := .tools/triton
CONTROL_PLANE := .tools/control-plane
# RANKER=triton: the demo ranks by a Triton server that runs as long as it does
RANKED = $(if $(RANKER),PYTHONPATH=tools $(BIN)/python -m triton_local --repository $(BUNDLE)/models \
	-- env TAMIS_RANKING__URL=triton://{endpoint}/deepfm)
BUNDLE = pipeline/tamis_pipeline/shop/bundle
PORT := 8001
GHZ := 0.121.0
GRPCURL := 1.9.3
PROMTOOL := 0.316.0
SCENARIO := open-loop
SOURCES := setup.py pyproject.toml constraints.txt $(wildcard kernels/src/* kernels/include/*)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo demo-once demo-data demo-clip demo-bundle test test-ray \
	test-transformers check lint types imports proto proto-check sanitize bench format clean triton \
	triton-install triton-client triton-for-tests tools loadtest control-plane

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: $(VENV)/.serving ## Make the environment, with what search needs, and build the kernels
setup-dev: $(VENV)/.development ## The same with what tests and training need

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Tamis needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try make PYTHON=python3.12"; exit 2; }
	@command -v $${CXX:-c++} >/dev/null \
		|| { echo "Tamis needs a C++17 compiler and found no $${CXX:-c++}. On Debian: apt-get install g++"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serving: $(VENV)/bin/python $(SOURCES)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[clip]'
	@touch $@

$(VENV)/.development: $(VENV)/.serving
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,train]'
	@touch $@

demo: setup $(RANKER:triton=triton-client) ## Serve the demo shop on 127.0.0.1:50051 and show recommendations (RANKER=triton: by Triton)
	$(RANKED) $(BIN)/tamis demo

demo-once: setup $(RANKER:triton=triton-client) ## The same, check the answer and exit
	$(RANKED) $(BIN)/tamis demo --once

demo-clip: demo-data ## Train the demo shop's CLIP again
	$(BIN)/tamis pipeline clip train --input .cache/shop --size tiny --out pipeline/tamis_pipeline/shop/clip

demo-bundle: demo-data ## Train the demo shop's bundle again
	$(BIN)/tamis pipeline build --config demo-shop --input .cache/shop --out pipeline/tamis_pipeline/shop/bundle --name demo-shop

demo-data: setup-dev ## Write the demo shop as a data set, with pictures, to .cache/shop
	$(BIN)/tamis pipeline shop --out .cache/shop --pictures

triton: setup triton-install ## Serve a bundle's models by a real Triton server (BUNDLE=, PORT=)
	PYTHONPATH=tools $(BIN)/python -m triton_local --repository $(BUNDLE)/models --port $(PORT)

triton-client: triton-install $(VENV)/.triton ## Install the Triton server and its client

$(VENV)/.triton: $(VENV)/.serving
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[triton]'
	@touch $@

triton-install: $(TRITON)/.installed ## Fetch the Triton server into .tools/triton (x86-64, CPython 3.11 or 3.12)

$(TRITON)/.installed: $(wildcard tools/triton_local/*.txt)
	@rm -rf $(TRITON)
	$(PYTHON) -m venv $(TRITON)/python
	$(TRITON)/python/bin/pip install --quiet --no-deps --require-hashes --requirement tools/triton_local/backend.txt
	$(TRITON)/python/bin/pip install --quiet --no-deps --no-compile --require-hashes \
		--target $(TRITON)/wheel --requirement tools/triton_local/server.txt
	@touch $@

triton-for-tests: ## Install Triton where CI must have it; elsewhere its tests are skipped, and say so
	@$(MAKE) --no-print-directory triton-install \
		|| { test -z "$$CI" || exit 1; echo "SKIPPED (1): no Triton server could be installed"; }

test: setup-dev $(VENV)/.loadtest triton-for-tests ## Run the tests
	$(BIN)/pytest

test-ray: setup-dev ## Run the tests that need Ray (installs 0.3 GB)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,train,ray]'
	$(BIN)/pytest -m ray

test-transformers: $(VENV)-transformers/.ready ## Compare with Hugging Face's CLIP (installs 4.7 GB)
	$(VENV)-transformers/bin/pytest tests/huggingface

$(VENV)-transformers/.ready: $(SOURCES)
	$(PYTHON) -m venv $(VENV)-transformers
	$(VENV)-transformers/bin/pip install --quiet --constraint constraints.txt --editable '.[dev,clip-torch]'
	@touch $@

check: lint types imports proto-check test ## All that CI runs

lint: setup-dev ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup-dev ## Check types
	$(BIN)/mypy

imports: setup-dev ## Check that imports point downward only
	$(BIN)/lint-imports

proto: setup-dev ## Generate the stubs from proto/
	$(BIN)/python proto/generate.py

proto-check: setup-dev ## Check the stubs for drift and the protos' style
	$(BIN)/python proto/generate.py --check
	@if command -v npm >/dev/null; then \
		test -x .tools/node_modules/.bin/buf || npm install --silent --no-save --prefix .tools @bufbuild/buf@1; \
		.tools/node_modules/.bin/buf lint proto; \
	elif [ -n "$$CI" ]; then echo "buf lint needs npm, which CI must have"; exit 1; \
	else echo "SKIPPED (1): buf lint needs npm"; fi

sanitize: setup-dev ## Run the kernels' tests under ASan and UBSan
	kernels/sanitize.sh

bench: setup-dev triton-for-tests ## Measure, and write loadtest/reports/latest.json
	$(BIN)/python loadtest/bench.py

LOADTOOLS := .tools/bin/ghz-$(GHZ) .tools/bin/grpcurl-$(GRPCURL)
TOOLS := $(LOADTOOLS) .tools/bin/promtool-$(PROMTOOL)

tools: $(TOOLS) ## Install ghz, grpcurl and promtool into .tools/bin (needs Go)

.tools/bin/ghz-$(GHZ): PACKAGE = github.com/bojand/ghz/cmd/ghz@v$(GHZ)
.tools/bin/grpcurl-$(GRPCURL): PACKAGE = github.com/fullstorydev/grpcurl/cmd/grpcurl@v$(GRPCURL)
# without what finds targets in clouds, which rules need none of
.tools/bin/promtool-$(PROMTOOL): PACKAGE = -tags remove_all_sd \
	github.com/prometheus/prometheus/cmd/promtool@v$(PROMTOOL)
$(TOOLS): TOOL = $(firstword $(subst -, ,$(@F)))
# named by version, so that a new one is installed; the plain name is a link to it
$(TOOLS):
	@command -v go >/dev/null || { echo "make tools builds $(TOOL) with Go, and there is none. \
	Only SCENARIO=ghz and the tests of alerts need it"; exit 2; }
	@rm -f $(@D)/$(TOOL)*
	GOBIN=$(CURDIR)/$(@D) go install $(PACKAGE)
	@mv $(@D)/$(TOOL) $@ && ln -s $(@F) $(@D)/$(TOOL)

control-plane: $(CONTROL_PLANE)/.installed ## Build a Kubernetes control plane for tests/infra (needs Go; 6 minutes, 0.4 GB)

$(CONTROL_PLANE)/.installed: tools/control_plane/build.sh
	$< $(@D)

loadtest: $(VENV)/.loadtest $(if $(filter ghz,$(SCENARIO)),$(LOADTOOLS)) ## Load-test: SCENARIO=open-loop, ghz, ramp, spike or soak (TARGET=, BUNDLE=, ARGS=)
	PYTHONPATH=loadtest $(BIN)/python -m scenarios $(SCENARIO) $(if $(TARGET),--target $(TARGET)) \
		--bundle $(BUNDLE) $(ARGS)

$(VENV)/.loadtest: $(VENV)/.serving
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[loadtest]'
	@touch $@

clean: ## Remove what was built
	rm -rf build dist *.egg-info .cache $(VENV) kernels/tamis_kernels/*.so
