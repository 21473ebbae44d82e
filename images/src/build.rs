// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Configures and builds a kernel in a build slot, and stores the image in the cache.
//!
//! A build slot is the `O=` directory of one source, configuration and compiler. The slot stays
//! in the cache, so that the next build of the same source is incremental. A build locks its slot.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

mod make_output;

use crate::arch::{self, Arch, BootImage};
use crate::config::Configuration;
use crate::containment::Containment;
use crate::ctx::Ctx;
use crate::error::{BuildError, ConfigError, Context as _, Error, is_full_disk};
use crate::folder::Folder;
use crate::hash::digest;
use crate::instrumentation::{self, InstrumentedFile};
use crate::lock::{EntryLock, LockMode};
use crate::makefile;
use crate::process::Event;
use crate::toolchain::Toolchain;
use crate::types::{Contain, KernelImage, Request};
use crate::{cache, process, source_filter};
use make_output::{MakeOutput, full_disk_error};

/// Version of the image format, a part of every key. A change that makes another image from the
/// same inputs needs a new version.
const IMAGE_FORMAT: &str = "sudbox image 2";

/// Prefix of a build slot's name. A slot is a subdirectory of the source, so that the compiler's
/// command lines have relative paths (`srcroot := ..` in the top Makefile), and ccache finds files
/// that were compiled in another tree, mirror or cache.
const SLOT_PREFIX: &str = "sudbox-";

/// File of a slot with the log of the build.
const LOG: &str = "sudbox.log";
/// File of a slot with two digests: of the inputs of `.config`, and of `.config` itself.
const CONFIGURED: &str = "sudbox.configured";
/// File of a slot with the vmlinux without symbols.
const STRIPPED: &str = "sudbox.stripped";

/// Number of files that a first build is assumed to compile, for the progress bar, until a build has
/// counted them.
const ESTIMATED_COMPILED_FILES: u64 = 800;

/// The settings of a build that do not depend on its source.
#[derive(Debug)]
pub(crate) struct BuildOptions {
    pub(crate) arch: Arch,
    pub(crate) configuration: Configuration,
    /// The compiler, for this architecture.
    pub(crate) toolchain: Toolchain,
    pub(crate) contain: Contain,
}

impl BuildOptions {
    /// The build settings of a request.
    ///
    /// # Errors
    /// If the flavour is unknown, or a fragment cannot be read.
    pub(crate) fn from_request(request: &Request) -> Result<BuildOptions, Error> {
        let Request { arch, flavour, fragments, toolchain, contain, .. } = request;
        let configuration = Configuration::new(*arch, flavour, fragments)?;
        Ok(BuildOptions {
            arch: *arch,
            configuration,
            toolchain: toolchain.for_arch(*arch),
            contain: *contain,
        })
    }
}

/// The identity of a kernel source. Its texts are hashed into cache keys.
#[derive(Debug)]
pub(crate) struct SourceIdentity {
    /// Identifies the content of all files.
    pub(crate) content: String,
    /// Identifies the content of the files that can change the final .config.
    pub(crate) kconfig: String,
    /// Identifies the directory, which has one build slot for each configuration and compiler.
    pub(crate) directory: String,
    /// The source and its checksum, in one line for the report.
    pub(crate) label: String,
    /// A note for the user if the source is another release than the requested one.
    pub(crate) substitution_note: Option<String>,
    /// Whether sudbox unpacked the source without the headers of
    /// [`source_filter::LEFT_OUT_DRIVER`].
    pub(crate) lacks_left_out_files: bool,
}

/// The inputs of an image: build settings, the source's identity and the compiler.
pub(crate) struct Recipe<'a> {
    options: &'a BuildOptions,
    source: &'a SourceIdentity,
    /// The compiler's identity; `None` if there is no compiler.
    compiler: Option<String>,
}

/// Metadata of an image in the cache, `meta.json`.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct ImageMetadata {
    /// Release as `uname -r` prints it.
    release: String,
    /// Label of the source.
    source: String,
    /// Number of files that this build compiled.
    #[serde(rename = "units")]
    compiled_files: u64,
    /// The files that are instrumented, and their code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    instrumented_files: Vec<InstrumentedFile>,
}

impl<'a> Recipe<'a> {
    /// The recipe with the currently installed compiler.
    pub(crate) fn new(
        ctx: &Ctx<'_>,
        options: &'a BuildOptions,
        source: &'a SourceIdentity,
    ) -> Recipe<'a> {
        Recipe { options, source, compiler: options.toolchain.version_line(ctx.cache.owner) }
    }

    /// The compiler, its flags and the files that it instruments, as text for keys.
    fn compiler_text(&self) -> String {
        let Toolchain { cc, llvm, cross_compile, kcflags, jobs: _ } = &self.options.toolchain;
        let mut text =
            format!("{cc:?} {llvm:?} {cross_compile:?} {kcflags:?} {:?}", self.compiler.as_deref());
        let instrumented = self.options.configuration.instrumented_files();
        if !instrumented.is_empty() {
            text += &format!(" {instrumented:?}");
        }
        text
    }

    /// Key of this recipe in the cache's folder `recipes`.
    fn key(&self) -> String {
        digest(&[
            IMAGE_FORMAT,
            &self.source.content,
            &self.options.configuration.digest(),
            &self.compiler_text(),
        ])
    }

    /// The image, if the cache has it.
    pub(crate) fn find_cached(&self, ctx: &mut Ctx<'_>) -> Result<Option<KernelImage>, Error> {
        let Some(image) = ctx.cache.read_record::<String>("recipes", &self.key()) else {
            return Ok(None);
        };
        self.read_image(ctx, &image)
    }

    /// The image with this key, if the cache has it.
    fn read_image(&self, ctx: &mut Ctx<'_>, key: &str) -> Result<Option<KernelImage>, Error> {
        let folder = ctx.entry_path("images", key);
        if !folder.is_dir() {
            return Ok(None);
        }
        let lock = ctx.lock("images", key, LockMode::Shared)?;
        let Ok(text) = fs::read(folder.join("meta.json")) else { return Ok(None) };
        let Ok(metadata) = serde_json::from_slice::<ImageMetadata>(&text) else { return Ok(None) };
        let is_instrumented = !metadata.instrumented_files.is_empty();
        if is_instrumented == self.options.configuration.instrumented_files().is_empty() {
            return Ok(None);
        }
        Ok(Some(KernelImage {
            kernel: folder.join("kernel"),
            vmlinux: Some(folder.join("vmlinux")),
            config: Some(folder.join("config")),
            uapi_headers: Some(folder.join("uapi.h")).filter(|path| path.exists()),
            instrumented_files: metadata.instrumented_files,
            release: Some(metadata.release),
            // The image may have been built from an equal source in another directory. The report
            // names the source of this request.
            source: self.source.label.clone(),
            substitution_note: self.source.substitution_note.clone(),
            build_log: Some(folder.join("build.log")),
            lock,
            ..KernelImage::default()
        }))
    }

    /// The containment of a build of `source_folder` in the slot `out`. A note tells the user the
    /// measures that this machine lacks.
    ///
    /// # Errors
    /// [`BuildError::NotContained`] if the request requires a measure that is missing.
    fn containment(
        &self,
        ctx: &mut Ctx<'_>,
        source_folder: &Path,
        out: &Folder,
    ) -> Result<Containment, Error> {
        if self.options.contain == Contain::Off {
            return Ok(Containment::default());
        }
        let containment =
            Containment::for_build(source_folder, out, &self.options.toolchain, ctx.cache.owner)
                .context("contain the build in", out.path())?;
        let missing = containment.missing_measures();
        if !missing.is_empty() {
            let missing = missing.join(" and ");
            if self.options.contain == Contain::Require {
                return Err(BuildError::NotContained { missing }.into());
            }
            ctx.monitor.note(&format!(
                "the kernel's build is contained in part only: this machine has no {missing}"
            ));
        }
        Ok(containment)
    }

    /// Configures and builds the source in `source_folder`, which the caller has locked.
    ///
    /// # Errors
    /// [`BuildError`], [`ConfigError`].
    pub(crate) fn build(
        &self,
        ctx: &mut Ctx<'_>,
        source_folder: &Path,
    ) -> Result<KernelImage, Error> {
        let root = ctx.cache.root();
        if root.to_str().is_none_or(|root| root.contains([' ', ':', '\n', '#', '$', '%'])) {
            return Err(BuildError::UnusableCache { cache: root.to_owned() }.into());
        }
        let slot_key = digest(&[
            &self.source.directory,
            &self.options.configuration.name(),
            &self.compiler_text(),
        ]);
        let slot_lock = ctx.lock("slots", &slot_key, LockMode::Exclusive)?;
        // Another run may have built the image while this run waited for the lock.
        if let Some(image) = self.find_cached(ctx)? {
            return Ok(image);
        }
        let out = source_folder.join(format!("{SLOT_PREFIX}{slot_key}"));
        let is_new = !out.exists();
        fs::create_dir_all(&out).context("make", &out)?;
        let out = Folder::new(out);
        let log_path = out.path().join(LOG);
        let log = out.create(LOG).context("write", &log_path)?;
        let make_time = Duration::ZERO;
        let containment = self.containment(ctx, source_folder, &out)?;
        let mut slot = BuildSlot {
            recipe: self,
            source_folder,
            out,
            log,
            log_path,
            slot_lock,
            is_new,
            make_time,
            containment,
        };
        slot.configure(ctx)?;
        let dot_config = slot.read_file(".config")?;
        let key = digest(&[IMAGE_FORMAT, &self.source.content, &dot_config, &self.compiler_text()]);
        if let Some(image) = self.read_image(ctx, &key)? {
            ctx.cache.write_record("recipes", &self.key(), &key)?;
            return Ok(image);
        }
        let image = (arch::facts(self.options.arch).image)(&dot_config);
        let compiled_files = slot.make_image(ctx, image)?;
        slot.store(ctx, image, &key, compiled_files)?;
        ctx.cache.write_record("recipes", &self.key(), &key)?;
        cache::record_slot_size(&slot.out);
        let image = self.read_image(ctx, &key)?.map(|image| KernelImage {
            is_newly_built: true,
            make_duration: slot.make_time,
            ..image
        });
        ctx.cache.evict();
        image.ok_or_else(|| Error::Vanished {
            item: "the image that was just built",
            directory: ctx.cache.root().to_owned(),
        })
    }
}

/// A locked build slot.
struct BuildSlot<'a> {
    recipe: &'a Recipe<'a>,
    source_folder: &'a Path,
    out: Folder,
    log: File,
    log_path: PathBuf,
    slot_lock: EntryLock,
    /// Whether the slot is new, so that make builds everything.
    is_new: bool,
    /// Time that make has taken so far.
    make_time: Duration,
    containment: Containment,
}

impl BuildSlot<'_> {
    /// Reads a file of the slot.
    fn read_file(&self, name: &str) -> Result<String, Error> {
        self.out.read_to_string(name).context("read", &self.out.path().join(name))
    }

    /// Writes a file of the slot.
    fn write_file(&self, name: &str, text: &str) -> Result<(), Error> {
        self.out.write(name, text).context("write", &self.out.path().join(name))
    }

    /// The command `make TARGET` with the slot as `O=`.
    fn make_command(&self, ctx: &Ctx<'_>, target: &str) -> Command {
        let options = self.recipe.options;
        let mut make = ctx.command("make");
        make.arg("-C").arg(self.source_folder).arg("--no-print-directory");
        make.arg(format!("O={}", self.out.path().display()));
        make.arg(format!("ARCH={}", arch::facts(options.arch).make_arch));
        make.arg(format!("-j{}", options.toolchain.jobs()));
        options.toolchain.add_make_arguments(&mut make);
        make.args(instrumentation::make_argument(&options.configuration.instrumented_files()));
        // These variables make builds reproducible (Documentation/kbuild/reproducible-builds.rst).
        make.env("KBUILD_BUILD_TIMESTAMP", "@0").env("KBUILD_BUILD_VERSION", "1");
        make.env("KBUILD_BUILD_USER", "sudbox").env("KBUILD_BUILD_HOST", "sudbox");
        make.arg(target);
        make
    }

    /// Runs make and returns the number of compiled files. `expected_files` is an estimate of this
    /// number for the progress bar; 0 if unknown.
    fn run_make(
        &mut self,
        ctx: &mut Ctx<'_>,
        target: &str,
        expected_files: u64,
    ) -> Result<u64, Error> {
        let make = self.make_command(ctx, target);
        let mut output = MakeOutput::default();
        let log = &mut self.log;
        let mut log_error = None;
        let started = Instant::now();
        let statuses = process::run_contained(
            vec![make],
            &self.containment,
            &self.slot_lock,
            ctx.monitor,
            &mut |monitor, event| {
                let Event::Line(line) = event else { return };
                if let Err(error) = writeln!(log, "{line}") {
                    log_error = Some(error);
                }
                if output.add_line(line) && expected_files != 0 {
                    monitor.progress(output.compiled_files, expected_files, "files");
                } else if expected_files == 0 && output.compiled_files > 0 {
                    monitor.progress(output.compiled_files, 0, "files");
                }
            },
        )?;
        self.make_time += started.elapsed();
        if let Some(error) = log_error {
            return Err(Error::io("write", &self.log_path, error));
        }
        if statuses.iter().all(std::process::ExitStatus::success) {
            return Ok(output.compiled_files);
        }
        Err(output.into_error(target, &self.log_path))
    }

    /// Writes the `.config` of the recipe, unless the slot has that `.config`.
    fn configure(&mut self, ctx: &mut Ctx<'_>) -> Result<(), Error> {
        let recipe = self.recipe;
        let configuration_digest = digest(&[
            IMAGE_FORMAT,
            &recipe.source.kconfig,
            &recipe.options.configuration.digest(),
            &recipe.compiler_text(),
        ]);
        let is_current = self.out.read_to_string(CONFIGURED).is_ok_and(|recorded_digests| {
            // The file also has the digest of .config, because somebody may have edited .config.
            self.out.read_to_string(".config").is_ok_and(|text| {
                recorded_digests == format!("{configuration_digest} {}", digest(&[&text]))
            })
        });
        if is_current {
            return Ok(());
        }
        let release = makefile::tree_release(self.source_folder).map_err(BuildError::NotAKernel)?;
        let series = parse_series(&release)?;
        ctx.phase(&format!(
            "configuring linux {release} ({})",
            recipe.options.configuration.flavour()
        ));
        self.run_make(ctx, "tinyconfig", 0)?;
        let merged = recipe.options.configuration.merge(&self.read_file(".config")?);
        self.write_file(".config", &merged)?;
        self.run_make(ctx, "olddefconfig", 0)?;
        let text = self.read_file(".config")?;
        for note in recipe.options.configuration.check(&text, series)? {
            ctx.monitor.note(&note);
        }
        if recipe.source.lacks_left_out_files
            && text.contains(&format!("{}=", source_filter::LEFT_OUT_DRIVER))
        {
            let symbol = source_filter::LEFT_OUT_DRIVER;
            return Err(ConfigError::LeftOut { symbol }.into());
        }
        self.write_file(CONFIGURED, &format!("{configuration_digest} {}", digest(&[&text])))
    }

    /// Builds the image, incrementally if the slot was built before. Returns the number of compiled
    /// files.
    fn make_image(&mut self, ctx: &mut Ctx<'_>, image: BootImage) -> Result<u64, Error> {
        let recipe = self.recipe;
        let count_key =
            digest(&["units", recipe.options.arch.name(), &recipe.options.configuration.name()]);
        // The number of files of an incremental build is unknown.
        let expected_files = if self.is_new {
            ctx.cache.read_record("recipes", &count_key).unwrap_or(ESTIMATED_COMPILED_FILES)
        } else {
            0
        };
        ctx.phase(if self.is_new { "building" } else { "building what changed" });
        let compiled_files = self.run_make(ctx, image.target, expected_files)?;
        if self.is_new {
            ctx.cache.write_record("recipes", &count_key, &compiled_files)?;
        }
        Ok(compiled_files)
    }

    /// Stores the headers prctl.h and ptrace.h, from which the features of dispatch are derived. A
    /// version does not determine the features of a commit between releases.
    fn store_uapi_headers(&self, path: &Path) -> Result<(), Error> {
        let mut text = String::new();
        for name in ["prctl.h", "ptrace.h"] {
            // Without these headers, the features are derived from the version.
            let Ok(header) =
                fs::read_to_string(self.source_folder.join("include/uapi/linux").join(name))
            else {
                return Ok(());
            };
            text += &header;
        }
        fs::write(path, text).context("write", path)
    }

    /// The code of the files that are to be instrumented, in the built vmlinux.
    fn locate_instrumented_files(&self) -> Result<Vec<InstrumentedFile>, Error> {
        let wanted = self.recipe.options.configuration.instrumented_files();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let files = instrumentation::locate(&self.out, &wanted).context("read", self.out.path())?;
        if files.is_empty() {
            return Err(BuildError::NotInstrumented.into());
        }
        Ok(files)
    }

    /// Writes the file [`STRIPPED`]: a copy of a vmlinux without symbols and debug information.
    fn strip(&self, ctx: &mut Ctx<'_>, vmlinux: &Path) -> Result<(), Error> {
        let mut strip = ctx.command(self.recipe.options.toolchain.objcopy());
        strip.arg("-S").arg(vmlinux).arg(self.out.path().join(STRIPPED));
        let mut output = String::new();
        let statuses = process::run_contained(
            vec![strip],
            &self.containment,
            &self.slot_lock,
            ctx.monitor,
            &mut |_, event| {
                if let Event::Line(line) = event {
                    output = line.to_owned();
                }
            },
        )?;
        if !statuses.iter().all(std::process::ExitStatus::success) {
            return Err(if is_full_disk(&output) {
                full_disk_error()
            } else {
                BuildError::CannotStrip { file: vmlinux.to_owned(), output }.into()
            });
        }
        Ok(())
    }

    /// Stores the image in the cache atomically.
    fn store(
        &self,
        ctx: &mut Ctx<'_>,
        image: BootImage,
        key: &str,
        compiled_files: u64,
    ) -> Result<(), Error> {
        let tmp = ctx.cache.temporary_directory()?;
        let folder = tmp.path().join("image");
        fs::create_dir(&folder).context("make", &folder)?;
        let kernel = if image.is_elf {
            self.strip(ctx, &self.out.path().join(image.file))?;
            STRIPPED
        } else {
            image.file
        };
        self.store_uapi_headers(&folder.join("uapi.h"))?;
        for (file, name) in
            [(kernel, "kernel"), ("vmlinux", "vmlinux"), (".config", "config"), (LOG, "build.log")]
        {
            let copy = folder.join(name);
            self.out.copy(file, &copy).context("write", &copy)?;
        }
        if image.is_elf {
            self.out.remove(STRIPPED).context("remove", &self.out.path().join(STRIPPED))?;
        }
        let release = self.read_file("include/config/kernel.release")?.trim().to_owned();
        let metadata = ImageMetadata {
            release,
            source: self.recipe.source.label.clone(),
            compiled_files,
            instrumented_files: self.locate_instrumented_files()?,
        };
        let metadata_path = folder.join("meta.json");
        let text = serde_json::to_vec_pretty(&metadata)
            .map_err(std::io::Error::from)
            .context("write", &metadata_path)?;
        fs::write(&metadata_path, text).context("write", &metadata_path)?;
        let lock = ctx.lock("images", key, LockMode::Exclusive)?;
        let size = cache::disk_usage(&folder);
        let entry_path = ctx.entry_path("images", key);
        if entry_path.exists() {
            // The entry is damaged, or another run stored the same image from another slot
            // meanwhile.
            fs::rename(&entry_path, tmp.path().join("broken")).context("replace", &entry_path)?;
        }
        fs::rename(&folder, &entry_path).context("write", &entry_path)?;
        lock.record_size(size);
        Ok(())
    }
}

/// The series of a release such as `6.12.3-rc1`.
fn parse_series(release: &str) -> Result<crate::version::Series, Error> {
    let mut parts = release.splitn(3, '.');
    let series = format!("{}.{}", parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    series.parse().map_err(|_| BuildError::BadVersion { release: release.to_owned() }.into())
}

#[cfg(test)]
mod tests;
