// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Computes the number of VMs for which this machine has CPUs and memory.

use crate::cli::VmArgs;
use std::path::Path;

/// Memory in MiB that a VM takes besides the memory of its guest: QEMU with its translated code.
const VM_OVERHEAD_MIB: u64 = 128;

/// The maximum number of VMs that run at a time: one for every `vm.cpus` CPUs, within half of the
/// free memory. With `--console` or `--gdb`, a VM runs alone.
pub(crate) fn max_vms(vm: &VmArgs) -> usize {
    if vm.console || vm.gdb {
        return 1;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut max_vms = processors / usize::from(vm.cpus);
    if let Some(free_mib) = free_memory_mib() {
        let mib_per_vm = u64::from(vm.memory) + VM_OVERHEAD_MIB;
        max_vms = max_vms.min(usize::try_from(free_mib / 2 / mib_per_vm).unwrap_or(usize::MAX));
    }
    max_vms.max(1)
}

/// Available memory in MiB, of the machine or of the container, whichever has less.
fn free_memory_mib() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine_mib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024;
    Some(
        container_free_memory_mib()
            .map_or(machine_mib, |container_mib| machine_mib.min(container_mib)),
    )
}

/// Available memory in MiB within the limits of the cgroups (v2) of this process; `None` without
/// limits.
fn container_free_memory_mib() -> Option<u64> {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let free_in_cgroups = Path::new(path).ancestors().filter_map(|cgroup| {
        // The value `max` means no limit, and does not parse.
        let read_number = |name: &str| -> Option<u64> {
            std::fs::read_to_string(root.join(cgroup).join(name)).ok()?.trim().parse().ok()
        };
        Some(read_number("memory.max")?.saturating_sub(read_number("memory.current")?) >> 20)
    });
    free_in_cgroups.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_vm_and_no_more_than_memory_allows() {
        use clap::Parser as _;
        let vm = |words: &str| {
            let line = format!("sudbox matrix --kernels 6.12 {words}");
            match crate::cli::Cli::try_parse_from(line.split(' ').filter(|w| !w.is_empty()))
                .unwrap()
                .verb
            {
                crate::cli::Verb::Matrix(args) => args.vm,
                other => panic!("{other:?}"),
            }
        };
        let processors = std::thread::available_parallelism().unwrap().get();
        assert!((1..=processors).contains(&max_vms(&vm(""))));
        let wide = max_vms(&vm("--cpus 8 --memory 65536"));
        assert!(wide == 1 || wide * 8 <= processors, "{wide}");
        assert!(free_memory_mib().is_some());
    }
}
