//! Builds guest-init as a static binary and embeds it, so that `cargo build` and
//! `cargo install --path harness` alone give a working sudbox.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let guest_init = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../guest-init");
    // A directory of its own: cargo holds a lock on the one it is building in.
    let target_dir = PathBuf::from(variable("OUT_DIR")).join("guest");
    let target = variable("TARGET");

    for input in ["src", "Cargo.toml", "../protocol/src", "../Cargo.lock", "../Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", guest_init.join(input).display());
    }

    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["build", "--locked", "--quiet", "--profile", "guest", "--bin", "guest-init"])
        .args(["--target", &target])
        .arg("--manifest-path")
        .arg(guest_init.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir);
    // What is set for building the harness (lints, wrappers, flags of its target) is not for the
    // guest.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let inherited = ["CARGO_BUILD_", "CARGO_TARGET_", "CARGO_PROFILE_", "CARGO_FEATURE_"]
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
    // Not position-independent: nothing to relocate before main, and addresses in reports stand
    // as they are in the file.
    cargo.env(
        "CARGO_ENCODED_RUSTFLAGS",
        "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static",
    );
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "building guest-init for {target} failed");

    let binary = target_dir.join(&target).join("guest/guest-init");
    println!("cargo::rustc-env=SUDBOX_GUEST_INIT={}", binary.display());
}
