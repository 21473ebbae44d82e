// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Explanations and remedies for failures to open /dev/kvm and to create a VM.

use std::io;

use crate::probe::Finding;

use super::arch::NO_KVM;

/// Properties of the device node /dev/kvm.
#[derive(Debug, Default)]
pub(super) struct DeviceNode {
    /// Permission bits.
    mode: u32,
    /// Name of the group.
    group: Option<String>,
    /// Whether the permission bits allow this process to open the node.
    is_permitted: bool,
}

impl DeviceNode {
    /// Examines /dev/kvm. A property that cannot be determined has its default value.
    pub(super) fn examine() -> DeviceNode {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(node) = std::fs::metadata("/dev/kvm") else { return DeviceNode::default() };
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        // SAFETY: The path is a C string that lives as long as the program.
        let is_permitted =
            unsafe { libc::access(c"/dev/kvm".as_ptr(), libc::R_OK | libc::W_OK) } == 0;
        DeviceNode {
            mode: node.mode() & 0o777,
            group: group_name(&groups, node.gid()),
            is_permitted,
        }
    }

    /// Returns a remedy for a failed `open(2)`.
    fn remedy(&self, errno: i32) -> String {
        if errno == libc::EPERM {
            return "the container's device rules forbid it: start the container with \
                    --device /dev/kvm"
                .to_owned();
        }
        if self.is_permitted {
            return "the file system of /dev/kvm is mounted with nodev, or belongs to another user \
                    namespace"
                .to_owned();
        }
        match &self.group {
            Some(group) if self.mode & 0o060 == 0o060 && group != "root" => format!(
                "add yourself to group {group}: sudo usermod -aG {group} $USER, and log in again"
            ),
            _ => format!(
                "its mode is {:03o}: sudo setfacl -m u:$USER:rw /dev/kvm, or sudo chmod 666 /dev/kvm",
                self.mode
            ),
        }
    }
}

/// Finds the name of a group in the text of /etc/group (`group(5)`).
fn group_name(groups: &str, gid: u32) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

/// Explains a failure to open /dev/kvm.
pub(super) fn explain_open(error: &io::Error, node: &DeviceNode) -> Finding {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Finding::Absent {
            why: format!(
                "no /dev/kvm: the processor or the hypervisor around this machine offers no \
                 virtualisation, or {NO_KVM}"
            ),
        },
        Some(errno @ (libc::ENXIO | libc::ENODEV)) => Finding::Absent {
            why: format!(
                "/dev/kvm has no driver ({}): {NO_KVM}, or KVM does not support this processor",
                if errno == libc::ENXIO { "ENXIO" } else { "ENODEV" }
            ),
        },
        Some(errno @ (libc::EACCES | libc::EPERM)) => {
            Finding::NoPermission { hint: node.remedy(errno) }
        }
        _ => Finding::Broken { cause: format!("cannot be opened: {error}") },
    }
}

/// Explains a failure of `KVM_CREATE_VM`. `EBUSY`, and `EIO` from Linux 6.12 on, mean that the
/// processor's virtualisation could not be enabled (`kvm_enable_virtualization`), because another
/// hypervisor uses it.
pub(super) fn explain_create_vm(error: &io::Error) -> Finding {
    let cause = match error.raw_os_error() {
        Some(libc::EBUSY | libc::EIO) => {
            "another hypervisor (VirtualBox, VMware) holds the processor's virtualisation"
                .to_owned()
        }
        _ => format!("creating a VM: {error}"),
    };
    Finding::Broken { cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the message for an error number of `open(2)`.
    fn open_message(errno: i32, node: &DeviceNode) -> String {
        explain_open(&io::Error::from_raw_os_error(errno), node).to_string()
    }

    fn node(mode: u32, group: &str) -> DeviceNode {
        DeviceNode { mode, group: Some(group.to_owned()), is_permitted: false }
    }

    #[test]
    fn missing_permission_is_explained_with_a_remedy() {
        let group = open_message(libc::EACCES, &node(0o660, "kvm"));
        assert!(group.starts_with("no permission for /dev/kvm: "), "{group}");
        assert!(group.contains("sudo usermod -aG kvm $USER"), "{group}");
        // Membership in the group would not give permission.
        for node in [node(0o600, "kvm"), node(0o660, "root"), DeviceNode::default()] {
            let mode = open_message(libc::EACCES, &node);
            assert!(mode.contains("sudo chmod 666 /dev/kvm"), "{mode}");
            assert!(!mode.contains("usermod"), "{mode}");
        }
        assert!(open_message(libc::EPERM, &node(0o666, "kvm")).contains("--device /dev/kvm"));
        let nodev = DeviceNode { is_permitted: true, ..node(0o666, "kvm") };
        assert!(open_message(libc::EACCES, &nodev).contains("nodev"));
    }

    #[test]
    fn a_node_without_a_driver_is_absent_and_not_forbidden() {
        for errno in [libc::ENOENT, libc::ENXIO, libc::ENODEV] {
            let finding =
                explain_open(&io::Error::from_raw_os_error(errno), &DeviceNode::default());
            assert!(matches!(finding, Finding::Absent { .. }), "{finding:?}");
        }
        let finding =
            explain_open(&io::Error::from_raw_os_error(libc::EMFILE), &DeviceNode::default());
        assert!(matches!(finding, Finding::Broken { .. }), "{finding:?}");
    }

    #[test]
    fn ebusy_and_eio_of_create_vm_name_another_hypervisor() {
        let message = |errno| explain_create_vm(&io::Error::from_raw_os_error(errno)).to_string();
        for errno in [libc::EBUSY, libc::EIO] {
            assert!(message(errno).contains("another hypervisor"), "{}", message(errno));
        }
        assert!(!message(libc::ENOMEM).contains("another hypervisor"));
    }

    #[test]
    fn group_names_are_found_by_group_id() {
        let groups = "root:x:0:\nbroken\nkvm:x:106:me,you\n:x:7:\n";
        assert_eq!(group_name(groups, 106).as_deref(), Some("kvm"));
        assert_eq!(group_name(groups, 10), None);
    }
}
