// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where things are for the points of the grid: gates, selectors of each kind, stacks.

use super::dimension::{Entry, Handling, Selector};
pub(super) use crate::arch::OtherEntry as Other;
use crate::arch::{self, CALL_LENGTH, Gate};
use crate::case::Failure;
use crate::support::{PAGE, broken, pages, protect};
use crate::sys;
use std::ops::Range;
use std::sync::atomic::AtomicU8;
use sudbox_protocol::Feature;

/// What the kernel and the machine offer of what a point may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Offers {
    pub inclusive: bool,
    pub ptrace_config: bool,
    pub ia32: bool,
    pub x32: bool,
    pub filter: bool,
    pub rseq: bool,
    /// PID namespaces, and the right to make them.
    pub namespaces: bool,
    /// Tracepoints of system calls, and a kernel of our own, in which to enable them.
    pub tracepoints: bool,
    /// The same of audit.
    pub audit: bool,
    /// The same of the sysctl.
    pub sysctl: bool,
}

impl Offers {
    /// From the features that probes found, whether the user is root, and whether the kernel is one
    /// of a VM made for the cases.
    #[must_use]
    pub fn of(features: &[Feature], root: bool, vm: bool) -> Offers {
        let has = |feature| features.contains(&feature);
        Offers {
            inclusive: has(Feature::Inclusive),
            ptrace_config: has(Feature::PtraceConfig),
            ia32: has(Feature::Ia32),
            x32: has(Feature::X32),
            filter: has(Feature::SeccompFilter),
            rseq: has(Feature::Rseq),
            namespaces: has(Feature::PidNamespace) && root,
            tracepoints: has(Feature::SyscallTracepoints) && root && vm,
            audit: has(Feature::Audit) && root && vm,
            sysctl: has(Feature::Sysctl) && root && vm,
        }
    }
}

/// Addresses, as far as predictions depend on them.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What the kernel offers.
    pub offers: Offers,
    /// The range of all calls that are not under test.
    pub inside: Range<u64>,
    /// The gates, in the order of [`Entry::ALL`], as far as there are any.
    pub entries: [Option<Gate>; 6],
    /// The other entry, if there is one.
    pub other: Option<Other>,
    /// The selectors, in the order of [`Selector::ALL`].
    pub selectors: [Option<u64>; 13],
    /// What stands in the program's code at that selector.
    pub code_byte: u8,
    /// A selector that always says ALLOW.
    pub spare: u64,
    /// Where the three effects of a call are: 4 bytes each, below 4 GiB.
    pub effect: [u64; 3],
    /// The number of `restart_syscall(2)`.
    pub restart_number: u64,
    /// Whether number 0 is `read(2)`.
    pub zero_is_read: bool,
    /// Where the handlers begin: with information, and without.
    pub handlers: [u64; 2],
}

impl Layout {
    /// The gate of this entry, if it can be used.
    #[must_use]
    pub fn entry(&self, entry: Entry) -> Option<Gate> {
        self.entries[entry as usize]
    }

    /// A gate that is not that of this entry.
    #[must_use]
    pub fn next_gate(&self, entry: Entry) -> Gate {
        if entry == Entry::Second { arch::gate() } else { arch::second_gate() }
    }

    /// The address of this selector, if it can be used.
    #[must_use]
    pub fn selector(&self, selector: Selector) -> Option<u64> {
        self.selectors[selector as usize]
    }

    /// Whether an address cannot be a selector.
    #[must_use]
    pub fn is_forbidden(&self, selector: u64) -> bool {
        [Selector::Kernel, Selector::Top].into_iter().any(|of| self.selector(of) == Some(selector))
    }

    /// Where the handler begins.
    #[must_use]
    pub fn handler(&self, handling: Handling) -> u64 {
        arch::entered_at(self.handlers[usize::from(handling == Handling::Plain)])
    }
}

/// Bytes of the alternate stacks.
pub(super) const STACK: usize = 16 * PAGE;

/// Memory for points.
pub(super) struct Ground {
    /// Where to write what a selector of each kind is to say, in the order of [`Selector::ALL`].
    pub(super) bytes: [Option<&'static AtomicU8>; 13],
    /// An alternate stack, and one that cannot be written.
    pub(super) stacks: [u64; 2],
    pub(super) layout: Layout,
}

/// # Safety
/// The address must be that of a byte that is never unmapped.
unsafe fn byte(address: u64) -> &'static AtomicU8 {
    // SAFETY: the caller vouches.
    unsafe { &*(address as *const AtomicU8) }
}

impl Ground {
    /// Makes it. `effect` is memory below 4 GiB for the effects, the handlers are those of SIGSYS.
    pub(super) fn new(offers: Offers, effect: u64, handlers: [u64; 2]) -> Result<Ground, Failure> {
        let private = pages(3)?;
        protect(private, 1, libc::PROT_NONE)?;
        // SAFETY: the third of the three pages.
        protect(unsafe { private.add(2 * PAGE) }, 1, libc::PROT_NONE)?;
        let private = private as u64;
        let page = PAGE as u64;
        let file = sys::memory_file().map_err(broken("memfd_create"))?;
        // SAFETY: sets the size of a file of our own.
        unsafe { sys::call(libc::SYS_ftruncate, &[u64::from(file.cast_unsigned()), 3 * page]) }
            .map_err(broken("ftruncate"))?;
        let mapped = |length: u64, protection: i32, flags: i32| {
            let word = |value: i32| u64::from(value.cast_unsigned());
            // SAFETY: the kernel picks addresses that are free.
            unsafe { sys::mmap(&[0, length, word(protection), word(flags), word(file), 0]) }
                .map(|start| start as u64)
                .map_err(broken("mmap"))
        };
        let read_write = libc::PROT_READ | libc::PROT_WRITE;
        let alias = mapped(3 * page, read_write, libc::MAP_SHARED)?;
        let read_only = mapped(4 * page, libc::PROT_READ, libc::MAP_SHARED)?;
        let copied = mapped(page, libc::PROT_READ, libc::MAP_PRIVATE)?;
        let spare = pages(1)? as u64;
        let code = arch::gate().call_address();
        let selectors = Selector::ALL.iter().map(|selector| {
            Some(match selector {
                Selector::Private => private + page + 0x123,
                Selector::Null => 0,
                Selector::Shared => alias + 2 * page + 7,
                Selector::File => copied + 0xabc,
                Selector::ReadOnly => read_only + page + 1,
                Selector::LastOfPage => private + 2 * page - 1,
                Selector::FirstOfPage => private + page,
                Selector::NoAccess => private + 0x777,
                Selector::Unmapped => 0x10,
                Selector::PastEnd => read_only + 3 * page,
                Selector::Kernel if !arch::REFUSES_KERNEL_ADDRESSES => return None,
                Selector::Kernel => arch::KERNEL_ADDRESS,
                Selector::Top if !arch::REFUSES_KERNEL_ADDRESSES => return None,
                Selector::Top => u64::MAX,
                Selector::Code => code,
            })
        });
        let selectors: [Option<u64>; 13] = collected(selectors);
        let writable = Selector::ALL.iter().zip(selectors).map(|(selector, address)| {
            let address = match selector {
                Selector::File => alias + 0xabc,
                Selector::ReadOnly => alias + page + 1,
                selector if selector.is_memory() => address?,
                _ => return None,
            };
            // SAFETY: in one of the mappings above.
            Some(unsafe { byte(address) })
        });
        let bytes = collected(writable);
        let (good, bad) = (pages(STACK / PAGE)?, pages(STACK / PAGE)?);
        protect(bad, STACK / PAGE, libc::PROT_READ)?;
        let other = arch::other_entry().filter(|_| offers.ia32);
        let entries = Entry::ALL.iter().map(|entry| match entry {
            Entry::First => Some(arch::gate()),
            Entry::Second => Some(arch::second_gate()),
            Entry::Other => other.map(|other| other.gate),
            Entry::Low => copied_gate(&[0x1_0000, 0x10_0000, 0x100_0000], 0),
            Entry::High => copied_gate(&highest_pages(), 0),
            Entry::PageEnd => gate_at_page_end(),
        });
        let layout = Layout {
            offers,
            inside: arch::inside(),
            entries: collected(entries),
            other,
            selectors,
            // SAFETY: a byte of the gate's code.
            code_byte: unsafe { *(code as *const u8) },
            spare,
            effect: [effect, effect + 4, effect + 8],
            restart_number: arch::number_of_restart(libc::SYS_getresuid).cast_unsigned(),
            zero_is_read: arch::ZERO_IS_READ,
            handlers,
        };
        Ok(Ground { bytes, stacks: [good as u64, bad as u64], layout })
    }
}

fn collected<T, const N: usize>(items: impl Iterator<Item = Option<T>>) -> [Option<T>; N] {
    let mut items = items;
    std::array::from_fn(|_| items.next().flatten())
}

/// The highest pages of address spaces of 38 to 48 bits, the highest first.
fn highest_pages() -> Vec<u64> {
    let top = |bits: u32| 1u64 << bits;
    [47, 48, 42, 39, 38]
        .into_iter()
        .flat_map(|bits| [1, 2, 3].map(|pages| top(bits) - pages * PAGE as u64))
        .collect()
}

/// A copy of the first gate at the first of these addresses that is free.
fn copied_gate(addresses: &[u64], offset: u64) -> Option<Gate> {
    let length = PAGE as u64;
    let protection = u64::from((libc::PROT_READ | libc::PROT_WRITE).cast_unsigned());
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let flags = u64::from(flags.cast_unsigned());
    for address in addresses {
        // SAFETY: without MAP_FIXED's right to replace what is there.
        let place = unsafe { sys::mmap(&[*address, length, protection, flags, u64::MAX, 0]) };
        let Ok(place) = place else { continue };
        if place as u64 != *address {
            // SAFETY: nobody uses it.
            let _ = unsafe { sys::unmap(place, PAGE) };
            continue;
        }
        // SAFETY: a page is longer than a gate, and is made executable before it is used.
        let gate = unsafe { arch::copy_gate(place.add(usize::try_from(offset).ok()?)) };
        protect(place, 1, libc::PROT_READ | libc::PROT_EXEC).ok()?;
        return Some(gate);
    }
    None
}

/// A copy of the first gate whose call is the last instruction of its page.
fn gate_at_page_end() -> Option<Gate> {
    let place = pages(2).ok()?;
    // SAFETY: tries where the call would be, and then puts it where it is wanted: both lie in the
    // two pages, as a gate is much shorter than one.
    unsafe {
        let first = arch::copy_gate(place);
        let before = first.call_address() + CALL_LENGTH - place as u64;
        let gate = arch::copy_gate(place.add(PAGE - usize::try_from(before).ok()?));
        protect(place, 2, libc::PROT_READ | libc::PROT_EXEC).ok()?;
        Some(gate)
    }
}
