// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Builds guest-init as a static binary and embeds it, so that `cargo build` and `cargo install
//! --path harness` alone make a working sudbox. Also embeds the sources of guest-init, from which
//! sudbox builds guest-init for other architectures at first use.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The sources of guest-init, relative to the workspace. `guest-init/tests` is included because the
/// manifest of guest-init names it.
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
    // The cargo that builds the harness has locked its target directory.
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
        let is_for_harness = !name.ends_with("_LINKER")
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
        if is_for_harness {
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
    let generated_file = PathBuf::from(variable("OUT_DIR")).join("sources.rs");
    std::fs::write(generated_file, sources_module(&top)).expect("OUT_DIR can be written to");
}

/// The text of a module with the sources of guest-init, their hash and the compiler flags.
fn sources_module(top: &Path) -> String {
    let mut files = Vec::new();
    for input in INPUTS {
        collect_files(top, PathBuf::from(input), &mut files);
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    let mut text = String::from("const SOURCES: &[(&str, &str)] = &[\n");
    for file in &files {
        let path = top.join(file).canonicalize().expect("the file was listed");
        std::fs::read(&path).expect("the file is readable").hash(&mut hasher);
        let _ = writeln!(text, "    ({file:?}, include_str!({path:?})),");
    }
    text + &format!(
        "];\nconst SOURCES_DIGEST: u64 = {:#x};\nconst RUSTFLAGS: &str = {RUSTFLAGS:?};\n",
        hasher.finish()
    )
}

/// Adds the file `path`, relative to `top`, or all files below the folder `path`.
fn collect_files(top: &Path, path: PathBuf, files: &mut Vec<PathBuf>) {
    let full_path = top.join(&path);
    if !full_path.is_dir() {
        files.push(path);
        return;
    }
    for entry in std::fs::read_dir(full_path).expect("the folder is readable").flatten() {
        collect_files(top, path.join(entry.file_name()), files);
    }
}
