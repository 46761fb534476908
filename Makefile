# The one door.  `make help` says what is behind it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HYPERSTART := src/hypercontainer/_guest/hyperstart
NATIVE := src/hypercontainer/_native/jail
# Other machines' VMs.
OTHERS := arm64 riscv64 ppc64le s390x
GUEST_SOURCES := $(wildcard guest/init/*.c guest/init/*.h guest/include/*.h) guest/init/Makefile
# Passed on to pytest: make test ARGS="-k logs -x"
ARGS ?=

.PHONY: help setup demo test check bench soak kernel guest wheel format clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

setup: $(STAMP) $(HYPERSTART) $(NATIVE) ## everything that is needed to use Hyper: packages, .venv, the guest's init, a kernel
	@tools/setup.sh kernel

demo: setup ## makes a small image of busybox, runs it on the hypervisor, says what happened
	@$(BIN)/python tools/demo.py

# Three at a time on two cores: a test waits longer than it works.  ARGS="-n0 ..." is one after the other.
test: setup-tests check ## the whole suite
	@$(BIN)/python -m pytest -n3 --dist loadscope --no-loadscope-reorder $(ARGS)

check: $(STAMP) $(HYPERSTART) $(NATIVE) ## style, types, structure, and the C compiler's warnings as errors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python tools/check_structure.py

bench: setup-tests ## what starts, pods, pulls and streams cost, beside what they are measured against
	@$(BIN)/python -m bench $(ARGS)

.PHONY: bench-compare
bench-compare: setup-tests ## two revisions turn by turn: make bench-compare BASE=REV, beside the working tree
	@[ -n "$(BASE)" ] || { echo "which revision? make bench-compare BASE=REV [ARGS='--with REV --rounds N']" >&2; exit 2; }
	@$(BIN)/python -m bench.compare $(BASE) $(ARGS)

soak: setup-tests ## the long forms of the fuzz, fault and soak tests
	@HYPER_SOAK=1 $(BIN)/python -m pytest --timeout=7200 tests $(ARGS)

# FLAVOUR: pc, wide or um, all where none is said.
kernel: $(STAMP) ## the project's own guest kernels, from the distribution's source packages; about 6 minutes each, once
	@tools/setup.sh packages kernel-build
	@$(BIN)/python guest/kernel/build.py $(FLAVOUR)

guest: $(HYPERSTART) ## the guest's init; guest-arm64 and such: for VMs of other architectures

.PHONY: $(OTHERS:%=guest-%)
$(OTHERS:%=guest-%): guest-%: $(HYPERSTART)-%

wheel: $(STAMP) $(HYPERSTART) $(OTHERS:%=$(HYPERSTART)-%) $(NATIVE) ## dist/hypercontainer-*.whl, with all that a host needs inside: pip install, hyper run
	@tools/setup.sh packages wheel
	@$(MAKE) --no-print-directory kernel FLAVOUR=um
	@$(BIN)/python tools/wheel.py

format: $(STAMP) ## formats the Python code
	@$(BIN)/ruff check --fix-only -q . && $(BIN)/ruff format .

clean: ## what was built here (not the caches outside)
	rm -rf $(VENV) build dist src/hypercontainer/_guest src/hypercontainer/_native src/*.egg-info

.PHONY: setup-tests
setup-tests: setup
	@tools/setup.sh packages test
	@tools/setup.sh libvirt
	@tools/setup.sh docker
	@$(BIN)/python tools/vcsim.py >/dev/null || echo "setup: the tests go without the vSphere simulator"
	@$(MAKE) --no-print-directory $(OTHERS:%=guest-%)
	@tools/setup.sh kernel $(OTHERS)
	@$(MAKE) --no-print-directory kernel FLAVOUR="pc wide"
	@[ "$$(id -u)" != 0 ] || $(BIN)/python tools/virtualbox_root.py > /dev/null || echo "setup: the tests go without VirtualBox"
	@$(BIN)/python tools/xen_bed.py
	@$(MAKE) --no-print-directory kernel FLAVOUR=um || { \
		python3 tools/suites.py 'linux-source-7\.[0-9]+' --suite trixie-backports --suite sid >/dev/null 2>&1 && exit 1; \
		echo "setup: no suite that can be reached has the source of Linux 7: the tests go without User Mode Linux"; }

$(STAMP): pyproject.toml requirements.txt tools/setup.sh
	@tools/setup.sh packages run
	@tools/setup.sh python $(PYTHON)
	@touch $@

$(HYPERSTART): $(GUEST_SOURCES) | $(STAMP)
	@echo "guest: building hyperstart"
	@$(MAKE) -s --no-print-directory -C guest/init OUT=$(CURDIR)/$@

$(OTHERS:%=$(HYPERSTART)-%): $(HYPERSTART)-%: $(GUEST_SOURCES) tools/cross.py | $(STAMP)
	@tools/setup.sh packages cross
	@echo "guest: building hyperstart for $*"
	@$(BIN)/python tools/cross.py $* $@

$(NATIVE): $(wildcard native/*.[ch]) native/Makefile | $(STAMP)
	@$(MAKE) -s --no-print-directory -C native OUT=$(CURDIR)/$(@D)
	@touch $@
