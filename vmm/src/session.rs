//! A running VM, seen as events.
//!
//! Contract (the implementation follows):
//!
//! ```text
//! pub enum Event {
//!     Connected,        // the guest dialled the port; at most one connection is the session's
//!     Bytes(Vec<u8>),   // the guest wrote to the stream
//!     Console,          // the console grew
//!     Disconnected,     // the guest closed the stream
//!     Ended,            // the VM is gone; finish() says how
//!     Interrupted,      // the caller's interrupt descriptor became readable
//!     Deadline,
//! }
//! impl Session {
//!     pub fn next(&mut self, deadline: Instant, interrupt: Option<BorrowedFd<'_>>) -> io::Result<Event>;
//!     pub fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()>;
//!     pub fn console(&mut self) -> &Console;   // with everything the guest has written until now
//!     pub fn debugger(&self) -> Option<&str>;  // gdb's argument for `target remote`, with VmSpec::gdb
//!     pub fn finish(self, patience: Duration) -> VmEnd;  // waits, then stops it; never blocks longer
//! }
//! impl Console {                               // a ring: the first 64 KiB and the last 448 KiB are kept
//!     pub fn total(&self) -> u64;              // bytes ever written
//!     pub fn since(&self, mark: u64) -> String;// text from a mark on, lossy UTF-8, gap named
//! }
//! ```
/// Placeholder until the session is written.
pub struct Session {}
