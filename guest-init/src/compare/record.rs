// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A record of observed state: a flat list of named fields in memory that a case shares with its
//! children.
//!
//! Adding a field neither allocates nor panics, since signal handlers and threads without the C
//! library add fields.

use crate::case::Failure;
use crate::support::broken;
use crate::sys;
use std::sync::atomic::{AtomicU32, Ordering};

/// The size of a record's mapping in bytes. Pages that are never written take no memory.
const CAPACITY: usize = 8 << 20;

/// The moment at which a field was recorded: a step in a variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The name of the scenario's variant; for a death, the way in which the child dies; for a tracee, the
    /// request that resumed it.
    pub(crate) variant: &'static str,
    /// The step within the variant, such as `handler`, `after` or `stop`.
    pub(crate) step: &'static str,
    /// The number of earlier steps with this name in this variant.
    pub(crate) count: u32,
}

/// The header before each field's bytes. Its string pointers are valid in every process of a case,
/// since all of them are forks of one program.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Header {
    moment: Moment,
    name: &'static str,
    length: usize,
}

/// A recorded field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) moment: Moment,
    pub(crate) name: &'static str,
    pub(crate) bytes: &'a [u8],
}

/// A list of fields in shared memory. The first word is the number of bytes used, the second word says
/// whether the record is complete, and the fields begin at [`FIELDS_OFFSET`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    base: *mut u8,
}

// SAFETY: the memory is shared and never unmapped, and only one task writes at a time, as `put` requires.
unsafe impl Send for Record {}
// SAFETY: the same holds for references.
unsafe impl Sync for Record {}

/// Offset of the first field in bytes.
const FIELDS_OFFSET: usize = 64;

impl Record {
    /// Maps an empty record.
    pub(crate) fn new() -> Result<Record, Failure> {
        Ok(Record { base: sys::map_shared(CAPACITY).map_err(broken("mmap of a record"))? })
    }

    /// The number of bytes that the fields use, counted from [`FIELDS_OFFSET`].
    fn used_bytes(&self) -> &AtomicU32 {
        // SAFETY: the first word of the memory is the counter and nothing else.
        unsafe { &*self.base.cast::<AtomicU32>() }
    }

    /// The word that is 1 if the record is complete.
    fn complete_word(&self) -> &AtomicU32 {
        // SAFETY: the second word of the memory says whether the record is complete, and nothing else.
        unsafe { &*self.base.cast::<AtomicU32>().add(1) }
    }

    /// Marks the record as complete. No field may be added afterwards.
    pub(crate) fn mark_complete(&self) {
        self.complete_word().store(1, Ordering::SeqCst);
    }

    /// Whether the record is complete.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete_word().load(Ordering::SeqCst) == 1
    }

    /// Removes all fields. A case that was killed may have left fields in the record.
    pub(crate) fn clear(&self) {
        self.used_bytes().store(0, Ordering::SeqCst);
    }

    /// Adds a field. Only one task may write at a time. A field that does not fit marks the record as
    /// full, and [`fields`](Record::fields) then fails.
    pub(crate) fn put(&self, moment: Moment, name: &'static str, bytes: &[u8]) {
        let used = self.used_bytes().load(Ordering::SeqCst) as usize;
        let end = used + size_of::<Header>() + bytes.len().next_multiple_of(8);
        if FIELDS_OFFSET + end > CAPACITY {
            self.used_bytes().store(u32::MAX, Ordering::SeqCst);
            return;
        }
        // SAFETY: the header and the bytes fit, as checked above.
        unsafe {
            let start = self.base.add(FIELDS_OFFSET + used);
            start.cast::<Header>().write(Header { moment, name, length: bytes.len() });
            let data = start.add(size_of::<Header>());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        }
        self.used_bytes().store(u32::try_from(end).unwrap_or(u32::MAX), Ordering::SeqCst);
    }

    /// Adds a field that holds a number.
    pub(crate) fn put_number(&self, moment: Moment, name: &'static str, value: u64) {
        self.put(moment, name, &value.to_ne_bytes());
    }

    /// Adds a field that holds the result of a system call: the value, or the negative error number.
    pub(crate) fn put_result(&self, moment: Moment, name: &'static str, value: sys::Result<u64>) {
        let value = value.unwrap_or_else(|sys::Errno(error)| i64::from(-error).cast_unsigned());
        self.put_number(moment, name, value);
    }

    /// The recorded fields. No task may still be writing.
    ///
    /// # Errors
    /// [`Failure::Broken`] if the record is full.
    pub(crate) fn fields(&self) -> Result<Vec<Field<'_>>, Failure> {
        let used = self.used_bytes().load(Ordering::SeqCst) as usize;
        if FIELDS_OFFSET + used > CAPACITY {
            return Err(Failure::Broken(format!("a record of {CAPACITY} bytes is full")));
        }
        let mut fields = Vec::new();
        let mut offset = 0;
        while offset < used {
            // SAFETY: `put` wrote a header with static strings here, and then the bytes.
            let field = unsafe {
                let header = self.base.add(FIELDS_OFFSET + offset).cast::<Header>().read();
                let data = self.base.add(FIELDS_OFFSET + offset + size_of::<Header>());
                let bytes = std::slice::from_raw_parts(data, header.length);
                Field { moment: header.moment, name: header.name, bytes }
            };
            offset += size_of::<Header>() + field.bytes.len().next_multiple_of(8);
            fields.push(field);
        }
        Ok(fields)
    }
}
