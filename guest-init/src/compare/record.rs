// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What was seen, as a flat list of fields in memory that a case and its children share.
//!
//! Writing neither allocates nor panics: handlers and threads without the C library do it.

use crate::case::Failure;
use crate::support::broken;
use crate::sys;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a record. Only those that are written to become memory.
const CAPACITY: usize = 8 << 20;

/// Where in a performance a field was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Moment {
    /// The scene, by its name.
    pub(crate) scene: &'static str,
    /// The step: `handler`, `behind`, `stop`.
    pub(crate) step: &'static str,
    /// Which of the steps of this name in this scene, from 0.
    pub(crate) count: u32,
}

/// Before each field: who it is. The names are where they are in every process of a case.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Header {
    moment: Moment,
    name: &'static str,
    length: usize,
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) moment: Moment,
    pub(crate) name: &'static str,
    pub(crate) bytes: &'a [u8],
}

/// A list of fields.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    base: *mut u8,
}

const START: usize = 64;

impl Record {
    /// An empty one.
    pub(crate) fn new() -> Result<Record, Failure> {
        Ok(Record { base: sys::map(CAPACITY, true).map_err(broken("mmap of a record"))? })
    }

    fn used(&self) -> &AtomicU32 {
        // SAFETY: the first word of the memory is this and nothing else.
        unsafe { &*self.base.cast::<AtomicU32>() }
    }

    /// Adds a field. One task writes at a time; what there is no room for makes the record full.
    pub(crate) fn put(&self, moment: Moment, name: &'static str, bytes: &[u8]) {
        let used = self.used().load(Ordering::SeqCst) as usize;
        let end = used + size_of::<Header>() + bytes.len().next_multiple_of(8);
        if START + end > CAPACITY {
            self.used().store(u32::MAX, Ordering::SeqCst);
            return;
        }
        // SAFETY: the header and the bytes fit, as was asked.
        unsafe {
            let place = self.base.add(START + used);
            place.cast::<Header>().write(Header { moment, name, length: bytes.len() });
            let data = place.add(size_of::<Header>());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        }
        self.used().store(u32::try_from(end).unwrap_or(u32::MAX), Ordering::SeqCst);
    }

    /// Adds a number.
    pub(crate) fn number(&self, moment: Moment, name: &'static str, value: u64) {
        self.put(moment, name, &value.to_ne_bytes());
    }

    /// Adds an answer of the kernel.
    pub(crate) fn answer(&self, moment: Moment, name: &'static str, value: sys::Result<u64>) {
        let value = value.unwrap_or_else(|sys::Errno(error)| i64::from(-error).cast_unsigned());
        self.number(moment, name, value);
    }

    /// The fields, when all who write are done.
    pub(crate) fn fields(&self) -> Result<Vec<Field<'_>>, Failure> {
        let used = self.used().load(Ordering::SeqCst) as usize;
        if START + used > CAPACITY {
            return Err(Failure::Broken(format!("a record of {CAPACITY} bytes is full")));
        }
        let mut fields = Vec::new();
        let mut at = 0;
        while at < used {
            // SAFETY: `put` left a header here, whose names are static, and its bytes behind it.
            let field = unsafe {
                let header = self.base.add(START + at).cast::<Header>().read();
                let data = self.base.add(START + at + size_of::<Header>());
                let bytes = std::slice::from_raw_parts(data, header.length);
                Field { moment: header.moment, name: header.name, bytes }
            };
            at += size_of::<Header>() + field.bytes.len().next_multiple_of(8);
            fields.push(field);
        }
        Ok(fields)
    }
}
