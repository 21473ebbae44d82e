//! The sudbox command.
fn main() {}
