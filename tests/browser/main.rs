//! The JavaScript client in Node, and the demo's chat page in a real headless Chromium, both against the product in a
//! process of its own. What they check stands in the scripts beside this file; here they are run and counted.

#![cfg(all(feature = "bin", feature = "selfhosted"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SET_UP: &str = "run scripts/setup-tests, which installs what the browser tests need";

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

fn node(arguments: &[&str]) -> Output {
    for package in ["playwright-core", "typescript", "ws"] {
        assert!(here().join("node_modules").join(package).is_dir(), "{package} is missing; {SET_UP}");
    }
    let mut command = Command::new("node");
    command.args(arguments).current_dir(here()).env("SWITCHBOARD_BINARY", env!("CARGO_BIN_EXE_switchboard"));
    command.output().unwrap_or_else(|error| panic!("node: {error}; {SET_UP}"))
}

/// Runs a script of tests. A script that skips one, or that has fewer than it should, has not passed.
fn run(script: &str, at_least: usize) {
    let output = node(&["--test", "--test-reporter=tap", script]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} failed\n{text}\n{errors}");
    let count = |what: &str| -> usize {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("# {what} ")));
        line.unwrap_or_else(|| panic!("no count of {what} in\n{text}")).parse().unwrap()
    };
    assert_eq!((count("fail"), count("skipped"), count("todo"), count("cancelled")), (0, 0, 0, 0), "{text}");
    assert!(count("pass") >= at_least, "only {} tests of {script} ran\n{text}", count("pass"));
}

#[test]
fn the_client_and_the_page_agree_with_their_types() {
    let output = node(&["node_modules/typescript/bin/tsc", "--project", "."]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn i11_the_client_keeps_its_promises_against_the_service() {
    run("client.test.mjs", 15);
}

#[test]
fn c8_the_client_bears_a_gate_and_a_network_that_misbehave() {
    run("scripted.test.mjs", 23);
}

#[test]
fn c10_two_tabs_talk_in_a_browser() {
    run("page.test.mjs", 12);
}
