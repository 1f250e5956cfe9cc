# make run    fresh machine: venv, install, train the built-in arm, compile --int8, bench at 1 kHz with a link bent half-way
# make test   fresh machine: everything the tests need, then the tests
# make lint, make unit, make engines-test: its parts

PYTHON      ?= python3
VENV        ?= .venv
CONSTRAINTS ?= constraints.txt
BIN         := $(VENV)/bin
BUILD       := setup.py pyproject.toml $(CONSTRAINTS) $(wildcard engines/*.py engines/mcu/*/* engines/mcu/*/*/* engines/*/*.c engines/*/*.h engines/include/*/*.h engines/*/*.cu*)
APT         := clang-format build-essential gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user \
  gcc-arm-none-eabi libnewlib-arm-none-eabi gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-arm \
  qemu-system-misc
SHELL_FILES := $(wildcard jetson_setup/*.sh tests/unit/jetson/bin/*) .ci/run

.PHONY: run test install install-dev apt lint unit engines-test clean

run: install
	$(BIN)/edgekin train --name demo --budget 150 --force
	$(BIN)/edgekin compile --int8 --force
	$(BIN)/edgekin bench --hz 1000 --seconds 20 --damage bend:2:20@10 --json runs/demo/bench.json

test: apt lint engines-test unit

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python $(BUILD)
	$(BIN)/pip install --quiet -e '.[train]' -c $(CONSTRAINTS)
	touch $@

$(VENV)/installed-dev: $(VENV)/bin/python $(BUILD)
	$(BIN)/pip install --quiet -e '.[train,report,rtx,dev]' -c $(CONSTRAINTS)
	touch $@ $(VENV)/installed

# Debian packages that some tests need: installed where that is allowed, otherwise those tests skip and say what to install.
apt:
	@if command -v clang-format >/dev/null && command -v cc >/dev/null && command -v aarch64-linux-gnu-gcc >/dev/null \
	  && command -v qemu-aarch64 >/dev/null && command -v arm-none-eabi-gcc >/dev/null && command -v qemu-system-arm >/dev/null \
	  && command -v riscv64-unknown-elf-gcc >/dev/null && command -v qemu-system-riscv32 >/dev/null; then :; \
	elif ! command -v apt-get >/dev/null; then echo "no apt-get here: please install $(APT)"; \
	elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq --no-install-recommends $(APT) >/dev/null; \
	elif sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo apt-get install -y -qq --no-install-recommends $(APT) >/dev/null; \
	else echo "no root here: please install $(APT)"; fi

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/shellcheck $(SHELL_FILES)
	$(BIN)/shfmt -i 2 -ci -d $(SHELL_FILES)
	@if command -v clang-format >/dev/null; then \
	  clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h' '*.cu' '*.cuh'); \
	else echo "clang-format not found: C formatting not checked (apt-get install clang-format)"; fi

# The C tests twice: as shipped, and under AddressSanitizer and UndefinedBehaviorSanitizer.
engines-test:
	$(MAKE) -C engines check
	$(MAKE) -C engines asan

unit: install-dev
	$(BIN)/python -m pytest

clean:
	$(MAKE) -C engines clean
	rm -rf build dist *.egg-info $(VENV)
