// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sets a `cfg` for each optional part of an architecture that its folder under `src/arch/` has.
//! Code outside that folder asks for the part, not for the architecture.

use std::path::Path;

/// The `cfg`s, and the file that an architecture needs for each.
const PARTS: [(&str, &str); 2] = [("foreign_programs", "foreign.rs"), ("windows_programs", "nt.s")];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/arch");
    let arch =
        std::env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target's architecture");
    let folder = Path::new("src/arch").join(arch);
    for (part, file) in PARTS {
        println!("cargo::rustc-check-cfg=cfg({part})");
        if folder.join(file).is_file() {
            println!("cargo::rustc-cfg={part}");
        }
    }
}
