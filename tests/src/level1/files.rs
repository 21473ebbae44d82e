// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The files of level 1's initramfs: programs of the host, QEMU, `sudbox` and its cache.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sudbox_images::initramfs::Entry;
use sudbox_vmm::qemu;

use super::host::{self, Host};
use super::{CACHE, build_kernel, packages};

/// Files for level 1's initramfs.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub(super) entries: Vec<Entry>,
    added_paths: BTreeSet<PathBuf>,
}

impl Files {
    /// Adds a file and its parent directories. Leaves a path unchanged that was added before.
    pub fn add(&mut self, guest_path: impl AsRef<Path>, mode: u32, content: impl Into<Vec<u8>>) {
        let guest_path = guest_path.as_ref();
        if !self.added_paths.insert(guest_path.to_owned()) {
            return;
        }
        let parents: Vec<&Path> = guest_path.ancestors().skip(1).collect();
        for directory in parents.into_iter().rev().filter(|path| path.parent().is_some()) {
            if self.added_paths.insert(directory.to_owned()) {
                self.entries.push(Entry::directory(directory.to_string_lossy(), 0o755));
            }
        }
        self.entries.push(Entry::file(guest_path.to_string_lossy(), mode, content));
    }

    /// Adds a copy of a file of this machine, with the same mode.
    ///
    /// # Panics
    /// If the file cannot be read.
    pub fn copy_from_host(&mut self, from: &Path, guest_path: impl AsRef<Path>) {
        use std::os::unix::fs::PermissionsExt as _;
        let read = || Ok((fs::metadata(from)?.permissions().mode(), fs::read(from)?));
        let read: std::io::Result<_> = read();
        let (mode, content) = read.unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        self.add(guest_path, mode, content);
    }

    /// Adds a program of the host and its shared libraries, at the same paths.
    ///
    /// # Panics
    /// If the program or ldd(1) is not installed.
    pub fn add_host_program(&mut self, name: &str) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program =
            std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
        let program = program.unwrap_or_else(|| panic!("{name} is not installed"));
        self.copy_from_host(&program, &program);
        let ldd = Command::new("ldd").arg(&program).output().expect("ldd is installed");
        // `libc.so.6 => /lib/libc.so.6 (0x...)`, and `/lib64/ld-linux-x86-64.so.2 (0x...)`.
        for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
            if word.starts_with('/') {
                self.copy_from_host(Path::new(word), word);
            }
        }
        // The loader's cache makes programs start as fast as on the host.
        let cache = Path::new("/etc/ld.so.cache");
        if cache.is_file() {
            self.copy_from_host(cache, cache);
        }
    }

    /// Adds QEMU. For this architecture: the installed QEMU with the firmware that `microvm` loads. For
    /// another architecture: the distribution's package, whose machine `virt` needs no firmware.
    ///
    /// # Panics
    /// If QEMU is not installed or the package cannot be downloaded.
    pub fn add_qemu(&mut self, host: &Host) {
        let program = qemu::program(host.arch);
        if let Some(cross_tools) = &host.cross_tools {
            let root = packages::unpack_package(cross_tools.qemu_package, cross_tools.debian_arch);
            for (from, guest_path) in packages::program_files(&root, program, host.target) {
                self.copy_from_host(&from, guest_path);
            }
            return;
        }
        self.add_host_program(program);
        // `-L help` prints QEMU's firmware directories.
        let help = Command::new(program).args(["-L", "help"]).output().expect("QEMU starts");
        for directory in String::from_utf8_lossy(&help.stdout).lines() {
            // A line is a path such as `/usr/bin/../share/qemu`. Some of the directories do not exist.
            let Ok(directory) = fs::canonicalize(directory) else { continue };
            for name in ["qboot.rom", "bios-microvm.bin", "linuxboot_dma.bin", "pvh.bin"] {
                let file = directory.join(name);
                if file.is_file() {
                    self.copy_from_host(&file, &file);
                }
            }
        }
    }

    /// Builds a static program of the workspace with these arguments of cargo. Adds the file `built`
    /// below `release/` at `guest_path`.
    ///
    /// # Panics
    /// If the program does not compile.
    pub fn build_and_add(&mut self, host: &Host, cargo: &[&str], built: &str, guest_path: &str) {
        let target = host.target;
        let mut command = Command::new(env!("CARGO"));
        if let Some(cross_tools) = &host.cross_tools {
            let triple = target.to_uppercase().replace('-', "_");
            command.env(format!("CARGO_TARGET_{triple}_LINKER"), cross_tools.compiler);
        }
        let status = command
            .args(["build", "--quiet", "--release", "--locked"])
            .args(cargo)
            // With --target, RUSTFLAGS does not apply to procedural macros.
            .args(["--target", target])
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
            .current_dir(crate::root())
            .status()
            .expect("cargo starts");
        assert!(status.success(), "building {built} failed");
        self.copy_from_host(
            &crate::target_dir().join(target).join("release").join(built),
            guest_path,
        );
    }

    /// Adds the tested `sudbox` and the part of its cache with the pinned kernel, so that `sudbox run`
    /// needs no network. Returns the path of the kernel's image in level 1.
    ///
    /// # Panics
    /// If `sudbox` is not static or the kernel cannot be built.
    pub fn add_sudbox(&mut self) -> PathBuf {
        let program = crate::sudbox().get_program().to_owned();
        let ldd = Command::new("ldd").arg(&program).output().expect("ldd is installed");
        assert!(
            String::from_utf8_lossy(&ldd.stdout).contains("statically linked"),
            "sudbox is not static; `make build` makes one, and SUDBOX names it"
        );
        self.copy_from_host(Path::new(&program), "/bin/sudbox");
        let image = build_kernel(&host::X86_64, "default", &[]);
        let folder = image.kernel.parent().expect("a folder of the cache");
        let key = folder.file_name().expect("its key");
        let guest_path = Path::new(CACHE);
        let images = guest_path.join("images").join(key);
        self.copy_folder(folder, &images);
        let from = crate::cache_dir();
        self.copy_folder(&from.join("resolved"), &guest_path.join("resolved"));
        let quoted_key = format!("\"{}\"", key.to_string_lossy());
        for recipe in fs::read_dir(from.join("recipes")).expect("recipes").flatten() {
            if fs::read_to_string(recipe.path()).is_ok_and(|text| text == quoted_key) {
                self.copy_from_host(
                    &recipe.path(),
                    guest_path.join("recipes").join(recipe.file_name()),
                );
            }
        }
        // A recipe contains the first line of `gcc --version`, so level 1 needs the same gcc.
        self.add_host_program("gcc");
        images.join(image.kernel.file_name().expect("its name"))
    }

    /// Builds and adds `sudbox` and the pinned kernel for another architecture. Returns the kernel's
    /// path in level 1. The cache is not copied: its recipes name cross compilers, which level 1 does
    /// not have.
    ///
    /// # Panics
    /// If `sudbox` or the kernel cannot be built.
    pub fn add_foreign_sudbox(&mut self, host: &Host) -> &'static str {
        const KERNEL_PATH: &str = "/k/kernel";
        self.build_and_add(host, &["--package", "sudbox"], "sudbox", "/bin/sudbox");
        self.copy_from_host(&build_kernel(host, "default", &[]).kernel, KERNEL_PATH);
        KERNEL_PATH
    }

    fn copy_folder(&mut self, from: &Path, guest_path: &Path) {
        let entries = fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        for entry in entries.flatten() {
            self.copy_from_host(&entry.path(), guest_path.join(entry.file_name()));
        }
    }
}
