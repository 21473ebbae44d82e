// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Boots a kernel and echoes the bytes that the guest sends.
//!
//! ```text
//! cargo run -p sudbox-vmm --example boot -- qemu|kvm KERNEL INITRAMFS [COMMAND LINE...]
//! ```
//!
//! The console and the events are printed to stderr, with the seconds since the start. The guest may
//! connect to port 1024 of CID 2. Environment variables: `CPUS`, the number of vCPUs; `GDB`, to wait
//! for a debugger.

use std::time::{Duration, Instant};

use sudbox_protocol::Arch;
use sudbox_vmm::machine::{Machine, VmSpec};
use sudbox_vmm::qemu::{Accelerator, Qemu};
use sudbox_vmm::session::{Event, Session};

/// Time without an event after which the guest is stopped.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(backend), Some(kernel), Some(initramfs)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: boot qemu|kvm KERNEL INITRAMFS [COMMAND LINE...]".into());
    };
    let arch = Arch::host().ok_or("this machine's architecture is not supported")?;
    let reason_for_backend = "as requested".to_owned();
    let machine: Box<dyn Machine> = match &*backend {
        "qemu" => Box::new(Qemu::new(arch, Accelerator::Tcg, reason_for_backend)),
        #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
        "kvm" => Box::new(sudbox_vmm::kvm::MicroVm::new(reason_for_backend)),
        other => return Err(format!("no backend is called {other}").into()),
    };
    let spec = VmSpec {
        cmdline: arguments.collect::<Vec<_>>().join(" "),
        cpus: std::env::var("CPUS").map_or(Ok(1), |cpus| cpus.parse())?,
        memory_mib: 128,
        wait_for_gdb: std::env::var_os("GDB").is_some(),
        ..VmSpec::new(kernel, initramfs, 1024)
    };

    let start = Instant::now();
    let seconds = || start.elapsed().as_secs_f64();
    let mut session = Session::boot(&*machine, &spec)?;
    eprintln!("{:8.4} {} runs", seconds(), machine.describe(spec.discovery));
    if let Some(target) = session.gdb_target() {
        eprintln!("gdb -ex 'target remote {target}'");
    }

    let mut printed_bytes = 0;
    loop {
        let event = session.next(Instant::now() + IDLE_LIMIT, None)?;
        let console = session.console();
        eprint!("{}", console.text_since(printed_bytes));
        printed_bytes = console.total_bytes();
        match event {
            Event::Bytes(bytes) => session.send(&bytes, Instant::now() + IDLE_LIMIT)?,
            Event::ConsoleOutput | Event::Interrupted => {}
            Event::Connected | Event::Disconnected => eprintln!("{:8.4} {event:?}", seconds()),
            Event::Ended | Event::DeadlinePassed => {
                eprintln!("{:8.4} {event:?}", seconds());
                break;
            }
        }
    }
    eprintln!("{:?}", session.finish(Duration::ZERO));
    eprintln!("{:8.4} the VM has ended", seconds());
    Ok(())
}
