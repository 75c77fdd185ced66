# `make demo` shows what the project does, `make test` proves it; both install what they need into .venv first.
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := demo
NETWORKS := hcpspnet pspnet hcfcn32 fcn32
SIZE := 512x1024

.PHONY: setup demo test lint plugin clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt tests/plugins/tensorrt-10.txt tests/plugins/tensorrt-11.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# Two TensorRT runtimes side by side, whose plugin registries the tests use; neither may be on the path.
	for major in 10 11; do $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade \
	  --target $(VENV)/tensorrt-$$major --requirement tests/plugins/tensorrt-$$major.txt; done
	touch $(INSTALLED)

demo: $(INSTALLED)
	@echo "== 1/4 export the four trained checkpoints to ONNX, each verified against torch"
	@set -e; for network in $(NETWORKS); do \
	  $(BIN)/python export.py models/weights/$${network}_street.safetensors -o $(DEMO)/$$network --size $(SIZE); done
	@echo "== 2/4 render a street clip"
	$(BIN)/python -m models.streets clip -o $(DEMO)/clip --seed 30 --size $(SIZE) --frames 100 --fps 25
	@echo "== 3/4 segment it with HCPSPNet"
	$(BIN)/hc-deploy video $(DEMO)/hcpspnet $(DEMO)/clip/street.mp4 -o $(DEMO)/street_segmented.mp4
	@echo "== 4/4 measure the HC networks side by side with their baselines"
	$(BIN)/python bench.py run $(DEMO)/pspnet $(DEMO)/hcpspnet --max-seconds 20 -o $(DEMO)/pspnet_report.json
	$(BIN)/python bench.py run $(DEMO)/fcn32 $(DEMO)/hcfcn32 --max-seconds 20 -o $(DEMO)/fcn32_report.json
	@echo
	@echo "segmented video   $(DEMO)/street_segmented.mp4"
	@echo "latency reports   $(DEMO)/pspnet_report.json  $(DEMO)/fcn32_report.json"
	@echo "models            $(DEMO)/NETWORK/model.onnx"

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The kernels and the TensorRT plugin -> hc_deploy/lib; plugins/CMakeLists.txt says what each needs. No .venv needed.
# ARCHS="80;90" names the compute capabilities, TENSORRT_INCLUDE_DIR=/path the folder of TensorRT's headers.
CMAKE = $(or $(wildcard $(BIN)/cmake),$(shell command -v cmake),$(error cmake was not found: pip install cmake))
plugin:
	@$(CMAKE) -S plugins -B build/plugins -DHC_ARCHS="$(ARCHS)" -DTENSORRT_INCLUDE_DIR="$(TENSORRT_INCLUDE_DIR)"
	@env -u MAKEFLAGS -u MAKELEVEL $(CMAKE) --build build/plugins

clean:
	rm -rf $(DEMO) build dist hc_deploy/lib .mypy_cache .ruff_cache .data
