# The verbs a person types. Thin: every rule is one call; scripts and CI call `sudbox` itself,
# whose exit codes make does not pass on.

MAKEFLAGS += --no-print-directory
export SUDBOX_MAKE := 1

# Make's own flags and jobserver are not for cargo, and sudbox scrubs them for the kernel's build.
CARGO = env -u MAKEFLAGS -u MFLAGS cargo
HOST = $(shell rustc --print host-tuple)
SUDBOX = $(or $(CARGO_TARGET_DIR),target)/$(HOST)/release/sudbox
# One static file that can be copied to any runner. With a target named, the flag is not for
# procedural macros, which cannot be static.
STATIC = env RUSTFLAGS=-Ctarget-feature=+crt-static

.DEFAULT_GOAL := help
.PHONY: help build test-kernel test test-all test-long lint fuzz bench-harness doctor install clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 24
	@echo
	@echo "test-kernel takes KERNEL ARCH CASES FLAVOUR LINUX CONFIG APPEND"
	@echo "and for the kernel's own build CC LLVM CROSS_COMPILE KCFLAGS JOBS"

build: ## the sudbox command, one static file
	@command -v cargo >/dev/null || { echo "sudbox is written in Rust: install rustup (https://rustup.rs) or your distribution's cargo, 1.95 or newer" >&2; exit 128; }
	@$(STATIC) $(CARGO) build --quiet --release --locked --target $(HOST) --package sudbox

# The values reach sudbox through the environment, so that no shell sees them a second time.
# CC has a default in make, which nobody asked for.
test-kernel: export SUDBOX_CC := $(if $(filter default undefined,$(origin CC)),,$(CC))
test-kernel: export KERNEL := $(KERNEL)
test-kernel: export ARCH := $(ARCH)
test-kernel: export CASES := $(CASES)
test-kernel: export FLAVOUR := $(FLAVOUR)
test-kernel: export LINUX := $(LINUX)
test-kernel: export CONFIG := $(CONFIG)
test-kernel: export APPEND := $(APPEND)
test-kernel: export LLVM := $(LLVM)
test-kernel: export CROSS_COMPILE := $(CROSS_COMPILE)
test-kernel: export KCFLAGS := $(KCFLAGS)
test-kernel: export JOBS := $(JOBS)
test-kernel: build ## judge a kernel: the pinned one, or KERNEL=version, tree or image
	@$(SUDBOX) run --arch "$$ARCH" --cases "$$CASES" --flavour "$$FLAVOUR" --linux "$$LINUX" \
		--config "$$CONFIG" --append "$$APPEND" --cc "$$SUDBOX_CC" --llvm "$$LLVM" \
		--cross-compile "$$CROSS_COMPILE" --kcflags "$$KCFLAGS" --jobs "$$JOBS" -- "$$KERNEL"

test: build ## what a contributor runs: unit tests and the end-to-end tests that take minutes
	@$(CARGO) test --quiet --locked --workspace --exclude sudbox-tests
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) test --locked --package sudbox-tests

test-all: test test-long ## test, and all that takes longer

test-long: build
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) test --locked --package sudbox-tests --features all --test long

lint: ## formatting, clippy, the stated minimum Rust version
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --quiet --locked --workspace --all-targets -- -D warnings
	@./tests/minimum-rust.sh

fuzz: ## every fuzz target for SECONDS each (default 600); needs cargo-fuzz and a nightly toolchain
	@./tests/fuzz.sh "$(SECONDS)"

bench-harness: build ## time to a verdict against a bare QEMU boot of the same kernel
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) run --quiet --release --locked --package sudbox-tests --bin bench-harness

doctor: build ## what this machine can do and what is missing
	@$(SUDBOX) doctor

install: ## the sudbox command and its completions, into cargo's bin directory
	@$(STATIC) $(CARGO) install --quiet --locked --target $(HOST) --path harness

clean: ## everything cargo built; kernels stay in sudbox's cache
	@$(CARGO) clean --quiet
