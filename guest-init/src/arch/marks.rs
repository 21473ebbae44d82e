// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Substitutes for the marks of operations (`sudbox_protocol::marks`) on architectures on which the host traces
//! no operations.

/// The mapped page of the marks, which no value of this type has.
#[derive(Clone, Copy, Debug)]
pub enum OperationMarks {}

impl OperationMarks {
    /// Maps no page.
    #[must_use]
    pub fn map() -> Option<OperationMarks> {
        None
    }

    /// Marks the start of the operations with this number.
    pub fn begin(self, _: u64) {
        match self {}
    }

    /// Marks the end of one operation.
    pub fn next(self) {
        match self {}
    }

    /// Marks the end of the operations.
    pub fn end(self) {
        match self {}
    }
}
