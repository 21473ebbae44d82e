#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Runs every fuzz target for $1 seconds (600 by default). Needs cargo-fuzz and a nightly toolchain.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-}
for crate in protocol vmm guest-init; do
    for target in $(cd $crate && cargo fuzz list); do
        echo "== $crate $target"
        (cd $crate && cargo +nightly fuzz run "$target" -- -max_total_time="${seconds:-600}" -timeout=10 -rss_limit_mb=4096)
    done
done
