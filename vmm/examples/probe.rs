// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Probes /dev/kvm, and prints the steps, the finding and the duration. The exit code is 0 if
//! /dev/kvm runs kernels.
//!
//! `cargo run -p sudbox-vmm --example probe`

use std::process::ExitCode;

use sudbox_vmm::probe::probe;

fn main() -> ExitCode {
    let probe = probe();
    for line in &probe.trace {
        println!("  {line}");
    }
    println!("{}", probe.finding);
    println!("took {:.1} ms", probe.duration.as_secs_f64() * 1e3);
    if probe.finding.is_usable() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
