//! `sudbox bench`: what dispatch costs on a kernel, and which difference between two is real.

use crate::backend::{self, Choice};
use crate::cli::{Backend, BenchArgs, BenchFormat, BuildArgs, By, VmArgs};
use crate::failure::{Code, Failure};
use crate::folder::RunFolder;
use crate::kernel::{self, Manner};
use crate::progress::Progress;
use crate::rerun::Rerun;
use crate::selection::{BOOT, Selection};
use crate::{arch, run, running};
use std::time::Duration;
use sudbox_guest_init::bench::{NATIVE, PREFIX, TABLE};
use sudbox_images::{Arch, Cache, KernelImage, Request};
use sudbox_report::costs::comparison::{
    self, BOOTS_COUNTING, BOOTS_TIMING, Comparison, Finding, MOST_COUNTING,
};
use sudbox_report::costs::{Costs, Unit, json, page, table};
use sudbox_report::{Options, Outcome, Verdict};
use sudbox_vmm::machine::Machine;
use sudbox_vmm::processor;
use sudbox_vmm::qemu::Accelerator;

/// Without progress for so long a boot is a hang; a measurement has a sixth of it. Ten times what `run`
/// has: nothing is judged by how quick it is here, and a busy machine may take its time.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(600);

/// Runs and returns the exit code.
pub(crate) fn bench(args: &BenchArgs) -> anyhow::Result<u8> {
    let selection = select(&args.only)?;
    if args.vm.gdb {
        return Err(Failure::usage("--gdb stops the clock: it goes with `sudbox run`"));
    }
    match &args.compare {
        Some(kernels) => compare(args, kernels, &selection),
        None if args.kernel == running::NAME => measure_running(args, &selection),
        None => measure(args, &selection),
    }
}

/// The measurements of these names, and the one that all are compared with.
///
/// # Errors
/// A name that none has.
pub(crate) fn select(names: &str) -> anyhow::Result<Selection> {
    let words: Vec<&str> = names.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    let all = || TABLE.iter().map(|case| case.id.trim_start_matches(PREFIX));
    if let Some(word) = words.iter().find(|word| !all().any(|name| name == **word)) {
        let all: Vec<&str> = all().collect();
        return Err(Failure::usage(format!(
            "nothing that is measured is called `{word}`: there are {}",
            all.join(" ")
        )));
    }
    let wanted = |id: &str| {
        words.is_empty() || id == NATIVE || words.contains(&id.trim_start_matches(PREFIX))
    };
    let cases = TABLE.iter().filter(|case| wanted(case.id)).collect();
    Ok(Selection { cases, boot: false })
}

/// What measures, and what its figures are.
pub(crate) struct Means {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) unit: Unit,
}

impl Means {
    /// What this machine has for kernels of this architecture.
    ///
    /// # Errors
    /// If what was asked for cannot be had here.
    pub(crate) fn of(
        by: Option<By>,
        vm: &VmArgs,
        arch: Arch,
        progress: &mut Progress,
    ) -> anyhow::Result<Means> {
        let emulated = processor::is_emulated();
        let (choice, unit) = choose(by, vm.backend, backend::choice(vm, arch)?, arch, emulated)?;
        Ok(Means { machine: backend::ready(choice, arch, progress)?, unit })
    }
}

/// Instructions are counted where QEMU emulates the processor, and where that is asked for. KVM runs
/// kernels on this machine's, which may be emulated itself.
fn choose(
    by: Option<By>,
    asked: Backend,
    choice: Choice,
    arch: Arch,
    emulated: bool,
) -> anyhow::Result<(Choice, Unit)> {
    let emulates = matches!(choice, Choice::Qemu(Accelerator::Tcg, _));
    let target = arch::of(arch);
    let unit =
        Unit::Instructions { hertz: target.counter_hertz, of_loop: target.loop_instructions };
    Ok(match (by, choice) {
        (Some(By::Time), choice) if emulates => (choice, Unit::Ratio),
        (None | Some(By::Time), choice) if !emulates => (choice, timed(emulated)),
        (_, Choice::Qemu(Accelerator::Tcg, reason)) => {
            (Choice::Qemu(Accelerator::Counting, reason), unit)
        }
        _ if asked == Backend::Kvm => {
            return Err(Failure::usage(
                "KVM counts no instructions: --by instructions goes without --backend kvm",
            ));
        }
        _ => (Choice::Qemu(Accelerator::Counting, "it counts instructions".to_owned()), unit),
    })
}

/// What may be said of times: none of an emulated processor.
fn timed(emulated: bool) -> Unit {
    if emulated { Unit::Ratio } else { Unit::Nanoseconds }
}

/// Costs on one kernel in VMs.
fn measure(args: &BenchArgs, selection: &Selection) -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let request = kernel::patched(kernel::request(&args.kernel, &args.build)?, &args.patches);
    let means = Means::of(args.by, &args.vm, request.arch, &mut progress)?;
    let cache = Cache::open()?;
    let image = kernel::find(&cache, &request, &mut progress)?;
    let folder = RunFolder::create(&cache)?;
    let errand = Errand { means: &means, vm: &args.vm, build: &args.build, selection };
    let costs = errand.boot(&image, &request, &folder, &mut progress)?;
    tell(&costs, args.format, &folder, &mut progress)
}

/// Costs on the kernel that is running here.
fn measure_running(args: &BenchArgs, selection: &Selection) -> anyhow::Result<u8> {
    if args.by == Some(By::Instructions) {
        return Err(Failure::usage(
            "instructions are counted in QEMU's emulation, and the kernel that is running is not in it",
        ));
    }
    run::refuse_vm_options(&args.vm, &args.build, &args.patches)?;
    let mut progress = Progress::new();
    let request = kernel::request(&args.kernel, &args.build)?;
    let folder = RunFolder::create(&Cache::open()?)?;
    let manner = manner(&args.kernel, &args.vm, &args.build);
    let verdict = kernel::judge_running(&request, &manner, selection, &folder, &mut progress)?;
    kernel::keep(&verdict, Options::default(), &folder)?;
    tell(&costs_of(&verdict, timed(processor::is_emulated()))?, args.format, &folder, &mut progress)
}

/// Which difference between two kernels is real.
fn compare(args: &BenchArgs, kernels: &[String], selection: &Selection) -> anyhow::Result<u8> {
    let [first, second] = kernels else {
        return Err(Failure::usage("--compare takes two kernels"));
    };
    if args.format == BenchFormat::Html {
        return Err(Failure::usage("a page is of one kernel: --compare goes with table and json"));
    }
    if [first, second].iter().any(|kernel| *kernel == running::NAME) {
        return Err(Failure::usage(
            "the kernel that is running here is not in a VM: its times do not compare with another's",
        ));
    }
    let mut progress = Progress::new();
    let requests = [
        kernel::request(first, &args.build)?,
        kernel::patched(kernel::request(second, &args.build)?, &args.patches),
    ];
    let means = Means::of(args.by, &args.vm, requests[0].arch, &mut progress)?;
    let cache = Cache::open()?;
    let mut images = Vec::new();
    for request in &requests {
        images.push(kernel::find(&cache, request, &mut progress)?);
    }
    let folder = RunFolder::create(&cache)?;
    let errand = Errand { means: &means, vm: &args.vm, build: &args.build, selection };
    let (boots, most) = boots(means.unit);
    let mut costs: [Vec<Costs>; 2] = [Vec::new(), Vec::new()];
    let mut boot = 0;
    let compared = loop {
        boot += 1;
        for (at, (image, request)) in images.iter().zip(&requests).enumerate() {
            progress.say("boot", &format!("{boot} of {}, kernel {}", boots.max(boot), at + 1));
            let folder = folder.within(&format!("{boot}-{}", at + 1))?;
            costs[at].push(errand.boot(image, request, &folder, &mut progress)?);
        }
        let compared = Comparison::of(&costs[0], &costs[1])
            .ok_or_else(|| Failure::machine("no kernel was booted"))?;
        if boot == most || boot >= boots && !compared.found(Finding::Unsteady) {
            break compared;
        }
    };
    let (text, document) = (comparison::render(&compared), json::render_comparison(&compared));
    folder.write("comparison.txt", &text)?;
    folder.write("comparison.json", &document)?;
    run::print(if args.format == BenchFormat::Json { &document } else { &text })?;
    progress.say("kept", &folder.path().display().to_string());
    Ok(match () {
        () if compared.found(Finding::Slower) || compared.failed().next().is_some() => 1,
        () if compared.found(Finding::Unsteady) => Code::Unjudged as u8,
        () => 0,
    })
}

/// How often each kernel is booted to be compared, and how often at most if they do not agree.
fn boots(unit: Unit) -> (usize, usize) {
    match unit {
        Unit::Instructions { .. } => (BOOTS_COUNTING, MOST_COUNTING),
        Unit::Nanoseconds | Unit::Ratio => (BOOTS_TIMING, BOOTS_TIMING),
    }
}

fn manner(kernel: &str, vm: &VmArgs, build: &BuildArgs) -> Manner {
    Manner {
        vm: vm.clone(),
        isolate: false,
        repeat: 1,
        timeout: TIMEOUT,
        rerun: Rerun::of(kernel, build, vm),
    }
}

/// What is to be measured, and with what.
struct Errand<'a> {
    means: &'a Means,
    vm: &'a VmArgs,
    build: &'a BuildArgs,
    selection: &'a Selection,
}

impl Errand<'_> {
    /// Costs by one boot of a kernel.
    fn boot(
        &self,
        image: &KernelImage,
        request: &Request,
        folder: &RunFolder,
        progress: &mut Progress,
    ) -> anyhow::Result<Costs> {
        let manner = manner(&request.reference, self.vm, self.build);
        let machine = &*self.means.machine;
        let selection = self.selection;
        let verdict =
            kernel::judge_image(image, request, machine, &manner, selection, folder, progress)?;
        // What the batches took, each of them, is in the report.
        kernel::keep(&verdict, Options::default(), folder)?;
        costs_of(&verdict, self.means.unit)
    }
}

/// What was measured.
///
/// # Errors
/// If the kernel did not get to it, or if the figures make no sense.
pub(crate) fn costs_of(verdict: &Verdict, unit: Unit) -> anyhow::Result<Costs> {
    let unjudged =
        |message: String| -> anyhow::Error { Failure { code: Code::Unjudged, message }.into() };
    if let Some(why) = &verdict.unjudged {
        return Err(unjudged(why.clone()));
    }
    let needed = |id| verdict.cases.iter().find(|case| case.id == id);
    if let Some(case) =
        [BOOT, NATIVE].into_iter().filter_map(needed).find(|case| case.outcome != Outcome::Pass)
    {
        let (id, outcome) = (&case.id, case.outcome.as_str());
        return Err(unjudged(format!("nothing can be measured: {id}: {outcome}: {}", case.got)));
    }
    Costs::of(verdict, unit, PREFIX, NATIVE).map_err(|error| Failure::machine(error.to_string()))
}

/// Prints and keeps the costs. Gives the exit code.
fn tell(
    costs: &Costs,
    format: BenchFormat,
    folder: &RunFolder,
    progress: &mut Progress,
) -> anyhow::Result<u8> {
    let (text, document, page) = (table::render(costs), json::render(costs), page::render(costs));
    folder.write("costs.txt", &text)?;
    folder.write("costs.json", &document)?;
    folder.write("costs.html", &page)?;
    run::print(match format {
        BenchFormat::Table => &text,
        BenchFormat::Json => &document,
        BenchFormat::Html => &page,
    })?;
    progress.say("kept", &folder.path().display().to_string());
    let failed = costs.lacks.iter().any(|lack| lack.outcome.is_failure());
    Ok(u8::from(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_selects_itself_and_what_it_is_compared_with() {
        let ids = |words| -> Vec<&str> {
            select(words).unwrap().cases.iter().map(|case| case.id).collect()
        };
        assert_eq!(ids("round-trip"), [NATIVE, "bench/round-trip"]);
        assert_eq!(ids("").len(), TABLE.len());
        let error = select("round-trip,roundtrip").unwrap_err();
        assert!(error.to_string().contains("`roundtrip`"), "{error}");
    }

    #[test]
    fn nanoseconds_are_those_of_a_processor() {
        let tcg = || Choice::Qemu(Accelerator::Tcg, "why".to_owned());
        let kvm = || Choice::MicroVm("why".to_owned());
        let of = |by, asked, choice| choose(by, asked, choice, Arch::X86_64, false);
        let auto = Backend::Auto;
        assert_eq!(of(None, auto, kvm()).unwrap().1, Unit::Nanoseconds);
        let nested = choose(None, auto, kvm(), Arch::X86_64, true).unwrap();
        assert_eq!(nested, (kvm(), Unit::Ratio), "KVM on an emulated machine");
        assert_eq!(of(Some(By::Time), auto, tcg()).unwrap(), (tcg(), Unit::Ratio));
        for (by, choice) in
            [(None, tcg()), (Some(By::Instructions), tcg()), (Some(By::Instructions), kvm())]
        {
            let (choice, unit) = of(by, auto, choice).unwrap();
            assert!(matches!(choice, Choice::Qemu(Accelerator::Counting, _)), "{choice:?}");
            assert!(matches!(unit, Unit::Instructions { of_loop: 3, .. }), "{unit:?}");
        }
        assert!(of(Some(By::Instructions), Backend::Kvm, kvm()).is_err());
    }
}
