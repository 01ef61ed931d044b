//! The table, and the same as JSON.

use serde_json::json;
use switchboard_contract::Result;

use super::measure::{Bar, Bench, Finding, Verdict};
use crate::cli::{print_json, print_line};

pub(super) fn print(bench: &Bench, findings: &[Finding], as_json: bool) -> Result<()> {
    if as_json {
        return print_json(&json!({
            "machine": bench.machine,
            "settings": bench.settings,
            "findings": findings,
        }));
    }
    let machine = &bench.machine;
    print_line(format_args!(
        "{}, {} core(s), {} MiB; {}; {}; fsync {:.0} µs; {} build; {} rounds{}",
        machine.cpu,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        machine.file_system,
        machine.fsync_us,
        machine.build,
        bench.settings.pairs,
        if machine.pinned { "" } else { "; nothing pinned: there is no taskset here" },
    ));
    if bench.settings.quick {
        print_line("a quick run: these figures mean nothing");
    }
    if machine.build == "debug" {
        print_line("a debug build: these figures mean nothing");
    }
    if machine.load > 0.5 {
        print_line(format_args!(
            "the machine was not idle (load {:.1}): figures are too low, ratios unsteady",
            machine.load
        ));
    }
    if matches!(machine.file_system.as_str(), "tmpfs" | "ramfs") {
        print_line("the files are in memory: an fsync costs nothing here; choose a disk with --dir");
    }
    print_line("");
    let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
    let against = findings.iter().map(|finding| finding.against.chars().count()).max().unwrap_or(0);
    for finding in findings {
        print_line(line(finding, width, against));
        if !finding.note.is_empty() {
            print_line(format_args!("{:width$}    {}", "", finding.note));
        }
    }
    Ok(())
}

fn line(finding: &Finding, width: usize, against: usize) -> String {
    let comparison = &finding.comparison;
    let (ours, raw) = (number(comparison.ours), number(comparison.raw));
    let ratio =
        format!("{:>7} ({}–{})", percent(comparison.ratio), percent(comparison.lowest), percent(comparison.highest));
    let verdict = match (finding.verdict, finding.bar) {
        (Some(verdict), Some(bar)) => format!("{:<7} {}", word(verdict), required(bar)),
        _ => String::new(),
    };
    format!(
        "{:width$}  {ours:>10} {:<5} of {raw:>10}  {:<against$}  {ratio:<22}  {verdict}",
        finding.name, finding.unit, finding.against
    )
    .trim_end()
    .to_owned()
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Stretch => "STRETCH",
        Verdict::Pass => "PASS",
        Verdict::Below => "BELOW",
    }
}

fn required(bar: Bar) -> String {
    match bar {
        Bar::AtLeast { bar, stretch: Some(stretch) } => {
            format!("(at least {}, better {})", percent(bar), percent(stretch))
        }
        Bar::AtLeast { bar, stretch: None } => format!("(at least {})", percent(bar)),
        Bar::AtMost { bar } => format!("(at most {})", percent(bar)),
    }
}

fn percent(ratio: f64) -> String {
    if ratio >= 10.0 { format!("{ratio:.1}×") } else { format!("{:.0}%", ratio * 100.0) }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2}M", value / 1e6),
        value if value >= 1e3 => format!("{:.1}k", value / 1e3),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Comparison;
    use super::*;

    #[test]
    fn a_line_shows_both_figures_the_ratio_and_the_verdict() {
        let comparison = Comparison { ours: 31_500.0, raw: 97_000.0, ratio: 0.325, lowest: 0.3, highest: 0.35 };
        let finding = Finding::new("ingest huanxin", "1/s", "empty POST", comparison).at_least(0.3, Some(0.45));
        let line = line(&finding, 14, 10);
        for part in ["ingest huanxin", "31.5k", "97.0k", "empty POST", "32%", "30%–35%", "PASS", "better 45%"] {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
    }
}
