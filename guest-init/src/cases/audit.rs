// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Reads the kernel's audit records, as an audit daemon does.

use crate::case::{Check, Failure};
use crate::shared::KernelChange;
use crate::support::*;
use crate::sys;

// Message types and constants of include/uapi/linux/audit.h.
const AUDIT_SET: u16 = 1001;
const AUDIT_ADD_RULE: u16 = 1011;
const AUDIT_DEL_RULE: u16 = 1012;
const AUDIT_SYSCALL: u16 = 1300;
const AUDIT_STATUS_ENABLED: u32 = 1;
const AUDIT_STATUS_PID: u32 = 4;
const AUDIT_FILTER_TASK: u32 = 1;
const AUDIT_FILTER_EXIT: u32 = 4;
const AUDIT_NEVER: u32 = 0;
const AUDIT_ALWAYS: u32 = 2;

/// Bytes of `struct nlmsghdr`.
const MESSAGE_HEADER_LENGTH: usize = 16;
/// The length of `struct audit_rule_data` in 32-bit words: three words, four arrays of 64 (the mask of system
/// calls, fields, values and flags of fields), and the length of the buffer.
const RULE_WORDS: usize = 3 + 64 * 4 + 1;

/// Time limit in milliseconds for the next message. The kernel thread kauditd sends the record of a call
/// some time after the call.
const MESSAGE_TIMEOUT_MS: i32 = 5000;

/// Enabled audit, with a rule that records every call of one system call by tasks that start after
/// [`Audit::start`].
pub(crate) struct Audit {
    socket: i32,
    call: i64,
    /// The texts of the system call records so far.
    records: Vec<String>,
    /// While audit is enabled.
    change: Option<KernelChange>,
}

impl Audit {
    /// Enables audit, with this process as its daemon.
    pub(crate) fn start(call: i64) -> Result<Audit, Failure> {
        // SAFETY: takes no pointers.
        let socket = unsafe {
            let socket_type = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
            libc::socket(libc::AF_NETLINK, socket_type, libc::NETLINK_AUDIT)
        };
        if socket < 0 {
            let error = std::io::Error::last_os_error();
            return Err(Failure::Broken(format!("the socket of audit: {error}")));
        }
        let mut audit =
            Audit { socket, call, records: Vec::new(), change: Some(KernelChange::begin()) };
        // Delete the rule that `disable` adds, if an earlier case has left it.
        let _ = audit.request(AUDIT_DEL_RULE, &rule(AUDIT_FILTER_TASK, AUDIT_NEVER, None));
        audit
            .set_status(1, sys::getpid())
            .and_then(|()| audit.add_rule(&rule(AUDIT_FILTER_EXIT, AUDIT_ALWAYS, Some(call))))
            .map_err(broken("audit"))?;
        Ok(audit)
    }

    /// Argument 0 of each recorded call of these processes, in order, until a call has `end_mark` as its
    /// argument 0. Records of other processes are skipped: the kernel keeps unread records, and gives them to
    /// the next daemon (`kauditd_retry_skb()`).
    pub(crate) fn first_arguments_of(
        &mut self,
        processes: &[i32],
        end_mark: u64,
    ) -> Result<Vec<u64>, Failure> {
        let mut arguments = Vec::new();
        let mut index = 0;
        loop {
            while index == self.records.len() {
                self.receive().map_err(broken("waiting for an audit record"))?;
            }
            let record = &self.records[index];
            index += 1;
            let pid = field(record, " pid=").and_then(|pid| pid.parse().ok());
            if field(record, " syscall=") != Some(&self.call.to_string())
                || !pid.is_some_and(|pid| processes.contains(&pid))
            {
                continue;
            }
            let argument = field(record, " a0=").and_then(|a| u64::from_str_radix(a, 16).ok());
            let argument = argument.ok_or_else(|| {
                Failure::Broken(format!("an audit record without a hexadecimal a0: {record}"))
            })?;
            if argument == end_mark {
                return Ok(arguments);
            }
            arguments.push(argument);
        }
    }

    /// Disables audit.
    pub(crate) fn stop(mut self) -> Check {
        self.disable().map_err(broken("switching audit off"))
    }

    /// Disables audit, and adds a rule that exempts new tasks. Without this rule the kernel would still audit
    /// every new task, so that the calls of later cases would take another path at their entry. The rule that
    /// records the call stays, since its removal takes long.
    fn disable(&mut self) -> sys::Result<()> {
        let Some(change) = self.change.take() else { return Ok(()) };
        let result = self.add_rule(&rule(AUDIT_FILTER_TASK, AUDIT_NEVER, None));
        self.set_status(0, 0).and(result)?;
        change.end();
        Ok(())
    }

    /// Adds a rule, unless it exists already.
    fn add_rule(&mut self, rule: &[u32]) -> sys::Result<()> {
        match self.request(AUDIT_ADD_RULE, rule) {
            Err(sys::Errno(libc::EEXIST)) => Ok(()),
            result => result,
        }
    }

    /// Sets `enabled` and `pid` of the kernel's audit status.
    fn set_status(&mut self, enabled: u32, pid: i32) -> sys::Result<()> {
        // struct audit_status: mask, enabled, failure, pid and seven more words.
        let mut status = [0u32; 11];
        status[..4].copy_from_slice(&[
            AUDIT_STATUS_ENABLED | AUDIT_STATUS_PID,
            enabled,
            0,
            pid.cast_unsigned(),
        ]);
        self.request(AUDIT_SET, &status)
    }

    /// Sends a request and waits for its acknowledgement.
    fn request(&mut self, message_type: u16, words: &[u32]) -> sys::Result<()> {
        let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap_or(0);
        let length = MESSAGE_HEADER_LENGTH + words.len() * 4;
        let mut message = Vec::with_capacity(length);
        message.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_ne_bytes());
        message.extend_from_slice(&message_type.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        // Sequence number and port id.
        message.extend_from_slice(&[0; 8]);
        message.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        // SAFETY: the message is live and has the given length.
        let sent = unsafe {
            let fd = u64::from(self.socket.cast_unsigned());
            sys::call(libc::SYS_sendto, &[fd, message.as_ptr() as u64, length as u64, 0, 0, 0])
        };
        sent?;
        loop {
            if let Some(result) = self.receive()? {
                return result;
            }
        }
    }

    /// Waits for the next message. Returns the result if the message is an acknowledgement, else `None`. If the
    /// message is the record of a system call, stores it.
    fn receive(&mut self) -> sys::Result<Option<sys::Result<()>>> {
        let mut message = vec![0u8; 9000];
        let mut poll = libc::pollfd { fd: self.socket, events: libc::POLLIN, revents: 0 };
        // SAFETY: writes at most the structure and the buffer.
        let length = unsafe {
            if libc::poll(&raw mut poll, 1, MESSAGE_TIMEOUT_MS) != 1 {
                return Err(sys::Errno(libc::ETIMEDOUT));
            }
            let fd = u64::from(self.socket.cast_unsigned());
            sys::call(
                libc::SYS_recvfrom,
                &[fd, message.as_mut_ptr() as u64, message.len() as u64, 0, 0, 0],
            )?
        };
        // The length in the header of a record does not include the header (audit_log_end()), so use the
        // packet's length.
        message.truncate(usize::try_from(length).unwrap_or(0));
        if message.len() < MESSAGE_HEADER_LENGTH + 4 {
            return Ok(None);
        }
        match u16::from_ne_bytes([message[4], message[5]]) {
            message_type if i32::from(message_type) == libc::NLMSG_ERROR => {
                let error =
                    i32::from_ne_bytes(std::array::from_fn(|i| message[MESSAGE_HEADER_LENGTH + i]));
                Ok(Some(if error == 0 { Ok(()) } else { Err(sys::Errno(-error)) }))
            }
            AUDIT_SYSCALL => {
                self.records
                    .push(String::from_utf8_lossy(&message[MESSAGE_HEADER_LENGTH..]).into_owned());
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let _ = self.disable();
        let _ = sys::close(self.socket);
    }
}

/// A rule for the filter list `filter_list`, without fields (`struct audit_rule_data`). The rule is about
/// the system call `call`, if given.
fn rule(filter_list: u32, action: u32, call: Option<i64>) -> [u32; RULE_WORDS] {
    /// The index of the first word of the mask of system calls.
    const MASK: usize = 3;
    let mut rule = [0; RULE_WORDS];
    rule[0] = filter_list;
    rule[1] = action;
    if let Some(call) = call.and_then(|call| usize::try_from(call).ok()) {
        rule[MASK + call / 32] |= 1 << (call % 32);
    }
    rule
}

/// The value of a field in a record. `prefix` is the text before the value, such as ` pid=`.
fn field<'a>(record: &'a str, prefix: &str) -> Option<&'a str> {
    record.split_once(prefix)?.1.split([' ', '\0']).next()
}
