// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::fs;

use crate::arch::Arch;
use crate::monitor::Silent;
use crate::testing::Fixture;
use crate::types::Request;

#[test]
fn the_boot_image_of_another_architecture_is_not_unpacked() {
    let f = Fixture::new();
    // Non-zero bytes at the offsets of the x86 setup header, which other architectures lack.
    let mut bytes = vec![0xa5; 0x11000];
    bytes[0x10008..0x1000e].copy_from_slice(b"S390EP");
    let path = f.dir.path().join("bzImage");
    fs::write(&path, &bytes).unwrap();
    let reference = path.to_str().unwrap().into();
    let request = Request { reference, arch: Arch::S390x, ..Request::default() };
    let image = f.build(&request, &mut Silent).unwrap();
    assert!(
        fs::read(&image.kernel).unwrap() == bytes && image.vmlinux.is_none() && !image.needs_acpi
    );
}
