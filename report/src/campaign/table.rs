// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A campaign as a table for people.

use super::{Campaign, Coverage, Hour};
use crate::terminal::{Colour, ReportWriter, Screen};
use crate::text::{self, Printable};

pub(super) fn render(campaign: &Campaign, screen: Screen) -> Printable {
    let mut writer = ReportWriter::new(screen);
    let name = crate::runs::kernel_name(&campaign.kernel);
    writer.write_labelled("kernel", &format!("Linux {name}, {}", campaign.kernel.source));
    writer.write_labelled("machine", &campaign.machine);
    writer.write_labelled("shard", &campaign.shard);
    writer.write_labelled("seed", &campaign.seed.to_string());
    writer.write_empty_line();
    writer.write_line("hour      walks   products   failures  new finds");
    for (index, hour) in campaign.hours.iter().enumerate() {
        write_counts(&mut writer, &(index + 1).to_string(), hour);
    }
    write_counts(&mut writer, "all", &campaign.total());
    if let Some(coverage) = &campaign.coverage {
        write_coverage(&mut writer, coverage);
    }
    for find in &campaign.finds {
        let example = &find.example;
        writer.write_empty_line();
        let times = if find.count == 1 { "once" } else { &format!("{} times", find.count) };
        let title = format!("{}  {times}, first in hour {}", example.id, find.hour + 1);
        writer.write_wrapped_in(
            Some(Colour::Red),
            "",
            "",
            &text::escaped_line(&format!("{}  {title}", example.outcome.as_str().to_uppercase())),
        );
        writer.write_labelled("expected", &example.expected);
        writer.write_labelled("got", &example.detail);
        writer.write_labelled("kernel", &example.kernel_function);
        writer.write_excerpt("log", example.log.iter().map(String::as_str), 0);
        writer.write_command("again", &example.rerun);
    }
    writer.write_empty_line();
    let seconds = campaign.duration_millis / 1000;
    let time = format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60);
    let runs =
        if campaign.runs == 1 { String::new() } else { format!(" in {} runs", campaign.runs) };
    let conclusion = match campaign.finds.len() {
        0 => "nothing was found".to_owned(),
        1 => "1 find".to_owned(),
        count => format!("{count} finds"),
    };
    writer.write_wrapped("", "  ", &format!("CAMPAIGN: {conclusion} in {time}{runs}"));
    writer.finish()
}

fn write_counts(writer: &mut ReportWriter, name: &str, hour: &Hour) {
    let Hour { walks, products, failures, finds } = hour;
    writer.write_line(&format!("{name:<4} {walks:>10} {products:>10} {failures:>10} {finds:>10}"));
}

fn write_coverage(writer: &mut ReportWriter, coverage: &Coverage) {
    writer.write_empty_line();
    writer.write_line("reached   of blocks  file");
    for file in &coverage.files {
        writer.write_line(&format!("{:>7} {:>11}  {}", file.reached, file.blocks, file.file));
    }
    let blocks: u64 = coverage.files.iter().map(|file| file.blocks).sum();
    writer.write_line(&format!("{:>7} {blocks:>11}  all", coverage.total()));
    let Coverage { kept, kept_changes, replays, .. } = coverage;
    let text = format!(
        "{kept} walks are kept, {kept_changes} of them changed from others; kept walks were replayed {replays} times"
    );
    writer.write_wrapped("", "  ", &text);
}
