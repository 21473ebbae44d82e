# SPDX-License-Identifier: Apache-2.0 OR MIT
# The verbs a person types. Thin: every rule is one call; scripts and CI call `sudbox` itself,
# whose exit codes make does not pass on.

MAKEFLAGS += --no-print-directory
export SUDBOX_MAKE := 1

# Make's own flags and jobserver are not for cargo, and sudbox scrubs them for the kernel's build.
# What cargo runs calls sudbox by itself.
CARGO = env -u MAKEFLAGS -u MFLAGS -u SUDBOX_MAKE cargo
HOST = $(shell rustc --print host-tuple)
SUDBOX = $(or $(CARGO_TARGET_DIR),target)/$(HOST)/release/sudbox
# One static file that can be copied to any runner, without paths of the machine that builds it. With
# a target named, the flags are not for procedural macros, which cannot be static.
REMAP = $(or $(CARGO_HOME),$(HOME)/.cargo)=cargo $(CURDIR)=.
STATIC = env RUSTFLAGS='-Ctarget-feature=+crt-static $(addprefix --remap-path-prefix=,$(REMAP))'

# The variables that each verb takes. Any other is refused: it would be ignored, and another kernel
# judged than was meant.
TOOLCHAIN := CC LLVM CROSS_COMPILE KCFLAGS JOBS
BUILD := ARCH FLAVOUR LINUX EXACT CONTAIN CONFIG $(TOOLCHAIN)
TAKES_test-kernel := KERNEL CASES FUZZ SEED PATCHES APPEND $(BUILD)
TAKES_matrix := KERNELS ARCHES FLAVOURS CASES LINUX EXACT CONTAIN CONFIG APPEND $(TOOLCHAIN)
TAKES_bench := KERNEL BENCH COMPARE PATCHES APPEND $(BUILD)
TAKES_diff := KERNELS CASES PATCHES APPEND $(BUILD)
TAKES_campaign := KERNEL HOURS SEED PATCHES APPEND $(BUILD)
TAKES_bisect := GOOD BAD CASES BENCH CHANGED THRESHOLD RESUME APPEND $(BUILD)
TAKES_kselftest := KERNEL APPEND $(BUILD)
TAKES_coverage := KERNEL CASES
TAKES_bench-kvm := ARCH
TAKES_bench-harness := ARCH
TAKES_test-faults := FAULTS
TAKES_test-blind := SET SLIPS
TAKES_test-all := FAULTS
TAKES_fuzz := SECONDS
TOOLS := CARGO HOST SUDBOX STATIC CARGO_TARGET_DIR CARGO_HOME SHELL MAKEFLAGS
TAKEN := $(sort $(foreach verb,$(MAKECMDGOALS),$(TAKES_$(verb))))
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command line,$(origin $(name))),$(name)))
UNKNOWN := $(firstword $(filter-out $(TAKEN) $(TOOLS),$(GIVEN)))
ifneq ($(UNKNOWN),)
$(error $(UNKNOWN)= is unknown to `make $(or $(MAKECMDGOALS),help)`: `make help` lists the variables that each verb takes)
endif
# The values reach sudbox through the environment, so that no shell sees them a second time. CC has
# a default in make, which nobody asked for.
$(foreach name,$(TAKEN),$(if $(filter default undefined,$(origin $(name))),,$(if $($(name)),$(eval export SUDBOX_$(name) := $$($(name))))))

.DEFAULT_GOAL := help
.PHONY: help build test-kernel matrix diff campaign recordings bench bisect kselftest test test-all test-long test-faults test-blind test-releases test-kvm lint fuzz bench-kvm bench-harness coverage doctor setup dist install clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 24
	@echo
	@$(foreach verb,$(patsubst TAKES_%,%,$(sort $(filter TAKES_%,$(.VARIABLES)))),printf '%-14s takes %s\n' '$(verb)' '$(sort $(TAKES_$(verb)))';)

build: ## the sudbox command, one static file
	@command -v cargo >/dev/null || { echo "sudbox is written in Rust: install rustup (https://rustup.rs) or your distribution's cargo, 1.95 or newer" >&2; exit 128; }
	@$(STATIC) $(CARGO) build --quiet --release --locked --target $(HOST) --package sudbox

test-kernel: build ## judge a kernel: the pinned one, or KERNEL=version, tree or image
	@$(SUDBOX) run

matrix: build ## judge many kernels and say what differs: KERNELS="6.1 6.12" [ARCHES=] [FLAVOURS=]
	@$(SUDBOX) matrix

diff: build ## what user space can see of one kernel and not of another: KERNELS="6.12 7.3"; PATCHES= are for the second
	@$(SUDBOX) diff

campaign: build ## random walks and points of the grid on KERNEL, on all cores, for HOURS=; killed, it goes on
	@$(SUDBOX) campaign

# COMPARE is the kernel that KERNEL is compared with: the older, or the one without the patches.
bench: build ## what dispatch costs on KERNEL [BENCH=names]; COMPARE=kernel says which difference is real
	@$(SUDBOX) bench

recordings: build ## record the pinned kernels anew, with which verdicts are compared (docs/diff.md)
	@for flavour in default full debug; do \
		$(SUDBOX) record 6.1 6.12 7.2 7.3 --flavour $$flavour --cpu-model max --folder recordings || exit; \
	done

bisect: build ## find the commit that broke or mended it: GOOD= BAD= LINUX=tree [CASES=], or slowed it: [BENCH= THRESHOLD=5%]; RESUME=1 goes on
	@$(SUDBOX) bisect

kselftest: build ## a kernel's own selftests of dispatch, built and run on it; KERNEL= as above
	@$(SUDBOX) kselftest

test: build ## what a contributor runs: unit tests and the end-to-end tests that take minutes
	@$(CARGO) test --quiet --locked --workspace --exclude sudbox-tests
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) test --locked --no-fail-fast --package sudbox-tests

test-all: test test-long test-faults test-releases ## test, and all that takes longer

test-long: build
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) test --locked --no-fail-fast --package sudbox-tests --features all --test long --test archs_long --test kernels_long --test bisect_long --test kvm_long --test kvm_kernels --test kvm_aarch64 --test workflows --test slurm

# FAULTS='6.12/selector-* 7.3/mutants 7.3/pairs' are some of them.
test-faults: build ## break kernels by patches and mutants; every fault must be noticed (FAULTS= some)
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) run --quiet --locked --package sudbox-tests --bin test-faults -- $(foreach fault,$(FAULTS),'$(fault)')

# SLIPS='globs' are some of them.
test-blind: build ## ask the suite about a blind set of kernel slips: SET=name (SLIPS= some)
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) run --quiet --locked --package sudbox-tests --bin test-blind -- '$(SET)' $(foreach slip,$(SLIPS),'$(slip)')

test-releases: build ## every release in default, full and debug, from source: hours where nothing is cached
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) test --locked --no-fail-fast --package sudbox-tests --features all --test releases -- --test-threads 1

test-kvm: build ## the microVM on real KVM, under emulated SVM; a short form is in test, all in test-all
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) test --locked --no-fail-fast --package sudbox-tests --features all --test kvm --test kvm_long --test kvm_kernels --test kvm_aarch64

lint: ## formatting, clippy, the fuzz targets, the stated minimum Rust version
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --quiet --locked --workspace --all-targets --features sudbox-tests/all -- -D warnings
	@$(foreach crate,protocol vmm guest-init,$(CARGO) check --quiet --locked --bins --manifest-path $(crate)/fuzz/Cargo.toml --target-dir $(or $(CARGO_TARGET_DIR),target)/fuzz &&) true
	@./tests/minimum-rust.sh

fuzz: ## every fuzz target for SECONDS each (default 600); needs cargo-fuzz and a nightly toolchain
	@./tests/fuzz.sh "$(SECONDS)"

bench-kvm: build ## the microVM against QEMU on the same KVM: time, exits, memory; [ARCH=]
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) run --quiet --release --locked --package sudbox-tests --bin bench-kvm -- "$$SUDBOX_ARCH"

bench-harness: build ## time to a verdict against a bare QEMU boot of the same kernel; [ARCH=]
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) run --quiet --release --locked --package sudbox-tests --bin bench-harness -- "$$SUDBOX_ARCH"

coverage: build ## what the cases execute of the dispatch code of KERNEL, to the instruction
	@SUDBOX=$(abspath $(SUDBOX)) $(CARGO) run --quiet --release --locked --package sudbox-tests --bin coverage -- "$$SUDBOX_KERNEL" "$$SUDBOX_CASES"

doctor: build ## what this machine can do and what is missing
	@$(SUDBOX) doctor

setup: build ## install what is missing, and say what this machine can do
	@$(SUDBOX) setup

dist: build ## the release: one static file and its checksum, in dist/
	@mkdir -p dist
	@cp $(SUDBOX) dist/sudbox-$(firstword $(subst -, ,$(HOST)))
	@cp LICENSE-APACHE LICENSE-MIT LICENSES/GPL-2.0-only.txt dist/
	@cd dist && sha256sum sudbox-* > SHA256SUMS

install: ## the sudbox command into cargo's bin directory; its man pages and completions for bash, zsh and fish
	@$(STATIC) $(CARGO) install --quiet --locked --target $(HOST) --path harness
	@$(or $(CARGO_HOME),$(HOME)/.cargo)/bin/sudbox completions --install

clean: ## everything cargo built; kernels stay in sudbox's cache
	@$(CARGO) clean --quiet
