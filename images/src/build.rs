// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Configures and builds a kernel in its slot, and keeps the image.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::arch::{self, Arch, Image};
use crate::cache::Cache;
use crate::config::Configuration;
use crate::error::{Context as _, Error, is_full_disk};
use crate::hash::digest;
use crate::lock::{Held, Mode};
use crate::makefile;
use crate::monitor::Monitor;
use crate::process::Event;
use crate::toolchain::Toolchain;
use crate::types::KernelImage;
use crate::{cache, process, source_filter};

/// Changes whenever an image of the same inputs would come out differently.
const FORMAT: &str = "sudbox image 2";

/// A slot is a folder of this name in the source itself: only then are all paths on kbuild's command
/// lines relative (`srcroot := ..` in the top Makefile), so that ccache knows a file again in
/// another tree, mirror or cache.
const SLOT: &str = "sudbox-";

/// Compile units (`CC` lines) of a first build whose number nobody has counted yet.
const UNITS: u64 = 800;

/// How many of the last lines of a build are shown if none says `error`.
const LAST_LINES: usize = 6;

/// A kernel source, ready to be built from.
#[derive(Debug)]
pub(crate) struct Source {
    /// Names the content.
    pub(crate) id: String,
    /// Names what decides about the configuration.
    pub(crate) kconfig: String,
    /// Names the place, which has one slot for each configuration and compiler.
    pub(crate) place: String,
    /// For people: where it is from, with its checksum.
    pub(crate) label: String,
    /// One sentence, if it is not exactly what was asked for.
    pub(crate) stands_in: Option<String>,
    /// It was trimmed so that a driver cannot be built.
    pub(crate) trimmed: bool,
}

/// Everything an image is made from, but the source tree itself.
pub(crate) struct Recipe<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) arch: Arch,
    pub(crate) configuration: &'a Configuration,
    pub(crate) toolchain: &'a Toolchain,
    /// The compiler's identity; `None` if there is none.
    pub(crate) compiler: Option<&'a str>,
    pub(crate) source: &'a Source,
}

/// What is remembered of an image.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Meta {
    release: String,
    source: String,
    units: u64,
}

impl Recipe<'_> {
    fn flags(&self) -> String {
        let Toolchain { cc, llvm, cross_compile, kcflags, jobs: _ } = self.toolchain;
        format!("{cc:?} {llvm:?} {cross_compile:?} {kcflags:?} {:?}", self.compiler)
    }

    fn key(&self) -> String {
        digest(&[FORMAT, &self.source.id, &self.configuration.digest(), &self.flags()])
    }

    /// The image, if it was built before.
    pub(crate) fn cached(&self, monitor: &mut dyn Monitor) -> Result<Option<KernelImage>, Error> {
        let Some(image) = self.cache.read::<String>("recipes", &self.key()) else {
            return Ok(None);
        };
        self.image(&image, false, monitor)
    }

    fn image(
        &self,
        key: &str,
        built: bool,
        monitor: &mut dyn Monitor,
    ) -> Result<Option<KernelImage>, Error> {
        let folder = self.cache.entry("images", key);
        if !folder.is_dir() {
            return Ok(None);
        }
        let held = self.cache.lock("images", key, Mode::Shared, monitor)?;
        let Ok(text) = fs::read(folder.join("meta.json")) else { return Ok(None) };
        let Ok(meta) = serde_json::from_slice::<Meta>(&text) else { return Ok(None) };
        Ok(Some(KernelImage {
            kernel: folder.join("kernel"),
            vmlinux: Some(folder.join("vmlinux")),
            config: Some(folder.join("config")),
            uapi: Some(folder.join("uapi.h")).filter(|path| path.exists()),
            release: Some(meta.release),
            // The same content may have come from elsewhere; what was asked for now is said.
            source: self.source.label.clone(),
            stands_in: self.source.stands_in.clone(),
            build_log: Some(folder.join("build.log")),
            built,
            make: Duration::ZERO,
            held,
            ..KernelImage::default()
        }))
    }

    /// Configures and builds the source in `src`, which the caller has locked.
    pub(crate) fn build(
        &self,
        src: &Path,
        monitor: &mut dyn Monitor,
    ) -> Result<KernelImage, Error> {
        let root = self.cache.root();
        if root.to_str().is_none_or(|root| root.contains([' ', ':', '\n', '#', '$', '%'])) {
            return Err(Error::Machine(format!(
                "the kernel's Makefile cannot build below {}: it takes no space, colon or the like; \
                 let SUDBOX_CACHE name a directory without",
                root.display()
            )));
        }
        let slot_key = digest(&[&self.source.place, &self.configuration.name(), &self.flags()]);
        let slot_lock = self.cache.lock("slots", &slot_key, Mode::Exclusive, monitor)?;
        // Another run may have built it while this one waited.
        if let Some(image) = self.cached(monitor)? {
            return Ok(image);
        }
        let out = src.join(format!("{SLOT}{slot_key}"));
        let fresh = !out.exists();
        fs::create_dir_all(&out).context("make", &out)?;
        let log_path = out.join("sudbox.log");
        let log = File::create(&log_path).context("write", &log_path)?;
        let made = Duration::ZERO;
        let mut slot = Slot { recipe: self, src, out, log, log_path, slot_lock, fresh, made };
        slot.configure(monitor)?;
        let dot_config = slot.read(".config")?;
        let key = digest(&[FORMAT, &self.source.id, &dot_config, &self.flags()]);
        if let Some(image) = self.image(&key, false, monitor)? {
            self.cache.write("recipes", &self.key(), &key)?;
            return Ok(image);
        }
        let image = (arch::facts(self.arch).image)(&dot_config);
        let units = slot.make_image(image, monitor)?;
        slot.store(image, &key, units, monitor)?;
        self.cache.write("recipes", &self.key(), &key)?;
        cache::record_slot_size(&slot.out);
        let image =
            self.image(&key, true, monitor)?.map(|image| KernelImage { make: slot.made, ..image });
        self.cache.evict();
        image.ok_or_else(|| {
            Error::Machine(format!(
                "the image that was just built has vanished from {}; is something else cleaning it?",
                self.cache.root().display()
            ))
        })
    }
}

/// A build slot, locked.
struct Slot<'a> {
    recipe: &'a Recipe<'a>,
    src: &'a Path,
    out: PathBuf,
    log: File,
    log_path: PathBuf,
    slot_lock: Held,
    /// Nothing was ever built in it.
    fresh: bool,
    /// Time that make has taken.
    made: Duration,
}

impl Slot<'_> {
    fn read(&self, name: &str) -> Result<String, Error> {
        let path = self.out.join(name);
        fs::read_to_string(&path).context("read", &path)
    }

    /// A make of the kernel, with what was asked for and nothing else.
    fn make(&self, target: &str) -> Command {
        let mut make = process::command("make", self.recipe.cache.owner);
        make.arg("-C").arg(self.src).arg("--no-print-directory");
        make.arg(format!("O={}", self.out.display()));
        make.arg(format!("ARCH={}", arch::facts(self.recipe.arch).make));
        make.arg(format!("-j{}", self.recipe.toolchain.jobs()));
        self.recipe.toolchain.arguments(&mut make);
        // The same inputs give the same bytes (Documentation/kbuild/reproducible-builds.rst).
        make.env("KBUILD_BUILD_TIMESTAMP", "@0").env("KBUILD_BUILD_VERSION", "1");
        make.env("KBUILD_BUILD_USER", "sudbox").env("KBUILD_BUILD_HOST", "sudbox");
        make.arg(target);
        make
    }

    /// Runs a make; gives back the number of its compile units.
    fn run(
        &mut self,
        target: &str,
        expected: u64,
        monitor: &mut dyn Monitor,
    ) -> Result<u64, Error> {
        let make = self.make(target);
        let mut output = Output::default();
        let log = &mut self.log;
        let mut log_failed = None;
        let started = Instant::now();
        let statuses =
            process::run(vec![make], &self.slot_lock, monitor, &mut |monitor, event| {
                let Event::Line(line) = event else { return };
                if let Err(e) = writeln!(log, "{line}") {
                    log_failed = Some(e);
                }
                if output.hear(line) && expected != 0 {
                    monitor.progress(output.units, expected, "files");
                } else if expected == 0 && output.units > 0 {
                    monitor.progress(output.units, 0, "files");
                }
            })?;
        self.made += started.elapsed();
        if let Some(e) = log_failed {
            return Err(Error::io("write", &self.log_path, &e));
        }
        if statuses.iter().all(std::process::ExitStatus::success) {
            return Ok(output.units);
        }
        Err(output.failure(target, &self.log_path))
    }

    /// Brings `.config` to what the recipe asks for, unless it is that already.
    fn configure(&mut self, monitor: &mut dyn Monitor) -> Result<(), Error> {
        let recipe = self.recipe;
        let stamp_path = self.out.join("sudbox.configured");
        let stamp = digest(&[
            FORMAT,
            &recipe.source.kconfig,
            &recipe.configuration.digest(),
            &recipe.flags(),
        ]);
        let dot_config = self.out.join(".config");
        let is_current = fs::read_to_string(&stamp_path).is_ok_and(|old| {
            // A .config that was edited by hand is not what the stamp stands for.
            fs::read_to_string(&dot_config)
                .is_ok_and(|now| old == format!("{stamp} {}", digest(&[&now])))
        });
        if is_current {
            return Ok(());
        }
        let release = makefile::tree_release(self.src).map_err(|what| Error::Kernel {
            message: format!("not a kernel: {what}"),
            log: None,
        })?;
        let series = series_of(&release)?;
        monitor.phase(&format!("configuring linux {release} ({})", recipe.configuration.flavour()));
        self.run("tinyconfig", 0, monitor)?;
        recipe.configuration.merge(&dot_config)?;
        self.run("olddefconfig", 0, monitor)?;
        let text = self.read(".config")?;
        for said in recipe.configuration.check(&text, series)? {
            monitor.note(&said);
        }
        if recipe.source.trimmed && text.contains(&format!("{}=", source_filter::LEFT_OUT_DRIVER)) {
            return Err(Error::Input(format!(
                "CONFIG= turns on {}, whose headers are left out of the sources that sudbox keeps; \
                 give a source tree (KERNEL=directory) to build with it",
                source_filter::LEFT_OUT_DRIVER
            )));
        }
        fs::write(&stamp_path, format!("{stamp} {}", digest(&[&text])))
            .context("write", &stamp_path)
    }

    /// Builds, incrementally if the slot was built before.
    fn make_image(&mut self, image: Image, monitor: &mut dyn Monitor) -> Result<u64, Error> {
        let recipe = self.recipe;
        let counted = digest(&["units", recipe.arch.name(), &recipe.configuration.name()]);
        // How much is left to do in a slot that was built in before is not known.
        let expected =
            if self.fresh { recipe.cache.read("recipes", &counted).unwrap_or(UNITS) } else { 0 };
        monitor.phase(if self.fresh { "building" } else { "building what changed" });
        let units = self.run(image.target, expected, monitor)?;
        if self.fresh {
            recipe.cache.write("recipes", &counted, &units)?;
        }
        Ok(units)
    }

    /// Keeps the headers that say what user space can ask of this kernel: between releases, its
    /// version does not.
    fn keep_uapi(&self, to: &Path) -> Result<(), Error> {
        let mut text = String::new();
        for name in ["prctl.h", "ptrace.h"] {
            // A tree that builds without them is not one to draw conclusions from.
            let Ok(header) = fs::read_to_string(self.src.join("include/uapi/linux").join(name))
            else {
                return Ok(());
            };
            text += &header;
        }
        fs::write(to, text).context("write", to)
    }

    /// Copies a vmlinux without what only debuggers read.
    fn strip(&self, vmlinux: &Path, to: &Path, monitor: &mut dyn Monitor) -> Result<(), Error> {
        let mut strip = process::command(self.recipe.toolchain.objcopy(), self.recipe.cache.owner);
        strip.arg("-S").arg(vmlinux).arg(to);
        let mut said = String::new();
        let statuses = process::run(vec![strip], &self.slot_lock, monitor, &mut |_, event| {
            if let Event::Line(line) = event {
                said = line.to_owned();
            }
        })?;
        if !statuses.iter().all(std::process::ExitStatus::success) {
            return Err(if is_full_disk(&said) {
                full_disk()
            } else {
                Error::Machine(format!("cannot strip {}: {said}", vmlinux.display()))
            });
        }
        Ok(())
    }

    /// Puts the image into the cache, in one step.
    fn store(
        &self,
        image: Image,
        key: &str,
        units: u64,
        monitor: &mut dyn Monitor,
    ) -> Result<(), Error> {
        let cache = self.recipe.cache;
        let tmp = cache.temporary()?;
        let new = tmp.path().join("image");
        fs::create_dir(&new).context("make", &new)?;
        let vmlinux = self.out.join("vmlinux");
        let (from, to) = (self.out.join(image.file), new.join("kernel"));
        if image.elf {
            self.strip(&from, &to, monitor)?;
        } else {
            fs::copy(&from, &to).context("write", &to)?;
        }
        self.keep_uapi(&new.join("uapi.h"))?;
        for (from, name) in [
            (&vmlinux, "vmlinux"),
            (&self.out.join(".config"), "config"),
            (&self.log_path, "build.log"),
        ] {
            let to = new.join(name);
            fs::copy(from, &to).context("write", &to)?;
        }
        let release = self.read("include/config/kernel.release")?.trim().to_owned();
        let meta = Meta { release, source: self.recipe.source.label.clone(), units };
        let meta_path = new.join("meta.json");
        let text = serde_json::to_vec_pretty(&meta)
            .map_err(|e| Error::Machine(format!("cannot describe the image: {e}")))?;
        fs::write(&meta_path, text).context("write", &meta_path)?;
        let held = cache.lock("images", key, Mode::Exclusive, monitor)?;
        let size = cache::disk_usage(&new);
        let place = cache.entry("images", key);
        if place.exists() {
            // Broken, or it would have been found.
            fs::rename(&place, tmp.path().join("broken")).context("replace", &place)?;
        }
        fs::rename(&new, &place).context("write", &place)?;
        held.record_size(size);
        Ok(())
    }
}

fn series_of(release: &str) -> Result<crate::version::Series, Error> {
    let mut parts = release.splitn(3, '.');
    let series = format!("{}.{}", parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    series.parse().map_err(|_| Error::Kernel {
        message: format!("this kernel's Makefile says it is version {release}, which is none"),
        log: None,
    })
}

fn full_disk() -> Error {
    Error::DiskFull("write what the kernel's build makes (in the cache or in TMPDIR)".into())
}

/// What a build has said so far.
#[derive(Default)]
struct Output {
    units: u64,
    error: Option<String>,
    full_disk: bool,
    killed: bool,
    last: Vec<String>,
}

impl Output {
    /// Hears a line; says whether it begins a compile unit.
    fn hear(&mut self, line: &str) -> bool {
        if line.starts_with("  CC ") {
            self.units += 1;
            return true;
        }
        self.full_disk |= is_full_disk(line);
        self.killed |= line.contains("Killed signal terminated program");
        if self.error.is_none() && is_error(line) {
            self.error = Some(from_top(line));
        }
        if !line.starts_with("  ") && !line.trim().is_empty() {
            if self.last.len() == LAST_LINES {
                self.last.remove(0);
            }
            self.last.push(from_top(line));
        }
        false
    }

    /// Why the build failed, and whose fault that is.
    fn failure(self, target: &str, log: &Path) -> Error {
        if self.full_disk {
            return full_disk();
        }
        if self.killed {
            return Error::Machine(
                "the compiler was killed, most likely because this machine ran out of memory; try \
                 again with a smaller JOBS="
                    .into(),
            );
        }
        let what = if target.ends_with("config") { "configure" } else { "build" };
        let why = self.error.unwrap_or_else(|| self.last.join("; "));
        Error::Kernel {
            message: format!(
                "this kernel does not {what}: {why}; the full log is {}",
                log.display()
            ),
            log: Some(log.to_owned()),
        }
    }
}

/// The source is the parent of where make builds: `../kernel/fork.c` is the tree's `kernel/fork.c`.
fn from_top(line: &str) -> String {
    line.strip_prefix("../").unwrap_or(line).to_owned()
}

/// Whether a line is an error of a compiler, assembler, linker or Kconfig, not of the make above.
fn is_error(line: &str) -> bool {
    [": error: ", ": fatal error: ", ": Error: ", "undefined reference to", ": syntax error"]
        .iter()
        .any(|mark| line.contains(mark))
        || line.contains("*** No rule to make target")
}

#[cfg(test)]
mod tests;
