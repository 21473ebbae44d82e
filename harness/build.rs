// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds guest-init as a static binary and embeds it, so that `cargo build` and `cargo install
//! --path harness` alone give a working sudbox. The sources of guest-init are embedded too, to
//! build it for other architectures on first use.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The sources of guest-init, relative to the workspace. The tests are included because its
/// manifest names them.
const INPUTS: [&str; 8] = [
    "Cargo.lock",
    "Cargo.toml",
    "guest-init/Cargo.toml",
    "guest-init/build.rs",
    "guest-init/src",
    "guest-init/tests",
    "protocol/Cargo.toml",
    "protocol/src",
];

/// Compiler flags: static and not position-independent, so that nothing is relocated before main
/// and addresses in reports are those in the file.
const RUSTFLAGS: &str = "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static";

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let guest_init = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../guest-init");
    // A directory of its own: cargo holds a lock on the one it is building in.
    let target_dir = PathBuf::from(variable("OUT_DIR")).join("guest");
    let target = variable("TARGET");

    let top = guest_init.join("..");
    for input in INPUTS {
        println!("cargo::rerun-if-changed={}", top.join(input).display());
    }

    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["build", "--locked", "--quiet", "--profile", "guest", "--bin", "guest-init"])
        .args(["--target", &target])
        .arg("--manifest-path")
        .arg(guest_init.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir);
    // Settings for building the harness (lints, wrappers, target flags) do not apply to the guest;
    // a linker does.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let inherited = !name.ends_with("_LINKER")
            && ["CARGO_BUILD_", "CARGO_TARGET_", "CARGO_PROFILE_", "CARGO_FEATURE_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            || matches!(
                &*name,
                "RUSTFLAGS"
                    | "RUSTC_WRAPPER"
                    | "RUSTC_WORKSPACE_WRAPPER"
                    | "CARGO_ENCODED_RUSTFLAGS"
            );
        if inherited {
            cargo.env_remove(&*name);
        }
    }
    // Paths of this machine are replaced in the guest as they are in the harness.
    let outer = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let remappings = outer.split('\u{1f}').filter(|flag| flag.starts_with("--remap-path-prefix="));
    let flags: Vec<_> = [RUSTFLAGS].into_iter().chain(remappings).collect();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "building guest-init for {target} failed");

    let binary = target_dir.join(&target).join("guest/guest-init");
    println!("cargo::rustc-env=SUDBOX_GUEST_INIT={}", binary.display());
    let place = PathBuf::from(variable("OUT_DIR")).join("sources.rs");
    std::fs::write(place, sources(&top)).expect("OUT_DIR can be written to");
}

/// Generates a module with the sources of guest-init, their hash and the compiler flags.
fn sources(top: &Path) -> String {
    let mut files = Vec::new();
    for input in INPUTS {
        collect(top, PathBuf::from(input), &mut files);
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    let mut text = String::from("const SOURCES: &[(&str, &str)] = &[\n");
    for file in &files {
        let full = top.join(file).canonicalize().expect("it was listed");
        std::fs::read(&full).expect("it is readable").hash(&mut hasher);
        let _ = writeln!(text, "    ({file:?}, include_str!({full:?})),");
    }
    text + &format!(
        "];\nconst SOURCES_DIGEST: u64 = {:#x};\nconst RUSTFLAGS: &str = {RUSTFLAGS:?};\n",
        hasher.finish()
    )
}

fn collect(top: &Path, path: PathBuf, files: &mut Vec<PathBuf>) {
    let full = top.join(&path);
    if !full.is_dir() {
        files.push(path);
        return;
    }
    for entry in std::fs::read_dir(full).expect("it can be listed").flatten() {
        collect(top, path.join(entry.file_name()), files);
    }
}
