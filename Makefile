# `make demo` shows what the project does, `make test` proves it; both install what they need into .venv first.
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := demo
NETWORKS := hcpspnet pspnet hcfcn32 fcn32
SIZE := 512x1024

LOCKS := lock/build.txt lock/dev.txt
PLUGIN_LOCKS := tests/plugins/tensorrt-10.txt tests/plugins/tensorrt-11.txt
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: setup lock demo test lint docs native plugin clean

setup: $(INSTALLED) native

# Every package by version and hash from lock/, but torch: by the version in constraints.txt, from whichever build the
# registry has. The last step fetches nothing: it fails where the lock lacks what pyproject.toml asks for.
$(INSTALLED): pyproject.toml constraints.txt $(LOCKS) $(PLUGIN_LOCKS)
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	python3 -m venv $(VENV)
	$(PIP) install --no-deps --require-hashes --requirement lock/build.txt
	$(PIP) install --no-deps --require-hashes --no-build-isolation --requirement lock/dev.txt
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --no-index --no-build-isolation --editable '.[dev]' || { echo "pyproject.toml asks for more than lock/dev.txt has: make lock"; exit 1; }
	@# Two TensorRT runtimes side by side, whose plugin registries the tests use; neither may be on the path.
	for major in 10 11; do $(PIP) install --no-deps --require-hashes --upgrade \
	  --target $(VENV)/tensorrt-$$major --requirement tests/plugins/tensorrt-$$major.txt || exit 1; done
	touch $(INSTALLED)

# Write the locks anew after a change of pyproject.toml, constraints.txt or a .in file; UPGRADE=--upgrade takes the newest
# versions of everything. On the oldest Python that is supported: what is chosen there serves the newer ones too.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras $(UPGRADE) \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --constraint constraints.txt \
  --unsafe-package torch --unsafe-package hc-deploy --unsafe-package pip
lock:
	@test -x $(BIN)/pip-compile || { echo "$(BIN)/pip-compile is missing: make setup, or, where the locks are what is broken," \
	  "python3.11 -m venv $(VENV) && $(BIN)/pip install pip-tools"; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "locks are written with Python 3.11, $(VENV) has " + sys.version)'
	$(COMPILE) --output-file lock/build.txt lock/build.in
	$(COMPILE) --constraint lock/build.txt --extra dev --output-file lock/dev.txt pyproject.toml
	for major in 10 11; do $(COMPILE) --output-file tests/plugins/tensorrt-$$major.txt tests/plugins/tensorrt-$$major.in || exit 1; done

demo: setup
	@echo "== 1/4 export the four trained checkpoints to ONNX, each verified against torch"
	@set -e; for network in $(NETWORKS); do \
	  $(BIN)/python export.py models/weights/$${network}_street.safetensors -o $(DEMO)/$$network --size $(SIZE); done
	@echo "== 2/4 render a street clip"
	$(BIN)/python -m scenes clip -o $(DEMO)/clip --seed 30 --size $(SIZE) --frames 100 --fps 25
	@echo "== 3/4 segment it with HCPSPNet"
	$(BIN)/hc-deploy video $(DEMO)/hcpspnet $(DEMO)/clip/street.mp4 -o $(DEMO)/street_segmented.mp4
	@echo "== 4/4 measure the HC networks side by side with their baselines"
	$(BIN)/python bench.py run $(DEMO)/pspnet $(DEMO)/hcpspnet --max-seconds 20 -o $(DEMO)/pspnet_report.json
	$(BIN)/python bench.py run $(DEMO)/fcn32 $(DEMO)/hcfcn32 --max-seconds 20 -o $(DEMO)/fcn32_report.json
	@echo
	@echo "segmented video   $(DEMO)/street_segmented.mp4"
	@echo "latency reports   $(DEMO)/pspnet_report.json  $(DEMO)/fcn32_report.json"
	@echo "models            $(DEMO)/NETWORK/model.onnx"

test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ -> site/; every link is checked.
docs: $(INSTALLED)
	$(BIN)/mkdocs build --quiet

# The kernels and the TensorRT plugin -> hc_deploy/lib; plugins/CMakeLists.txt says what each needs. No .venv needed.
# ARCHS="80;90" names the compute capabilities, TENSORRT_INCLUDE_DIR=/path the folder of TensorRT's headers.
CMAKE = $(or $(wildcard $(BIN)/cmake),$(shell command -v cmake),$(error cmake was not found: pip install cmake))
plugin:
	@$(CMAKE) -S plugins -B build/plugins -DHC_ARCHS="$(ARCHS)" -DTENSORRT_INCLUDE_DIR="$(TENSORRT_INCLUDE_DIR)"
	@env -u MAKEFLAGS -u MAKELEVEL $(CMAKE) --build build/plugins

# The kernels for CPUs and ONNX Runtime's ops around them -> hc_deploy/lib, in seconds, with g++ or clang++ alone. Where there
# is no compiler it says so, and the ops run from their bodies. CXX_NAME=clang++ names another one.
native:
	@python3 plugins/cpu/build.py --if-there-is-a-compiler $(if $(CXX_NAME),--compiler $(CXX_NAME))

clean:
	rm -rf $(DEMO) build dist site hc_deploy/lib .mypy_cache .ruff_cache .data
