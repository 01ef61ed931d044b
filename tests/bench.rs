//! Every suite of `switchboard bench` runs to its end in its smallest form and reports what it should. How fast is not
//! asked here: that is measured by command, on a machine that does nothing else.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> (bool, Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .args(["bench", "--quick", "--json", "--dir"])
        .arg(dir.path())
        .args(arguments)
        .output()
        .unwrap();
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "files are left behind: {left:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

#[test]
fn every_suite_ends_and_reports() {
    let (good, report, said) = bench(&["all"]);
    assert!(good, "{said}");
    let findings = report["findings"].as_array().unwrap();
    let named = |part: &str| findings.iter().filter(|one| one["name"].as_str().unwrap().contains(part)).count();
    // Those with a slower disk need a C compiler.
    let slow = if said.contains("no C compiler") { 0 } else { 4 };
    let expected = [
        ("ingest", 6 + slow),
        ("append by", 3),
        ("append over 1000", 1),
        ("pipeline", 3),
        ("pipeline over 1000", 1),
        ("replay", 1),
        ("history", 3),
        ("fanout", 2),
        ("ws", 1),
        ("idle stream", 3),
        ("group of 5", 6),
        ("3 pairs", 1),
        ("idle devices", 2),
        ("waiting messages", 1),
        ("reconcile 2000 lines", 2),
        ("backfill 1000 messages", 1),
    ];
    for (part, count) in expected {
        assert_eq!(named(part), count, "findings about {part}: {report:#}");
    }
    for finding in findings {
        let number = |name: &str| finding[name].as_f64().unwrap();
        let (ours, raw, ratio) = (number("ours"), number("raw"), number("ratio"));
        // An idle stream of a handful may cost nothing that can be seen in whole pages.
        let memory = finding["unit"] == "KiB" || finding["name"].as_str().unwrap().ends_with("memory");
        assert!(memory || (ours > 0.0 && raw > 0.0), "{finding:#}");
        assert!(ratio.is_finite(), "{finding:#}");
        assert!(memory || (ratio - ours / raw).abs() < 1e-6, "one round has one ratio: {finding:#}");
        assert_eq!(finding["bar"].is_null(), finding["verdict"].is_null(), "{finding:#}");
    }
}

#[test]
fn a_suite_can_be_asked_for_alone() {
    let (good, report, said) = bench(&["fanout"]);
    assert!(good, "{said}");
    assert_eq!(report["findings"].as_array().unwrap().len(), 2);
    assert!(!bench(&["nothing"]).0);
}
