#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Config, ConfigFaults, DEFAULT_FILE};

const GOOD: &str = r#"
[[tokens]]
name = "orders"
secret = "0123456789abcdef"
scopes = ["messages", "subscribe"]

[providers.main]
kind = "huanxin"
app_key = "org#app"
client_id = "id"
client_secret = "secret"
callback_secret = "secret"
base_url = "https://a1.example.test"

[routing]
default = "main"
"#;

fn faults(text: &str) -> Vec<(Option<usize>, String)> {
    let error = Config::parse(text).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<ConfigFaults>().unwrap();
    source.faults.iter().map(|fault| (fault.line, fault.path.clone())).collect()
}

#[test]
fn a_good_file_is_taken_and_shows_no_secret() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.providers.len(), 1);
    let shown = format!("{config:?}");
    assert!(!shown.contains("0123456789abcdef") && !shown.contains("\"secret\""), "{shown}");
}

#[test]
fn the_commented_defaults_are_what_no_file_means() {
    let shown = |config: Config| format!("{config:?}");
    assert_eq!(shown(Config::parse(DEFAULT_FILE).unwrap()), shown(Config::parse("").unwrap()));
}

/// As far as sections can be written out; a setting without a default stands there as a comment.
#[test]
fn the_commented_defaults_name_every_setting() {
    let shown = |value: serde_json::Result<serde_json::Value>| value.unwrap();
    let config = Config::default();
    let sections = [
        ("ingest", shown(serde_json::to_value(&config.ingest))),
        ("reconcile", shown(serde_json::to_value(&config.reconcile))),
        ("catchup", shown(serde_json::to_value(&config.catchup))),
        ("history", shown(serde_json::to_value(&config.history))),
        ("retention", shown(serde_json::to_value(&config.retention))),
    ];
    for (section, value) in sections {
        let text = DEFAULT_FILE.split(&format!("\n[{section}]")).nth(1).unwrap();
        for key in value.as_object().unwrap().keys() {
            let here = text.split("\n\n").next().unwrap().contains(key.as_str());
            let elsewhere = DEFAULT_FILE.contains(&format!("[{section}.{key}]"));
            assert!(here || elsewhere, "{section}.{key} is not in default.toml");
        }
    }
}

#[test]
fn retention_and_the_window_are_checked() {
    let retention = "[retention]\nkeep = \"2d\"\nevery = \"10m\"\n[ingest]\nreorder_window = \"5m\"\n";
    assert_eq!(
        faults(retention),
        [(Some(2), "retention.keep".to_owned()), (Some(5), "ingest.reorder_window".to_owned())]
    );
    let brief = "[retention]\nkeep = \"forever\"\n[retention.keep_for]\nacme = \"1h\"\n";
    assert_eq!(faults(brief), [(Some(4), "retention.keep_for.acme".to_owned())]);
    assert_eq!(faults("[retention]\nkeep = \"soon\"\n"), [(Some(2), "retention.keep".to_owned())]);
    let fine =
        "[retention]\nkeep = \"90d\"\n[retention.keep_for]\nacme = \"forever\"\n[ingest]\nreorder_window = \"2s\"\n";
    Config::parse(fine).unwrap();
}

#[test]
fn every_fault_is_reported_at_once_with_its_line() {
    let text = r#"[server]
listen = "not an address"
max_bodybytes = 3

[[tokens]]
name = "a"
secret = "short"
scopes = []

[[tokens]]
name = "a"
secret = { env = "SWITCHBOARD_NO_SUCH_VARIABLE" }
scopes = ["messages", "everything"]

[store]
url = "postgres://x"

[providers.main]
kind = "huanxin"
app_key = "org#app"
client_id = "id"
client_secret = "secret"
callback_secret = "secret"
base_url = "https://a1.example.test"
surprise = 1

[providers.other]
kind = "telegraph"

[routing]
default = "nobody"
"#;
    let found = faults(text);
    let lines: Vec<usize> = found.iter().filter_map(|(line, _)| *line).collect();
    for (line, path) in
        [(2, "server.listen"), (3, "server.max_bodybytes"), (12, "tokens[1].secret"), (13, "tokens[1].scopes[1]")]
    {
        assert!(found.contains(&(Some(line), path.to_owned())), "{line} {path}: {found:?}");
    }
    assert!(lines.is_sorted());
}

#[test]
fn rules_between_settings_are_checked_together() {
    let text = GOOD.replace("default = \"main\"", "default = \"nobody\"").replace("0123456789abcdef", "short")
        + "[providers.other]\nkind = \"telegraph\"\n[store]\nurl = \"postgres://x\"\n";
    let paths: Vec<String> = faults(&text).into_iter().map(|(_, path)| path).collect();
    for path in ["tokens[0].secret", "routing.default", "providers.other.kind", "store.url"] {
        assert!(paths.iter().any(|found| found == path), "{path}: {paths:?}");
    }
}

#[test]
fn a_misspelt_setting_is_told_what_was_meant() {
    let error = Config::parse("[server]\nlisten_ = \"127.0.0.1:1\"").unwrap_err();
    assert!(error.message().contains("did you mean `listen`?"), "{error}");
    let error = Config::parse(&GOOD.replace("callback_secret", "calback_secret")).unwrap_err();
    assert!(error.message().contains("providers.main.calback_secret"), "{error}");
    assert!(error.message().contains("callback_secret"), "{error}");
}

#[test]
fn a_fault_never_shows_a_value() {
    let error =
        Config::parse(&GOOD.replace("scopes = [\"messages\", \"subscribe\"]", "scopes = \"hunter2\"")).unwrap_err();
    assert!(!error.message().contains("hunter2"), "{error}");
}

#[test]
fn a_file_that_is_not_toml_names_its_line() {
    assert_eq!(faults("[server]\nlisten = \n"), [(Some(2), String::new())]);
}

#[test]
fn secrets_come_from_files_too() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789abcdef-from-a-file\n").unwrap();
    let text = GOOD.replace("\"0123456789abcdef\"", &format!("{{ file = \"{}\" }}", file.path().display()));
    let config = Config::parse(&text).unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&config.tokens[0].secret), "0123456789abcdef-from-a-file");
}

#[test]
fn two_senders_need_a_default() {
    let second = GOOD.split("[providers.main]").nth(1).unwrap().split("[routing]").next().unwrap();
    let text = format!("[providers.main]{second}[providers.second]{}", second.replace("org#app", "org#other"));
    assert!(faults(&text).iter().any(|(_, path)| path == "routing.default"));
    let same = format!("[providers.main]{second}[providers.second]{second}[routing]\ndefault = \"main\"\n");
    assert!(faults(&same).iter().any(|(_, path)| path == "providers.second"));
}
