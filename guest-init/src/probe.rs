// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Probes the machine and the kernel. Each probe is one or two system calls without a lasting effect, since
//! the time of the probes adds to every boot.
//!
//! The dispatch probes disarm their thread. Nothing is armed when the runner calls them: `execve(2)`
//! disarms (`begin_new_exec()`), and no case has run.

use crate::case::Need;
use crate::{arch, sys};
use std::sync::OnceLock;
use sudbox_protocol::{Feature, Hello};

/// The properties of the machine and the kernel that decide which cases can run.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The kernel's features.
    pub features: Vec<Feature>,
    /// CPU features, named as in `/proc/cpuinfo`.
    pub cpu_features: Vec<String>,
    /// Vendor and model of the CPU.
    pub cpu_model: String,
    /// CPUs that this process may run on.
    pub cpus: u32,
    /// Whether this is a VM made for the cases.
    pub is_vm: bool,
    /// The first two numbers of the kernel's release.
    pub release: (u32, u32),
}

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// The result of the first probe. Before that probe, an environment without features and CPUs.
#[must_use]
pub fn environment() -> &'static Environment {
    static EMPTY: Environment = Environment {
        features: Vec::new(),
        cpu_features: Vec::new(),
        cpu_model: String::new(),
        cpus: 0,
        is_vm: false,
        release: (0, 0),
    };
    ENVIRONMENT.get().unwrap_or(&EMPTY)
}

/// Probes the VM in which this process is PID 1. Later calls return the result of the first. `/proc` must be
/// mounted.
pub fn probe_vm() -> &'static Environment {
    probe(true)
}

/// Probes the machine in which this is an ordinary process. Later calls return the result of the first. `/proc`
/// must be mounted.
pub fn probe_process() -> &'static Environment {
    probe(false)
}

fn probe(is_vm: bool) -> &'static Environment {
    ENVIRONMENT.get_or_init(|| {
        let (cpu_model, cpu_features) = cpu_model_and_features();
        Environment {
            features: kernel_features(),
            cpu_features,
            cpu_model,
            cpus: usable_cpus(),
            is_vm,
            release: release(),
        }
    })
}

impl Environment {
    /// The first of these requirements that the machine does not meet.
    #[must_use]
    pub fn first_unmet<'a>(&self, needs: &'a [Need]) -> Option<&'a Need> {
        needs.iter().find(|need| match need {
            Need::Root => effective_user() != 0,
            Need::Vm => !self.is_vm,
            // The case itself finds out whether the machine is fast enough.
            Need::FastMachine => false,
            Need::Cpus(n) => self.cpus < u32::from(*n),
            Need::CpuVendor(vendor) => !self.cpu_model.starts_with(vendor),
            Need::CpuFeature(name) => !self.cpu_features.iter().any(|f| f == name),
            Need::BootArgument(argument) => !std::fs::read_to_string("/proc/cmdline")
                .is_ok_and(|line| line.split_whitespace().any(|word| word == *argument)),
        })
    }

    /// The first of these features that the kernel lacks.
    #[must_use]
    pub fn first_missing(&self, features: &[Feature]) -> Option<Feature> {
        features.iter().copied().find(|f| !self.features.contains(f))
    }

    /// The content of the first message to the host.
    #[must_use]
    pub fn hello(&self) -> Hello {
        let (release, build, machine) = uname();
        Hello {
            version: sudbox_protocol::VERSION,
            release,
            build,
            machine,
            cpus: self.cpus,
            cpu_model: self.cpu_model.clone(),
            cpu_features: self.cpu_features.clone(),
            floating_state_layout: arch::floating_state_layout(),
            features: self.features.clone(),
            boot_micros: u64::try_from(sys::clock(libc::CLOCK_BOOTTIME).as_micros())
                .unwrap_or(u64::MAX),
        }
    }
}

/// The first two numbers of `uname -r`; 0 for a missing one.
fn release() -> (u32, u32) {
    let (release, ..) = uname();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next())
}

/// Release, version and machine of `uname(2)`.
pub(crate) fn uname() -> (String, String, String) {
    // SAFETY: all zero is a valid utsname, and uname() fills it with terminated strings.
    let name = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut name);
        name
    };
    // SAFETY: uname() terminates each string.
    let text = |field: &[libc::c_char]| unsafe {
        std::ffi::CStr::from_ptr(field.as_ptr()).to_string_lossy().into_owned()
    };
    (text(&name.release), text(&name.version), text(&name.machine))
}

fn effective_user() -> u64 {
    // SAFETY: takes no pointers.
    unsafe { sys::call(libc::SYS_geteuid, &[]) }.unwrap_or(u64::MAX)
}

/// The number of CPUs that this process may run on.
fn usable_cpus() -> u32 {
    let mut set = [0u64; 128];
    // SAFETY: writes at most the length given.
    let written = unsafe {
        sys::call(
            libc::SYS_sched_getaffinity,
            &[0, size_of_val(&set) as u64, set.as_mut_ptr() as u64],
        )
    };
    written.map_or(1, |_| set.iter().map(|word| word.count_ones()).sum())
}

/// Model and features of the first CPU in `/proc/cpuinfo`. The file omits features that the kernel disabled.
/// One read(2) returns at most a page, so the later CPUs are not read.
fn cpu_model_and_features() -> (String, Vec<String>) {
    use std::io::Read;
    let mut text = vec![0; 4096];
    let length = std::fs::File::open("/proc/cpuinfo").and_then(|mut f| f.read(&mut text));
    text.truncate(length.unwrap_or(0));
    let text = String::from_utf8_lossy(&text);
    let field = |name: &str| {
        text.lines()
            .find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            })
            .unwrap_or_default()
    };
    let model = arch::CPU_MODEL.map(field).join(" ");
    let features = field(arch::CPU_FEATURES).split_whitespace().map(str::to_owned).collect();
    (model.trim().to_owned(), features)
}

fn kernel_features() -> Vec<Feature> {
    let (has_syscall_events, has_uprobes) = tracefs_features();
    Feature::ALL
        .iter()
        .copied()
        .filter(|feature| match feature {
            Feature::Dispatch => sys::set_dispatch(0, 0, 0, 0).is_ok(),
            // The kernel checks the mode before the selector, so an unknown mode gives EINVAL. A known mode gives
            // EFAULT for the selector's address; on s390x, which refuses no address, it arms this thread.
            Feature::Inclusive => {
                let result = sys::set_dispatch(2, 0, 1, u64::MAX);
                let _ = sys::set_dispatch(0, 0, 0, 0);
                result != Err(sys::Errno(libc::EINVAL))
            }
            Feature::PtraceConfig => has_ptrace_config(),
            Feature::Sysctl => path_exists(c"/proc/sys/kernel/syscall_user_dispatch"),
            // SAFETY: the kernel refuses the address of the filter before it installs anything.
            Feature::SeccompFilter => unsafe {
                sys::call(libc::SYS_seccomp, &[u64::from(libc::SECCOMP_SET_MODE_FILTER), 0, 0])
                    == Err(sys::Errno(libc::EFAULT))
            },
            // SAFETY: the kernel refuses unknown flags before it creates anything.
            Feature::Userfaultfd => unsafe {
                is_implemented(sys::call(libc::SYS_userfaultfd, &[u64::MAX]))
            },
            Feature::Ia32 | Feature::X32 | Feature::Vsyscall | Feature::Pkeys => {
                arch::has_arch_feature(*feature)
            }
            // SAFETY: the kernel refuses unknown flags before it registers anything.
            Feature::Rseq => is_implemented(unsafe { sys::call(libc::SYS_rseq, &[0, 0, 0xff, 0]) }),
            Feature::SyscallTracepoints => has_syscall_events,
            Feature::Uprobes => has_uprobes,
            Feature::Audit => has_audit(),
            // SAFETY: the kernel refuses unknown flags before it enables anything.
            Feature::Swap => unsafe {
                is_implemented(sys::call(libc::SYS_swapon, &[0, u64::from(u32::MAX)]))
            },
            Feature::PidNamespace => path_exists(c"/proc/self/ns/pid"),
            // A kernel with these checks kills the process that fails them, so cases find out, not the probe.
            Feature::RseqChecks => false,
            Feature::PtraceSetCallInfo => has_ptrace_set_call_info(),
            // The stub of kernels without time slice extensions returns an error.
            // SAFETY: the kernel reads a flag of this thread.
            Feature::RseqSlices => unsafe {
                sys::prctl(RSEQ_SLICE_EXTENSION, RSEQ_SLICE_EXTENSION_GET, 0, 0, 0) == Ok(0)
            },
        })
        .collect()
}

/// Whether the kernel implements the system call that gave this result.
fn is_implemented(result: sys::Result<u64>) -> bool {
    result != Err(sys::Errno(libc::ENOSYS))
}

fn path_exists(path: &std::ffi::CStr) -> bool {
    path_exists_at(libc::AT_FDCWD, path)
}

fn path_exists_at(directory: i32, path: &std::ffi::CStr) -> bool {
    // SAFETY: the string is terminated.
    unsafe { libc::faccessat(directory, path.as_ptr(), libc::F_OK, 0) == 0 }
}

/// Whether a tracer can read the dispatch configuration. The size is the right one (32 bytes): any other is refused
/// by every kernel, as all are by the stub of kernels without dispatch.
fn has_ptrace_config() -> bool {
    let mut config = [0u64; 4];
    ptrace_new_child(PTRACE_GET_DISPATCH, 32, config.as_mut_ptr() as u64).is_ok()
}

/// Whether the kernel has the request `PTRACE_SET_SYSCALL_INFO` (include/uapi/linux/ptrace.h). With length 0
/// the request gives `EINVAL`; on a kernel without the request it gives `EIO`.
fn has_ptrace_set_call_info() -> bool {
    ptrace_new_child(0x4212, 0, 0) == Err(sys::Errno(libc::EINVAL))
}

/// Starts a child, and makes a ptrace(2) request of it when it has stopped. The child shares this process's memory, so that it
/// starts fast.
///
/// # Errors
/// As `ptrace(2)`; `ESRCH` if the child does not start or does not stop.
fn ptrace_new_child(request: u64, address: u64, data: u64) -> sys::Result<u64> {
    extern "C" fn stop(_: u64) -> u64 {
        // SAFETY: takes no pointers.
        let _ = unsafe { sys::call(libc::SYS_ptrace, &[u64::from(libc::PTRACE_TRACEME), 0, 0, 0]) };
        let _ = sys::kill(sys::getpid(), libc::SIGSTOP);
        0
    }
    let mut stack = vec![0u8; 16 * 1024];
    let top = arch::prepare_stack(&mut stack, stop, 0);
    let flags = (libc::CLONE_VM | libc::SIGCHLD).cast_unsigned();
    // SAFETY: the child has its own stack, which outlives it: the child is reaped below.
    let child =
        unsafe { arch::spawn(libc::SYS_clone.cast_unsigned(), [u64::from(flags), top, 0, 0]) };
    let no_child = Err(sys::Errno(libc::ESRCH));
    let Ok(Ok(pid)) = sys::split_result(child).map(i32::try_from) else { return no_child };
    let stopped = matches!(sys::wait(pid, 0), Ok(Some((_, sys::WaitStatus::Stopped(_)))));
    let arguments = [request, u64::from(pid.cast_unsigned()), address, data];
    // SAFETY: the callers pass the address of the memory that the request reads or writes.
    let result = unsafe { sys::call(libc::SYS_ptrace, &arguments) };
    let _ = sys::kill(pid, libc::SIGKILL);
    let _ = sys::wait(pid, 0);
    if stopped { result } else { no_child }
}

/// `PR_RSEQ_SLICE_EXTENSION` and `PR_RSEQ_SLICE_EXTENSION_GET` (include/uapi/linux/prctl.h, since 7.0).
const RSEQ_SLICE_EXTENSION: i32 = 79;
const RSEQ_SLICE_EXTENSION_GET: u64 = 1;

/// `PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG` (include/uapi/linux/ptrace.h).
pub const PTRACE_GET_DISPATCH: u64 = 0x4211;
/// `PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG`.
pub const PTRACE_SET_DISPATCH: u64 = 0x4210;

fn has_audit() -> bool {
    // SAFETY: makes a socket and closes it.
    unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT);
        fd >= 0 && libc::close(fd) == 0
    }
}

/// Whether tracefs has system call events, and whether it has uprobes. Reads a detached mount of tracefs.
fn tracefs_features() -> (bool, bool) {
    let Ok(mount) = sys::mount_detached(c"tracefs") else { return (false, false) };
    let has_syscall_events = path_exists_at(mount, c"events/syscalls/enable");
    let has_uprobes = path_exists_at(mount, c"uprobe_events");
    let _ = sys::close(mount);
    (has_syscall_events, has_uprobes)
}
