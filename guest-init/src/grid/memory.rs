// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory for the points of the grid: gates, a selector of each kind, and stacks.

use super::dimension::{Disposition, GateChoice, Selector};
use crate::arch::{self, CALL_LENGTH, Gate, SecondEntry};
use crate::case::Failure;
use crate::support::{PAGE_SIZE, broken, map_pages, protect};
use crate::sys;
use std::ops::Range;
use std::sync::atomic::AtomicU8;
use sudbox_protocol::Feature;

/// The properties of the kernel and of the machine that decide which states of the dimensions are possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// Inclusive mode.
    pub has_inclusive_mode: bool,
    /// `PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG`.
    pub has_ptrace_config: bool,
    /// 32-bit system calls.
    pub has_ia32: bool,
    /// x32 system calls.
    pub has_x32: bool,
    /// Seccomp filters.
    pub has_filters: bool,
    /// Restartable sequences.
    pub has_rseq: bool,
    /// PID namespaces, and the privilege to create them.
    pub has_pid_namespaces: bool,
    /// System call tracepoints, in a VM where enabling them disturbs nobody.
    pub has_tracepoints: bool,
    /// Audit, in a VM made for the cases.
    pub has_audit: bool,
    /// The sysctl `kernel.syscall_user_dispatch`, in a VM made for the cases.
    pub has_sysctl: bool,
}

impl Platform {
    /// The platform with these kernel features. `is_vm` says whether this is a VM made for the cases.
    #[must_use]
    pub fn with_features(features: &[Feature], is_root: bool, is_vm: bool) -> Platform {
        let has = |feature| features.contains(&feature);
        Platform {
            has_inclusive_mode: has(Feature::Inclusive),
            has_ptrace_config: has(Feature::PtraceConfig),
            has_ia32: has(Feature::Ia32),
            has_x32: has(Feature::X32),
            has_filters: has(Feature::SeccompFilter),
            has_rseq: has(Feature::Rseq),
            has_pid_namespaces: has(Feature::PidNamespace) && is_root,
            has_tracepoints: has(Feature::SyscallTracepoints) && is_root && is_vm,
            has_audit: has(Feature::Audit) && is_root && is_vm,
            has_sysctl: has(Feature::Sysctl) && is_root && is_vm,
        }
    }
}

/// The addresses and properties on which predictions depend.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The properties of the kernel and of the machine.
    pub platform: Platform,
    /// The address range of all calls that are not under test.
    pub inside: Range<u64>,
    /// The gates, in the order of [`GateChoice::ALL`]; `None` for gates that this machine lacks.
    pub gates: [Option<Gate>; 6],
    /// The second entry into the kernel, such as `int 0x80`, if there is one.
    pub second_entry: Option<SecondEntry>,
    /// The addresses of the selectors, in the order of [`Selector::ALL`].
    pub selectors: [Option<u64>; 13],
    /// The byte of code at the address of [`Selector::CodeByte`].
    pub code_byte: u8,
    /// The address of a selector that is always at ALLOW.
    pub allow_selector: u64,
    /// The addresses, below 4 GiB, of the three 4-byte words to which getresuid(2) writes the user ids.
    pub id_addresses: [u64; 3],
    /// The call number of `restart_syscall(2)`.
    pub restart_number: u64,
    /// Whether number 0 is `read(2)`.
    pub zero_is_read: bool,
    /// The addresses of the handlers of SIGSYS: with `SA_SIGINFO`, and without.
    pub handlers: [u64; 2],
}

impl Layout {
    /// This layout for a kernel that has all interfaces for dispatch of later releases except the sysctl.
    #[must_use]
    pub(super) fn with_later_interfaces(&self) -> Layout {
        let platform = Platform {
            has_inclusive_mode: true,
            has_ptrace_config: true,
            has_sysctl: false,
            ..self.platform
        };
        Layout { platform, ..self.clone() }
    }

    /// The gate of this state, if the machine has it.
    #[must_use]
    pub fn gate(&self, choice: GateChoice) -> Option<Gate> {
        self.gates[choice as usize]
    }

    /// The gate of the next call after the call under test, which uses the gate of `choice`. The two
    /// gates differ.
    #[must_use]
    pub fn next_gate(&self, choice: GateChoice) -> Gate {
        if choice == GateChoice::SecondGate { arch::gate() } else { arch::second_gate() }
    }

    /// The address of this selector, if the machine has it.
    #[must_use]
    pub fn selector(&self, selector: Selector) -> Option<u64> {
        self.selectors[selector as usize]
    }

    /// Whether the kernel refuses this address as a selector.
    #[must_use]
    pub fn is_forbidden(&self, selector: u64) -> bool {
        [Selector::Kernel, Selector::LastAddress]
            .into_iter()
            .any(|state| self.selector(state) == Some(selector))
    }

    /// The address at which the kernel enters the handler of this disposition.
    #[must_use]
    pub fn handler(&self, disposition: Disposition) -> u64 {
        arch::handler_entry_address(
            self.handlers[usize::from(disposition == Disposition::NoSiginfo)],
        )
    }
}

/// Size of the alternate stacks in bytes.
pub(super) const ALTERNATE_STACK_SIZE: usize = 16 * PAGE_SIZE;

/// Memory for points.
pub(super) struct Memory {
    /// A writable byte for each selector, in the order of [`Selector::ALL`]. `None` if the selector's value
    /// cannot be set.
    pub(super) selector_bytes: [Option<&'static AtomicU8>; 13],
    /// The start of a writable and of a read-only alternate stack.
    pub(super) alternate_stacks: [u64; 2],
    pub(super) layout: Layout,
}

/// The byte at an address.
///
/// # Safety
/// The address must be that of a byte that is never unmapped.
unsafe fn byte_at(address: u64) -> &'static AtomicU8 {
    // SAFETY: by the contract of this function.
    unsafe { &*(address as *const AtomicU8) }
}

impl Memory {
    /// Maps the memory. `ids` is the address of the first word of [`Layout::id_addresses`], and
    /// `handlers` become [`Layout::handlers`].
    pub(super) fn new(platform: Platform, ids: u64, handlers: [u64; 2]) -> Result<Memory, Failure> {
        // A writable page between two pages that cannot be accessed.
        let private = map_pages(3)?;
        protect(private, 1, libc::PROT_NONE)?;
        // SAFETY: the third of the three pages.
        protect(unsafe { private.add(2 * PAGE_SIZE) }, 1, libc::PROT_NONE)?;
        let private = private as u64;
        let page = PAGE_SIZE as u64;
        let file = sys::memory_file().map_err(broken("memfd_create"))?;
        // SAFETY: sets the size of the new file.
        unsafe { sys::call(libc::SYS_ftruncate, &[u64::from(file.cast_unsigned()), 3 * page]) }
            .map_err(broken("ftruncate"))?;
        let map_file = |length: u64, protection: i32, flags: i32| {
            let [protection, flags, file] =
                [protection, flags, file].map(|value| u64::from(value.cast_unsigned()));
            // SAFETY: the kernel picks addresses that are free.
            unsafe { sys::mmap(&[0, length, protection, flags, file, 0]) }
                .map(|start| start as u64)
                .map_err(broken("mmap"))
        };
        let read_write = libc::PROT_READ | libc::PROT_WRITE;
        let writable_file = map_file(3 * page, read_write, libc::MAP_SHARED)?;
        let read_only_file = map_file(4 * page, libc::PROT_READ, libc::MAP_SHARED)?;
        let private_file = map_file(page, libc::PROT_READ, libc::MAP_PRIVATE)?;
        let allow_selector = map_pages(1)? as u64;
        let code = arch::gate().call_address();
        // The offsets in pages are arbitrary, except those of the first and the last byte.
        let selectors = Selector::ALL.iter().map(|selector| {
            Some(match selector {
                Selector::Private => private + page + 0x123,
                Selector::Null => 0,
                Selector::Shared => writable_file + 2 * page + 7,
                Selector::PrivateFile => private_file + 0xabc,
                Selector::SharedFile => read_only_file + page + 1,
                Selector::LastOfPage => private + 2 * page - 1,
                Selector::FirstOfPage => private + page,
                Selector::NoAccess => private + 0x777,
                Selector::Unmapped => 0x10,
                Selector::PastEndOfFile => read_only_file + 3 * page,
                Selector::Kernel if !arch::REFUSES_KERNEL_ADDRESSES => return None,
                Selector::Kernel => arch::KERNEL_ADDRESS,
                Selector::LastAddress if !arch::REFUSES_KERNEL_ADDRESSES => return None,
                Selector::LastAddress => u64::MAX,
                Selector::CodeByte => code,
            })
        });
        let selectors: [Option<u64>; 13] = collect_array(selectors);
        let writable = Selector::ALL.iter().zip(selectors).map(|(selector, address)| {
            let address = match selector {
                Selector::PrivateFile => writable_file + 0xabc,
                Selector::SharedFile => writable_file + page + 1,
                selector if selector.is_memory() => address?,
                _ => return None,
            };
            // SAFETY: in one of the mappings above.
            Some(unsafe { byte_at(address) })
        });
        let selector_bytes = collect_array(writable);
        let (stack, read_only_stack) = (
            map_pages(ALTERNATE_STACK_SIZE / PAGE_SIZE)?,
            map_pages(ALTERNATE_STACK_SIZE / PAGE_SIZE)?,
        );
        protect(read_only_stack, ALTERNATE_STACK_SIZE / PAGE_SIZE, libc::PROT_READ)?;
        let second_entry = arch::second_entry().filter(|_| platform.has_ia32);
        let gates = GateChoice::ALL.iter().map(|choice| match choice {
            GateChoice::FirstGate => Some(arch::gate()),
            GateChoice::SecondGate => Some(arch::second_gate()),
            GateChoice::SecondEntry => second_entry.map(|entry| entry.gate),
            GateChoice::LowMemory => copied_gate(&[0x1_0000, 0x10_0000, 0x100_0000], 0),
            GateChoice::HighestPage => copied_gate(&highest_pages(), 0),
            GateChoice::EndOfPage => gate_at_page_end(),
        });
        let layout = Layout {
            platform,
            inside: arch::inside(),
            gates: collect_array(gates),
            second_entry,
            selectors,
            // SAFETY: a byte of the gate's code.
            code_byte: unsafe { *(code as *const u8) },
            allow_selector,
            id_addresses: [ids, ids + 4, ids + 8],
            restart_number: arch::number_of_restart(libc::SYS_getresuid).cast_unsigned(),
            zero_is_read: arch::ZERO_IS_READ,
            handlers,
        };
        let alternate_stacks = [stack as u64, read_only_stack as u64];
        Ok(Memory { selector_bytes, alternate_stacks, layout })
    }
}

/// Collects `N` items into an array; missing items become `None`.
fn collect_array<T, const N: usize>(items: impl Iterator<Item = Option<T>>) -> [Option<T>; N] {
    let mut items = items;
    std::array::from_fn(|_| items.next().flatten())
}

/// The addresses of the highest pages of address spaces of 38 to 48 bits.
fn highest_pages() -> Vec<u64> {
    let top = |bits: u32| 1u64 << bits;
    [47, 48, 42, 39, 38]
        .into_iter()
        .flat_map(|bits| [1, 2, 3].map(|pages| top(bits) - pages * PAGE_SIZE as u64))
        .collect()
}

/// A copy of the first gate at `offset` in a new page, at the first of these addresses that is free.
fn copied_gate(addresses: &[u64], offset: u64) -> Option<Gate> {
    let length = PAGE_SIZE as u64;
    let protection = u64::from((libc::PROT_READ | libc::PROT_WRITE).cast_unsigned());
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let flags = u64::from(flags.cast_unsigned());
    for address in addresses {
        // SAFETY: MAP_FIXED_NOREPLACE replaces no mapping.
        let start = unsafe { sys::mmap(&[*address, length, protection, flags, u64::MAX, 0]) };
        let Ok(start) = start else { continue };
        // Kernels without MAP_FIXED_NOREPLACE choose another address.
        if start as u64 != *address {
            // SAFETY: nothing uses the page.
            let _ = unsafe { sys::unmap(start, PAGE_SIZE) };
            continue;
        }
        // SAFETY: a page is longer than a gate, and is made executable before it is used.
        let gate = unsafe { arch::copy_gate(start.add(usize::try_from(offset).ok()?)) };
        protect(start, 1, libc::PROT_READ | libc::PROT_EXEC).ok()?;
        return Some(gate);
    }
    None
}

/// A copy of the first gate whose call is the last instruction of its page.
fn gate_at_page_end() -> Option<Gate> {
    let start = map_pages(2).ok()?;
    // The first copy only serves to find the offset of the call's end in a gate.
    // SAFETY: a gate is much shorter than a page, so both copies are in the two pages.
    unsafe {
        let trial_gate = arch::copy_gate(start);
        let call_end = trial_gate.call_address() + CALL_LENGTH - start as u64;
        let gate = arch::copy_gate(start.add(PAGE_SIZE - usize::try_from(call_end).ok()?));
        protect(start, 2, libc::PROT_READ | libc::PROT_EXEC).ok()?;
        Some(gate)
    }
}
