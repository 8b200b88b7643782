# Two commands do everything on a fresh machine with Python 3.11+, pip and a C++ compiler: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test check conformance inspect manifests clients vscode vscode-e2e corpus view bench-gpu \
	bench-gpu-search bench-gpu-profiles fuzz hacks hacks-gpu clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which with make PYTHON=..."; exit 1; }
	@command -v g++ >/dev/null || { echo "A C++ compiler is needed: install g++."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	@$(BIN)/kernelevolve optimize examples/rmsnorm_swiglu --platform cpu --evaluations 20 --minutes 0.8 --output demo --state demo/state
	@echo
	@echo "The Triton version of the same operator, for two GPUs that need not be here:"
	@$(BIN)/kernelevolve verify examples/rmsnorm_swiglu examples/rmsnorm_swiglu/triton.py --platform cuda:sm_90 --platform hip:gfx950 --state demo/state

test: install
	$(BIN)/pytest

# Whatever comes from outside, made up: 20,000 inputs for each border. pytest runs a small share.
fuzz: install
	$(BIN)/python -m tests.fuzz.run $(FUZZ_ARGUMENTS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/checks/static.py

# Every known reward hack and its honest twin, judged on the CPU.
hacks: install
	$(BIN)/python -m tests.hacks.run --json benchmarks/results/hacks_cpu.json

# The official conformance suite of the protocol, in both eras, and what else needs Node.js. The packages bring their
# own Node.js; npm, of any version, must be there.
.tools/%/.installed: tests/%/package.json tests/%/package-lock.json
	@command -v npm >/dev/null || \
	  { echo "npm is needed to install $*: install Node.js, of any version, then try again."; exit 1; }
	@mkdir -p $(@D) && cp tests/$*/package.json tests/$*/package-lock.json tests/$*/.npmrc $(@D)
	npm install --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

conformance: install .tools/conformance/.installed
	$(BIN)/python -m tests.conformance.run .tools/conformance

# The MCP Inspector lists the tools of `kernelevolve serve`, strictly, in both eras.
inspect: install .tools/inspector/.installed
	$(BIN)/python -m tests.inspector.run .tools/inspector

# The files that registries, bundles and plug-ins read, and docs/clients.md, from the version and the table of clients.
manifests: install
	$(BIN)/python -m kernelevolve.server.manifests

# Real clients against the real server: installs them with npm (1.1 GB) into .tools/clients, which needs Node 20 or newer.
clients: install .tools/clients/.installed
	$(BIN)/pytest tests/clients

.tools/clients/.installed: tests/clients/package.json
	@mkdir -p $(@D)
	cp $< $(@D)/package.json
	cd $(@D) && npm install --no-package-lock --no-audit --no-fund
	@touch $@

# The extension for VS Code: checked, tested, packaged as editor_extensions/vscode/kernelevolve.vsix. Needs Node 20.
VSCODE := editor_extensions/vscode
$(VSCODE)/node_modules/.installed: $(VSCODE)/package.json $(VSCODE)/package-lock.json
	@command -v npm >/dev/null || { echo "npm is needed: install Node.js 20 or newer, then try again."; exit 1; }
	npm ci --prefix $(VSCODE) --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

vscode: install $(VSCODE)/node_modules/.installed
	cd $(VSCODE) && npm run --silent check && npm run --silent build && npm run --silent package
	$(BIN)/pytest tests/editors/test_vscode.py

# The package in a real editor: installs code-server (a gigabyte, minutes) into .tools/code-server; needs Chromium.
vscode-e2e: vscode .tools/code-server/.installed
	KERNELEVOLVE_E2E=1 $(BIN)/pytest tests/editors/test_vscode_e2e.py

.tools/code-server/.installed: tests/editors/code_server/package.json tests/editors/code_server/package-lock.json
	tests/editors/code_server/install.sh $(CURDIR)/$(@D)
	@touch $@

# Check the documents of the knowledge base and make the vectors of new text.
corpus: install
	$(BIN)/python -m kernelevolve.knowledge.corpus

# A folder in which the top-level folders lie inside `kernelevolve/`: for tools that read sources, and for running
# without an installation.
view:
	@mkdir -p .view/kernelevolve
	@for folder in evaluation knowledge profilers search tools server; do ln -sfn ../../$$folder .view/kernelevolve/$$folder; done

# PYTHON must have torch for the GPU that is here; .venv usually holds a CPU build.
bench-gpu: view
	PYTHONPATH=$(CURDIR)/.view:$$PYTHONPATH $(PYTHON) benchmarks/judge_on_gpu.py $(BENCH_ARGUMENTS)

# A whole search on that GPU.
bench-gpu-search: view
	PYTHONPATH=$(CURDIR)/.view:$$PYTHONPATH $(PYTHON) benchmarks/search_on_gpu.py $(BENCH_ARGUMENTS)

# Kernels with planted bottlenecks, profiled on that GPU.
bench-gpu-profiles: view
	PYTHONPATH=$(CURDIR)/.view:$$PYTHONPATH $(PYTHON) benchmarks/profiles_on_gpu.py $(BENCH_ARGUMENTS)

# Every known hack that needs a GPU, and its honest twin, judged on that GPU. BENCH_ARGUMENTS="--only side_stream" picks.
hacks-gpu: view
	PYTHONPATH=$(CURDIR)/.view:$(CURDIR):$$PYTHONPATH $(PYTHON) -m tests.hacks.gpu.table $(BENCH_ARGUMENTS)

clean:
	rm -rf $(VENV) .tools .view build *.egg-info demo
