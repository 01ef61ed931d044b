//! Help, versions, wrong arguments.

use crate::{complained, program, run, said};

/// Every subcommand, from the program's own help.
fn subcommands(directory: &std::path::Path) -> Vec<String> {
    let help = run(directory, &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let commands = said(&help).split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_subcommand_explains_itself() {
    let directory = tempfile::tempdir().unwrap();
    let names = subcommands(directory.path());
    for expected in ["serve", "demo", "emulate", "check", "caps", "send", "tail", "trace", "migrate"] {
        assert!(names.iter().any(|name| name == expected), "{expected} is not in {names:?}");
    }
    for name in &names {
        let help = run(directory.path(), &[name, "--help"]);
        assert_eq!((help.status.code(), complained(&help)), (Some(0), ""), "{name}");
        let text = said(&help);
        assert!(text.contains(&format!("Usage: switchboard {name}")), "{text}");
        assert!(text.lines().next().unwrap().len() > 15, "{name} says nothing of itself:\n{text}");
        // Every option of every subcommand is explained.
        for option in text.lines().filter(|line| line.trim_start().starts_with("--")) {
            let explained = option.trim().split_once("  ").is_some_and(|(_, words)| words.trim().len() > 5);
            let below = text.lines().skip_while(|line| *line != option).nth(1).is_some_and(|next| next.len() > 15);
            assert!(explained || below, "{name}: {option}");
        }
        let short = run(directory.path(), &[name, "-h"]);
        assert_eq!(short.status.code(), Some(0), "{name}");
    }
    let version = run(directory.path(), &["--version"]);
    assert_eq!(said(&version).trim(), format!("switchboard {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_arguments_end_with_2_and_say_what_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let token = ["--token", "0123456789abcdef"];
    let with = |more: &[&'static str]| [more, &token].concat();
    for (arguments, words) in [
        (vec!["conquer"], "unrecognized subcommand"),
        (vec![], "Usage:"),
        (vec!["check", "--everything"], "unexpected argument"),
        (vec!["emulate"], "Usage:"),
        (vec!["emulate", "icq"], "unrecognized subcommand"),
        (vec!["emulate", "huanxin", "--port", "70000"], "70000"),
        (with(&["send", "--from", "a", "--user", "b"]), "--text"),
        (with(&["send", "--user", "b", "--text", "hi"]), "--from"),
        (with(&["send", "--from", "a", "--text", "hi"]), "--user"),
        (with(&["send", "--from", "a", "--user", "b", "--group", "g", "--text", "hi"]), "cannot be used with"),
        (with(&["send", "--from", "a", "--user", "b", "--text", "hi", "--body", "{}"]), "cannot be used with"),
        (with(&["trace"]), "<MESSAGE>"),
        (with(&["tail", "--count", "some"]), "some"),
        (vec!["tail"], "--token"),
    ] {
        let output = run(directory.path(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", complained(&output));
        assert!(complained(&output).contains(words), "{arguments:?}: {}", complained(&output));
        assert_eq!(said(&output), "", "{arguments:?}");
    }
}

#[test]
fn without_a_server_the_error_names_it_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    // Reserved, and nobody listens.
    let url = "http://127.0.0.1:9";
    for arguments in [
        vec!["send", "--from", "a", "--user", "b", "--text", "hi"],
        vec!["tail", "--idle", "1"],
        vec!["trace", "01890000-0000-7000-8000-000000000000"],
    ] {
        let mut command = program(directory.path(), &arguments);
        let output =
            command.env("SWITCHBOARD_URL", url).env("SWITCHBOARD_TOKEN", "a-very-secret-token").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = complained(&output);
        assert!(error.contains(&format!("the sidecar at {url} cannot be reached")), "{error}");
        assert!(!error.contains("a-very-secret-token") && !error.contains("panicked"), "{error}");
        assert_eq!(said(&output), "");
    }
    for arguments in [vec!["serve"], vec!["caps"], vec!["migrate"], vec!["check"]] {
        let output = run(directory.path(), &arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(complained(&output).contains("switchboard.toml: cannot be read"), "{}", complained(&output));
    }
}
