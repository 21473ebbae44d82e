// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The abilities of this machine, and its missing tools.

use serde::Serialize;

use crate::form::{Form, Report};
use crate::forms::json::pretty;
use crate::terminal::{ReportWriter, Screen};

/// The abilities of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MachineReport {
    /// Version of the schema.
    pub schema: u32,
    /// Version of sudbox.
    pub sudbox: String,
    /// Number of CPUs that this process may use.
    pub cpus: usize,
    /// Path of the cache, or why it cannot be used.
    pub cache: String,
    /// Whether /dev/kvm runs kernels; if not, the reason.
    pub kvm: String,
    /// Time that the probe of KVM took, in microseconds.
    pub kvm_micros: u64,
    /// The steps of the probe of KVM.
    pub kvm_steps: Vec<String>,
    /// Version of QEMU; if it is missing, what that means.
    pub qemu: String,
    /// The machine that kernels run on by default.
    pub machine: String,
    /// Whether ccache is installed.
    pub ccache: bool,
    /// Names of the tools that are missing.
    pub missing: Vec<String>,
    /// The command that installs them, if the package manager is known.
    pub install: Option<String>,
}

impl Report for MachineReport {
    const FORMS: &'static [Form<MachineReport>] = &[
        Form { name: "table", about: "For people", file_name: "doctor.txt", render },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "doctor.json",
            render: |machine, _| pretty(machine),
        },
    ];
}

fn render(machine: &MachineReport, screen: Screen) -> String {
    let mut writer = ReportWriter::new(screen);
    writer.labelled("sudbox", &machine.sudbox);
    writer.labelled("CPUs", &machine.cpus.to_string());
    writer.labelled("cache", &machine.cache);
    let (whole, tenth) = (machine.kvm_micros / 1000, machine.kvm_micros % 1000 / 100);
    writer.labelled("KVM", &format!("{}; {whole}.{tenth} ms", machine.kvm));
    for step in &machine.kvm_steps {
        writer.labelled("", step);
    }
    writer.labelled("QEMU", &machine.qemu);
    writer.labelled("machine", &machine.machine);
    let ccache = if machine.ccache { "there" } else { "not there; builds work without it" };
    writer.labelled("ccache", ccache);
    let missing = machine.missing.join(", ");
    writer.labelled("missing", if missing.is_empty() { "nothing" } else { &missing });
    writer.labelled("install", machine.install.as_deref().unwrap_or_default());
    writer.finish()
}
