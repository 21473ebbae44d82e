// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Selectors at tagged addresses of x86-64 (LAM).

use crate::arch;
use crate::case::Check;
use crate::support::*;
use crate::sys::Errno;
use crate::tracee::{Config, Tracee, pause_for_tracer};

/// The address of [`SELECTOR`], once with each tag bit alone and once with all tag bits.
fn tagged_selectors() -> impl Iterator<Item = u64> {
    let single_bits = arch::TAG_BITS.map(|bit| 1 << bit);
    let all_bits = single_bits.clone().fold(0, |tags, tag| tags | tag);
    single_bits.chain([all_bits]).map(|tag| selector_address(&SELECTOR) | tag)
}

pub(crate) fn refused_by_prctl() -> Check {
    handle_dispatches(do_nothing)?;
    let (start, length) = (arch::inside().start, inside_length());
    for selector in tagged_selectors() {
        expect_refused(MODE_EXCLUSIVE, start, length, selector, libc::EFAULT)?;
        expect_executed_despite_block(&arch::gate())?;
    }
    // An armed task keeps its configuration.
    arm()?;
    for selector in tagged_selectors() {
        expect_refused(MODE_EXCLUSIVE, start, length, selector, libc::EFAULT)?;
    }
    expect_dispatched(&arch::gate())?;
    expect_executed(&arch::gate())
}

pub(crate) fn refused_to_tracer() -> Check {
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        0
    })?;
    for selector in tagged_selectors() {
        let (offset, length) = (arch::inside().start, inside_length());
        let config = Config { mode: MODE_EXCLUSIVE, selector, offset, length };
        let result = tracee.set_config(&config);
        expect_equal(&format!("setting selector {selector:#x}"), result, Err(Errno(libc::EFAULT)))?;
        expect_equal("configuration after it", tracee.config()?, Config::default())?;
    }
    tracee.kill()
}
