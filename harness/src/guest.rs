//! The embedded guest-init and the initramfs made of it.

use sudbox_images::initramfs::{self, Entry};

/// guest-init as built for this architecture by the build script.
const GUEST_INIT: &[u8] = include_bytes!(env!("SUDBOX_GUEST_INIT"));

/// An initramfs with guest-init as `/init` and the nodes and mount points it starts with.
pub(crate) fn initramfs() -> Vec<u8> {
    initramfs::pack(&[
        Entry::directory("dev", 0o755),
        // Without it the kernel gives its init no standard streams (`console_on_rootfs`).
        Entry::char_device("dev/console", 0o600, 5, 1),
        Entry::directory("proc", 0o555),
        Entry::directory("sys", 0o555),
        Entry::directory("tmp", 0o1777),
        Entry::file("init", 0o755, GUEST_INIT),
    ])
}
