//! The case runner and the case table.

pub mod cases;
