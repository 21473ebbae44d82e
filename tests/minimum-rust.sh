#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Checks that the workspace builds with the Rust release that Cargo.toml states, and prints NOT RUN
# if that release is not installed.
set -eu
cd "$(dirname "$0")/.."
stated=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
current=$(rustc --version | cut -d' ' -f2)
case $current in
"$stated".*) exec cargo check --quiet --locked --workspace --all-targets ;;
esac
if command -v rustup >/dev/null && rustup toolchain list | grep -q "^$stated[.-]"; then
    exec rustup run "$stated" cargo check --quiet --locked --workspace --all-targets
fi
echo "NOT RUN: Rust $stated, the stated minimum, is not installed (this is $current)" >&2
