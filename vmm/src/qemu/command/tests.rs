// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::machine::DeviceDiscovery;

fn spec() -> VmSpec {
    VmSpec {
        kernel: "/k/vm linux,1".into(),
        initramfs: "/k/init.cpio".into(),
        discovery: DeviceDiscovery::CommandLine,
        cmdline: "quiet".into(),
        timer_hz: None,
        cpus: 2,
        memory_mib: 96,
        cpu_model: None,
        cpu_vendor: None,
        counts_instructions: false,
        vsock_port: 7,
        wait_for_gdb: false,
        trace_operations: false,
        take_snapshot: false,
    }
}

fn line(spec: &VmSpec, gdb_socket: Option<&Path>) -> Vec<String> {
    line_on(Accelerator::Tcg, spec, gdb_socket)
}

fn line_on(accelerator: Accelerator, spec: &VmSpec, gdb_socket: Option<&Path>) -> Vec<String> {
    let inherited = Inherited { vsock: 10, monitor: 11, console: 12, gdb_socket, log: None };
    arguments(spec, board::for_arch(Arch::X86_64), accelerator, "", Some(2_800_000), inherited)
        .into_iter()
        .map(|a| a.into_string().unwrap())
        .collect()
}

fn after<'a>(line: &'a [String], option: &str) -> Vec<&'a str> {
    line.windows(2).filter(|w| w[0] == option).map(|w| w[1].as_str()).collect()
}

#[test]
fn memory_is_shared_and_as_large_as_the_machines() {
    let line = line(&spec(), None);
    assert_eq!(after(&line, "-m"), ["96M"]);
    assert_eq!(after(&line, "-object"), ["memory-backend-memfd,id=ram,size=96M,share=on"]);
    assert_eq!(after(&line, "-machine"), ["microvm,acpi=off,memory-backend=ram"]);
    assert_eq!(after(&line, "-smp"), ["2"]);
}

#[test]
fn a_kernel_that_needs_acpi_gets_it() {
    let line = line(&VmSpec { discovery: DeviceDiscovery::Acpi, ..spec() }, None);
    assert_eq!(after(&line, "-machine"), ["microvm,acpi=on,memory-backend=ram"]);
}

#[test]
fn instructions_are_counted_on_request() {
    let counting = line_on(Accelerator::Counting, &spec(), None);
    assert_eq!(after(&counting, "-icount"), ["shift=0,sleep=on"]);
    assert_eq!(after(&counting, "-accel"), ["tcg"]);
    assert_eq!(after(&counting, "-append"), after(&line(&spec(), None), "-append"));
    assert!(!line(&spec(), None).contains(&"-icount".to_owned()));
}

#[test]
fn the_callers_arguments_come_last() {
    let append = |spec: &VmSpec| after(&line(spec, None), "-append")[0].to_owned();
    let board = board::for_arch(Arch::X86_64);
    let machines = (board.kernel_arguments)(&BootFacts {
        accelerator: Accelerator::Tcg,
        cpus: 2,
        discovery: DeviceDiscovery::CommandLine,
        tsc_khz: Some(2_800_000),
        timer_hz: None,
    });
    assert_eq!(append(&spec()), format!("{machines} quiet"));
    assert_eq!(append(&VmSpec { cmdline: String::new(), ..spec() }), machines);
}

#[test]
fn paths_are_not_escaped_as_separate_arguments() {
    assert_eq!(after(&line(&spec(), None), "-kernel"), ["/k/vm linux,1"]);
}

#[test]
fn descriptors_reach_their_devices() {
    let line = line(&spec(), None);
    assert_eq!(
        after(&line, "-chardev"),
        [
            "file,id=console,path=/dev/fdset/1,append=on",
            "socket,id=vsock,fd=10",
            "socket,id=monitor,fd=11"
        ]
    );
    assert_eq!(after(&line, "-add-fd"), ["fd=12,set=1"]);
    assert!(!line.contains(&"-S".to_owned()));
}

#[test]
fn the_gdb_stub_waits_at_its_path() {
    let waiting = VmSpec { wait_for_gdb: true, ..spec() };
    let line = line(&waiting, Some(Path::new("/tmp/a,b/gdb")));
    let chardev = "socket,id=gdb,server=on,wait=off,path=/tmp/a,,b/gdb";
    assert!(after(&line, "-chardev").contains(&chardev));
    assert_eq!(after(&line, "-gdb"), ["chardev:gdb"]);
    assert!(line.contains(&"-S".to_owned()));
}

#[test]
fn a_traced_vm_has_a_log_and_does_not_wait() {
    let paths = (Path::new("/tmp/gdb"), Path::new("/tmp/log"));
    let inherited = Inherited {
        vsock: 10,
        monitor: 11,
        console: 12,
        gdb_socket: Some(paths.0),
        log: Some(paths.1),
    };
    let board = board::for_arch(Arch::X86_64);
    let line = arguments(&spec(), board, Accelerator::Counting, "", None, inherited);
    let line: Vec<String> = line.into_iter().map(|a| a.into_string().unwrap()).collect();
    assert_eq!(after(&line, "-D"), ["/tmp/log"]);
    assert_eq!(after(&line, "-gdb"), ["chardev:gdb"]);
    assert!(!line.contains(&"-S".to_owned()) && !line.contains(&"-d".to_owned()));
}

#[test]
fn the_cpu_model_is_the_default_or_the_requested_one() {
    assert_eq!(after(&line(&spec(), None), "-cpu"), ["max,erms=off,fsrm=off"]);
    let other = VmSpec { cpu_model: Some("qemu64,+avx".into()), ..spec() };
    assert_eq!(after(&line(&other, None), "-cpu"), ["qemu64,+avx"]);
}

#[test]
fn qemu_may_not_spawn_or_gain_privileges() {
    let line = line(&spec(), None);
    let sandbox = after(&line, "-sandbox");
    assert_eq!(sandbox.len(), 1);
    for denied in ["obsolete", "elevateprivileges", "spawn", "resourcecontrol"] {
        assert!(sandbox[0].contains(&format!("{denied}=deny")), "{denied}");
    }
}
