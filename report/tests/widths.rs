// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tables fit terminals of 40 to 200 columns.

mod common;

use common::{every_outcome, rendered};
use sudbox_report::history::{Entry, History};
use sudbox_report::kernels::{KernelEntry, KernelList};
use sudbox_report::machine::MachineReport;
use sudbox_report::matrix::{Cell, CellResult, Matrix, Plan};
use sudbox_report::runs::{Run, RunList, Summarised as _};
use sudbox_report::{Report, Screen, text};

const WIDTHS: [usize; 7] = [40, 60, 80, 100, 120, 160, 200];

/// A long text for reports. Every word of it must be in each table.
const ORIGIN: &str = "distribution package linux-source-6.12 6.12.117-1~deb12u1, sha256 \
                      e849faf31ca3555757f3a887d6840a8d520ea804de6edb77eb5ab1b15b6ebf91";

/// Checks that each line of the table fits each width, and that each of the words is in the table:
/// as a whole, or split over lines if it is long.
fn check<T: Report>(subject: &T, words: &str) {
    for width in WIDTHS {
        let table = (T::FORMS[0].render)(subject, Screen::terminal(width, false));
        for line in table.lines() {
            assert!(text::width_in_columns(line) <= width, "{width}: {line}\nin:\n{table}");
        }
        let joined: String = table.split_whitespace().collect();
        for word in words.split_whitespace() {
            assert!(joined.contains(word), "{width}: {word} is not in:\n{table}");
        }
    }
}

/// Checks that a wide terminal is used: a line has more than 100 columns.
fn check_wide<T: Report>(subject: &T) {
    let table = (T::FORMS[0].render)(subject, Screen::terminal(200, false));
    assert!(table.lines().any(|line| text::width_in_columns(line) > 100), "{table}");
}

#[test]
fn the_table_of_a_run_fits() {
    let verdict = every_outcome();
    check(&verdict, "registers/all-kept selector/invalid-value-kills");
    check_wide(&verdict);
}

#[test]
fn the_table_of_a_matrix_fits() {
    let kernels = ["6.1", "6.12", "~/src/linux-with-a-long-name", "7.3"];
    let cells: Vec<Cell> = kernels
        .map(|kernel| Cell { kernel: kernel.into(), arch: "x86_64".into(), flavour: "full".into() })
        .to_vec();
    let plan = Plan {
        sudbox_version: "0.1.0".into(),
        command: "sudbox matrix --kernels '6.1 6.12 ~/src/linux 7.3' --flavours full".into(),
        strict: false,
        boot_selected: true,
        cells,
    };
    let mut other = every_outcome();
    other.cases.truncate(2);
    let results = vec![
        Some(CellResult::Judged(Box::new(every_outcome()))),
        Some(CellResult::Judged(Box::new(other))),
        Some(CellResult::Failed { exit_code: 125, reason: ORIGIN.into() }),
        None,
    ];
    check(&Matrix { plan, shards: None, results }, "6.1 6.12 7.3 linux-source-6.12");
}

#[test]
fn the_list_of_runs_fits() {
    let folder = "~/.cache/sudbox/runs/2026-11-30T04-52-54-1234567";
    let mut summary = every_outcome().summary();
    summary.result = format!("not judged: {ORIGIN}");
    let run = |number, summary| Run {
        number,
        start_time: "2026-11-30 04:52".into(),
        folder: folder.into(),
        summary,
    };
    let list = RunList::from_runs(vec![
        run(1, None),
        run(2, Some(every_outcome().summary())),
        run(1000, Some(summary)),
    ]);
    check(&list, &format!("2026-11-30 04:52 {ORIGIN}"));
    check_wide(&list);
}

#[test]
fn the_history_of_cases_fits() {
    let entry = || Entry::from_verdict(&every_outcome()).expect("cases");
    let entries = [entry(), entry()];
    check(&History::from_entries(&entries, |_| true), "registers/all-kept 6.12.117");
}

#[test]
fn the_list_of_kernels_fits() {
    let entry = |name: &str, state: &str, used: Option<u64>, origin: &str| KernelEntry {
        name: name.into(),
        state: state.into(),
        bytes: used.map(|_| 20 << 20),
        unused_seconds: used,
        origin: origin.into(),
    };
    let short = KernelList::from_entries(vec![
        entry("6.12", "pinned, default", None, ""),
        entry("6.12.117", "cached image", Some(9_000_000), ORIGIN),
    ]);
    check(&short, &format!("6.12 pinned, default cached image 20.0 MiB 104 days {ORIGIN}"));
    check_wide(&short);
    let mut long = short.kernels;
    long.push(entry(&"linux-image-".repeat(6), "cached package", Some(0), ""));
    let long = KernelList::from_entries(long);
    // A file or pipe has each entry on one line, for grep.
    assert_eq!(rendered(&long, "table").lines().count(), 1 + long.kernels.len());
    check(&long, &format!("6.12.117 20.0 MiB linux-image- {ORIGIN}"));
}

#[test]
fn the_report_on_the_machine_fits() {
    let machine = MachineReport {
        schema: 1,
        sudbox_version: "0.1.0".into(),
        cpus: 2,
        cache: "~/a/rather/long/path/of/more/than/forty/columns/.cache/sudbox".into(),
        kvm: "/dev/kvm cannot be opened: permission denied; add yourself to the group kvm".into(),
        kvm_probe_micros: 1234,
        kvm_probe_steps: vec!["open /dev/kvm: EACCES (13), as for any user outside of the group kvm who is not root either".into()],
        qemu: "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1)".into(),
        machine: "qemu microvm on tcg: /dev/kvm cannot be opened".into(),
        has_ccache: false,
        missing_tools: ["flex", "bison", "libelf"].map(str::to_owned).to_vec(),
        install_command: Some("apt-get install --yes flex bison libelf-dev libssl-dev bc".into()),
    };
    check(&machine, "2 microvm bison libssl-dev builds");
    check_wide(&machine);
}
