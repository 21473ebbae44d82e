// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The abilities of this machine, and its missing tools.

use serde::Serialize;

use crate::form::{Form, Report};
use crate::forms::json::to_json;
use crate::terminal::{ReportWriter, Screen};
use crate::text::Printable;

/// The abilities of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MachineReport {
    /// Version of the schema.
    pub schema: u32,
    /// Version of sudbox.
    #[serde(rename = "sudbox")]
    pub sudbox_version: String,
    /// Number of CPUs that this process may use.
    pub cpus: usize,
    /// Path of the cache, or the reason why the cache cannot be used.
    pub cache: String,
    /// Whether /dev/kvm runs kernels; if not, the reason.
    pub kvm: String,
    /// Time that the probe of KVM took, in microseconds.
    #[serde(rename = "kvm_micros")]
    pub kvm_probe_micros: u64,
    /// The steps of the probe of KVM.
    #[serde(rename = "kvm_steps")]
    pub kvm_probe_steps: Vec<String>,
    /// Version of QEMU; if QEMU is missing, the consequence.
    pub qemu: String,
    /// The machine that kernels run on by default.
    pub machine: String,
    /// Whether ccache is installed.
    #[serde(rename = "ccache")]
    pub has_ccache: bool,
    /// Names of the tools that are missing.
    #[serde(rename = "missing")]
    pub missing_tools: Vec<String>,
    /// The command that installs the missing tools, if the package manager is known.
    #[serde(rename = "install")]
    pub install_command: Option<String>,
}

impl Report for MachineReport {
    const FORMS: &'static [Form<MachineReport>] = &[
        Form { name: "table", about: "For people", file_name: "doctor.txt", render },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "doctor.json",
            render: |machine, _| to_json(machine),
        },
    ];
}

fn render(machine: &MachineReport, screen: Screen) -> Printable {
    let mut writer = ReportWriter::new(screen);
    writer.write_labelled("sudbox", &machine.sudbox_version);
    writer.write_labelled("CPUs", &machine.cpus.to_string());
    writer.write_labelled("cache", &machine.cache);
    let (millis, tenths) = (machine.kvm_probe_micros / 1000, machine.kvm_probe_micros % 1000 / 100);
    writer.write_labelled("KVM", &format!("{}; {millis}.{tenths} ms", machine.kvm));
    for step in &machine.kvm_probe_steps {
        writer.write_labelled("", step);
    }
    writer.write_labelled("QEMU", &machine.qemu);
    writer.write_labelled("machine", &machine.machine);
    let ccache = if machine.has_ccache { "there" } else { "not there; builds work without it" };
    writer.write_labelled("ccache", ccache);
    let missing = machine.missing_tools.join(", ");
    writer.write_labelled("missing", if missing.is_empty() { "nothing" } else { &missing });
    writer.write_labelled("install", machine.install_command.as_deref().unwrap_or_default());
    writer.finish()
}
