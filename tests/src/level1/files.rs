// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The files of level 1's initramfs: programs of the host, QEMU, `sudbox` and its cache.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sudbox_images::initramfs::Entry;
use sudbox_vmm::qemu;

use super::host::{self, Host};
use super::{CACHE, kernel, packages};

/// Files for level 1's initramfs.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub(super) entries: Vec<Entry>,
    taken: BTreeSet<PathBuf>,
}

impl Files {
    /// Adds a file and its parent directories. A path that exists already is left unchanged.
    pub fn add(&mut self, place: impl AsRef<Path>, mode: u32, content: impl Into<Vec<u8>>) {
        let place = place.as_ref();
        if !self.taken.insert(place.to_owned()) {
            return;
        }
        let above: Vec<&Path> = place.ancestors().skip(1).collect();
        for directory in above.into_iter().rev().filter(|path| path.parent().is_some()) {
            if self.taken.insert(directory.to_owned()) {
                self.entries.push(Entry::directory(directory.to_string_lossy(), 0o755));
            }
        }
        self.entries.push(Entry::file(place.to_string_lossy(), mode, content));
    }

    /// Adds a copy of a host's file with its mode.
    ///
    /// # Panics
    /// If the file cannot be read.
    pub fn copy(&mut self, from: &Path, place: impl AsRef<Path>) {
        use std::os::unix::fs::PermissionsExt as _;
        let read = || Ok((fs::metadata(from)?.permissions().mode(), fs::read(from)?));
        let read: std::io::Result<_> = read();
        let (mode, content) = read.unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        self.add(place, mode, content);
    }

    /// Adds a program of the host and its shared libraries, at the same paths.
    ///
    /// # Panics
    /// If the program or ldd(1) is not installed.
    pub fn host_program(&mut self, name: &str) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file());
        let found = found.unwrap_or_else(|| panic!("{name} is not installed"));
        self.copy(&found, &found);
        let ldd = Command::new("ldd").arg(&found).output().expect("ldd is installed");
        // `libc.so.6 => /lib/libc.so.6 (0x...)`, and `/lib64/ld-linux-x86-64.so.2 (0x...)`.
        for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
            if word.starts_with('/') {
                self.copy(Path::new(word), word);
            }
        }
        // The loader's cache makes programs start as fast as on the host.
        let cache = Path::new("/etc/ld.so.cache");
        if cache.is_file() {
            self.copy(cache, cache);
        }
    }

    /// Adds QEMU. For this architecture, it is the installed one with the firmware that `microvm`
    /// loads; for another, it is the distribution's package, whose `virt` needs no firmware.
    ///
    /// # Panics
    /// If QEMU is not installed or the package cannot be downloaded.
    pub fn qemu(&mut self, host: &Host) {
        let program = qemu::program(host.arch);
        if let Some(foreign) = &host.foreign {
            let root = packages::unpacked(foreign.qemu_package, foreign.debian_arch);
            for (from, place) in packages::program(&root, program, host.target) {
                self.copy(&from, place);
            }
            return;
        }
        self.host_program(program);
        // `-L help` prints QEMU's firmware directories.
        let help = Command::new(program).args(["-L", "help"]).output().expect("QEMU starts");
        for directory in String::from_utf8_lossy(&help.stdout).lines() {
            // Such as `/usr/bin/../share/qemu`; QEMU lists directories that do not exist, too.
            let Ok(directory) = fs::canonicalize(directory) else { continue };
            for name in ["qboot.rom", "bios-microvm.bin", "linuxboot_dma.bin", "pvh.bin"] {
                let file = directory.join(name);
                if file.is_file() {
                    self.copy(&file, &file);
                }
            }
        }
    }

    /// Builds a static program of the workspace with these arguments of cargo, and adds `built`, the
    /// file below `release/`, at `place`.
    ///
    /// # Panics
    /// If the program does not compile.
    pub fn cargo_build(&mut self, host: &Host, cargo: &[&str], built: &str, place: &str) {
        let target = host.target;
        let mut command = Command::new(env!("CARGO"));
        if let Some(foreign) = &host.foreign {
            let triple = target.to_uppercase().replace('-', "_");
            command.env(format!("CARGO_TARGET_{triple}_LINKER"), foreign.compiler);
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
        self.copy(&crate::target_dir().join(target).join("release").join(built), place);
    }

    /// Adds the tested `sudbox` and the part of its cache with the pinned kernel, so that `sudbox run`
    /// needs no network. Returns the path of the kernel's image in level 1.
    ///
    /// # Panics
    /// If `sudbox` is not static or the kernel cannot be built.
    pub fn sudbox(&mut self) -> PathBuf {
        let program = crate::sudbox().get_program().to_owned();
        let ldd = Command::new("ldd").arg(&program).output().expect("ldd is installed");
        assert!(
            String::from_utf8_lossy(&ldd.stdout).contains("statically linked"),
            "sudbox is not static; `make build` makes one, and SUDBOX names it"
        );
        self.copy(Path::new(&program), "/bin/sudbox");
        let image = kernel(&host::X86_64, "default", &[]);
        let folder = image.kernel.parent().expect("a folder of the cache");
        let key = folder.file_name().expect("its key");
        let place = Path::new(CACHE);
        let images = place.join("images").join(key);
        self.copy_folder(folder, &images);
        let from = crate::cache_dir();
        self.copy_folder(&from.join("resolved"), &place.join("resolved"));
        let quoted_key = format!("\"{}\"", key.to_string_lossy());
        for recipe in fs::read_dir(from.join("recipes")).expect("recipes").flatten() {
            if fs::read_to_string(recipe.path()).is_ok_and(|text| text == quoted_key) {
                self.copy(&recipe.path(), place.join("recipes").join(recipe.file_name()));
            }
        }
        // A recipe contains the first line of `gcc --version`, so the same gcc must be found.
        self.host_program("gcc");
        images.join(image.kernel.file_name().expect("its name"))
    }

    /// Builds and adds `sudbox` and the pinned kernel for another architecture. Returns the kernel's
    /// path in level 1. The cache is not copied: its recipes name cross compilers, which level 1 does
    /// not have.
    ///
    /// # Panics
    /// If `sudbox` or the kernel cannot be built.
    pub fn foreign_sudbox(&mut self, host: &Host) -> &'static str {
        const PLACE: &str = "/k/kernel";
        self.cargo_build(host, &["--package", "sudbox"], "sudbox", "/bin/sudbox");
        self.copy(&kernel(host, "default", &[]).kernel, PLACE);
        PLACE
    }

    fn copy_folder(&mut self, from: &Path, place: &Path) {
        let entries = fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        for entry in entries.flatten() {
            self.copy(&entry.path(), place.join(entry.file_name()));
        }
    }
}
