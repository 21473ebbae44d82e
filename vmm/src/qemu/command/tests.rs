// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::machine::DeviceDiscovery;

fn spec() -> VmSpec {
    VmSpec {
        cmdline: "quiet".into(),
        cpus: 2,
        memory_mib: 96,
        ..VmSpec::new("/k/vm linux,1", "/k/init.cpio", 7)
    }
}

/// Returns the command line on TCG.
fn line(spec: &VmSpec, gdb_socket: Option<&Path>) -> Vec<String> {
    line_on(Accelerator::Tcg, spec, gdb_socket)
}

/// Returns the command line on an accelerator.
fn line_on(accelerator: Accelerator, spec: &VmSpec, gdb_socket: Option<&Path>) -> Vec<String> {
    let inherited = Inherited { vsock: 10, monitor: 11, console: 12, gdb_socket, log: None };
    arguments(spec, board::for_arch(Arch::X86_64), accelerator, "", Some(2_800_000), inherited)
        .into_iter()
        .map(|argument| argument.into_string().unwrap())
        .collect()
}

/// Returns the values of an option, in the order of the command line.
fn values<'a>(line: &'a [String], option: &str) -> Vec<&'a str> {
    line.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
}

#[test]
fn memory_is_a_shared_memfd_of_the_machines_size() {
    let line = line(&spec(), None);
    assert_eq!(values(&line, "-m"), ["96M"]);
    assert_eq!(values(&line, "-object"), ["memory-backend-memfd,id=ram,size=96M,share=on"]);
    assert_eq!(values(&line, "-machine"), ["microvm,acpi=off,memory-backend=ram"]);
    assert_eq!(values(&line, "-smp"), ["2"]);
}

#[test]
fn acpi_is_on_for_discovery_by_acpi() {
    let line = line(&VmSpec { discovery: DeviceDiscovery::Acpi, ..spec() }, None);
    assert_eq!(values(&line, "-machine"), ["microvm,acpi=on,memory-backend=ram"]);
}

#[test]
fn the_counting_accelerator_is_tcg_with_icount() {
    let counting = line_on(Accelerator::Counting, &spec(), None);
    assert_eq!(values(&counting, "-icount"), ["shift=0,sleep=on"]);
    assert_eq!(values(&counting, "-accel"), ["tcg"]);
    assert_eq!(values(&counting, "-append"), values(&line(&spec(), None), "-append"));
    assert!(!line(&spec(), None).contains(&"-icount".to_owned()));
}

#[test]
fn the_callers_boot_arguments_follow_those_of_the_board() {
    let append = |spec: &VmSpec| values(&line(spec, None), "-append")[0].to_owned();
    let board = board::for_arch(Arch::X86_64);
    let board_arguments = (board.kernel_arguments)(&BootFacts {
        accelerator: Accelerator::Tcg,
        cpus: 2,
        discovery: DeviceDiscovery::CommandLine,
        tsc_khz: Some(2_800_000),
        config_hz: None,
    });
    assert_eq!(append(&spec()), format!("{board_arguments} quiet"));
    assert_eq!(append(&VmSpec { cmdline: String::new(), ..spec() }), board_arguments);
}

#[test]
fn commas_are_not_escaped_in_a_path_that_is_a_whole_argument() {
    assert_eq!(values(&line(&spec(), None), "-kernel"), ["/k/vm linux,1"]);
}

#[test]
fn descriptors_are_passed_to_their_devices() {
    let line = line(&spec(), None);
    assert_eq!(
        values(&line, "-chardev"),
        [
            "file,id=console,path=/dev/fdset/1,append=on",
            "socket,id=vsock,fd=10",
            "socket,id=monitor,fd=11"
        ]
    );
    assert_eq!(values(&line, "-add-fd"), ["fd=12,set=1"]);
    assert!(!line.contains(&"-S".to_owned()));
}

#[test]
fn a_vm_that_waits_for_gdb_has_a_stub_and_stopped_cpus() {
    let spec = VmSpec { wait_for_gdb: true, ..spec() };
    let line = line(&spec, Some(Path::new("/tmp/a,b/gdb")));
    let chardev = "socket,id=gdb,server=on,wait=off,path=/tmp/a,,b/gdb";
    assert!(values(&line, "-chardev").contains(&chardev));
    assert_eq!(values(&line, "-gdb"), ["chardev:gdb"]);
    assert!(line.contains(&"-S".to_owned()));
}

#[test]
fn a_traced_vm_has_a_stub_and_a_log_and_running_cpus() {
    let inherited = Inherited {
        vsock: 10,
        monitor: 11,
        console: 12,
        gdb_socket: Some(Path::new("/tmp/gdb")),
        log: Some(Path::new("/tmp/log")),
    };
    let board = board::for_arch(Arch::X86_64);
    let line = arguments(&spec(), board, Accelerator::Counting, "", None, inherited);
    let line: Vec<String> =
        line.into_iter().map(|argument| argument.into_string().unwrap()).collect();
    assert_eq!(values(&line, "-D"), ["/tmp/log"]);
    assert_eq!(values(&line, "-gdb"), ["chardev:gdb"]);
    assert!(!line.contains(&"-S".to_owned()) && !line.contains(&"-d".to_owned()));
}

#[test]
fn the_cpu_model_is_the_default_or_the_requested_one() {
    assert_eq!(values(&line(&spec(), None), "-cpu"), ["max,erms=off,fsrm=off"]);
    let requested = VmSpec { cpu_model: Some("qemu64,+avx".into()), ..spec() };
    assert_eq!(values(&line(&requested, None), "-cpu"), ["qemu64,+avx"]);
}

#[test]
fn qemu_may_not_spawn_or_gain_privileges() {
    let line = line(&spec(), None);
    let sandbox = values(&line, "-sandbox");
    assert_eq!(sandbox.len(), 1);
    for denied in ["obsolete", "elevateprivileges", "spawn", "resourcecontrol"] {
        assert!(sandbox[0].contains(&format!("{denied}=deny")), "{denied}");
    }
}
