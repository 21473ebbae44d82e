// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A fixture for unit tests of the whole pipeline from request to image. In place of Linux, the
//! source tree has a small Makefile with the targets and output lines that sudbox relies on. The
//! end-to-end tests build real kernels.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::ctx::Ctx;
use crate::error::{Error, Fault};
use crate::monitor::{Monitor, Silent};
use crate::net::Net;
use crate::plan::kernel;
use crate::types::{KernelImage, Request};

/// Makefile of the tree. Like kbuild, it writes objects to `O=`, rebuilds the dependents of changed
/// files, and prints a line for each file. The script `hook` of the tree runs in `tinyconfig`.
pub(crate) const MAKEFILE: &str = r#"# SPDX-License-Identifier: GPL-2.0
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 3
EXTRAVERSION =
NAME = Fake

O ?= .
objects := $(O)/kernel/fork.o $(O)/kernel/exit.o
vmlinux: $(O)/vmlinux
$(O)/vmlinux: $(objects)
	@echo "  LD      vmlinux"
	@$(LD) -nostdlib -static -e entry -o $@ $(objects)
$(O)/kernel/%.o: kernel/%.c $(O)/.config
	@echo "  CC      kernel/$*.o"
	@mkdir -p $(O)/kernel
	@cd $(O) && $(CC) $(KCFLAGS) -ffreestanding -fno-pie -c -o $@ ../kernel/$*.c
tinyconfig:
	@test ! -e .config || { echo "*** The source tree is not clean"; exit 1; }
	@mkdir -p $(O)/include/config
	@echo 6.12.3 > $(O)/include/config/kernel.release
	@echo "CONFIG_EMBEDDED=y" > $(O)/.config
	@cat selected >> $(O)/.config
	@cat hook 2>/dev/null | sh
olddefconfig:
	@env > $(O)/environment
	@echo "MAKEFLAGS=$(MAKEFLAGS) ARCH=$(ARCH)" >> $(O)/environment
"#;

/// A temporary directory with a source tree and a cache.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) cache: Cache,
    pub(crate) net: Net,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open_at(dir.path().join("cache")).unwrap();
        let net = Net::new("file:///no/such/archive", false);
        let fixture = Fixture { dir, cache, net };
        fixture.write("kernel/fork.c", "int entry(void) { return 1; }\n");
        fixture.write("kernel/exit.c", "int leave(void) { return 2; }\n");
        fixture.write("Makefile", MAKEFILE);
        // Settings that the Kconfig of Linux would select.
        fixture.write("selected", &crate::config::tests::config_with_required_symbols());
        fixture.write("Kconfig", "mainmenu \"Fake\"\n");
        fixture
    }

    /// The path of the source tree.
    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("linux-6.12.3")
    }

    /// Writes a file of the source tree.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A request for the kernel of the source tree.
    pub(crate) fn request(&self) -> Request {
        Request { reference: self.tree().to_str().unwrap().into(), ..Request::default() }
    }

    /// Builds the kernel of the source tree, or finds it in the cache.
    pub(crate) fn kernel(&self) -> Result<KernelImage, Error> {
        self.build(&self.request(), &mut Silent)
    }

    /// Builds the kernel of a request, or finds it in the cache.
    pub(crate) fn build(
        &self,
        request: &Request,
        monitor: &mut dyn Monitor,
    ) -> Result<KernelImage, Error> {
        kernel(&mut Ctx { cache: &self.cache, net: &self.net, monitor }, request)
    }

    /// Builds the tree, which must not be cached. Returns the names of the compiled files.
    pub(crate) fn compiled_files(&self) -> Vec<String> {
        let image = self.kernel().unwrap();
        assert!(image.is_newly_built);
        let log = fs::read_to_string(image.build_log.unwrap()).unwrap();
        let compiled = log.lines().filter_map(|line| line.strip_prefix("  CC      "));
        let mut files: Vec<_> = compiled.map(str::to_owned).collect();
        files.sort();
        files
    }

    /// Builds the tree, which must fail with this fault. Returns the error's message.
    pub(crate) fn error_message(&self, fault: Fault) -> String {
        let error = self.kernel().unwrap_err();
        assert_eq!(error.fault(), fault, "{error}");
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    }

    /// Asserts that the cache has no unfinished files.
    pub(crate) fn assert_no_unfinished_files(&self) {
        let files: Vec<_> = fs::read_dir(self.cache.root().join("tmp")).unwrap().collect();
        assert!(files.is_empty(), "{files:?}");
    }
}

/// Returns inode, times, mode and content of all files below a directory. A write changes at least
/// one of these values.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u64, [i64; 4], u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
        for entry in entries.chain([folder.clone()]) {
            let meta = fs::symlink_metadata(&entry).unwrap();
            let content = if meta.is_file() { fs::read(&entry).unwrap() } else { Vec::new() };
            let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
            if meta.is_dir() && entry != folder {
                folders.push(entry.clone());
            }
            files.insert(entry, (meta.ino(), times, meta.mode(), content));
        }
    }
    files
}
