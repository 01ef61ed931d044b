//! A configuration that cannot work stops the start, with everything that is wrong told at once; so does a store from
//! the future.

use std::path::Path;
use std::process::{Command, Output};

use crate::config;
use crate::support::sidecar::Sidecar;

const FAULTY: &str = r#"[server]
listen = "everywhere"
max_calls_per_token = 0
colour = "blue"

[[tokens]]
name = "orders"
scopes = "all"

[[tokens]]
name = "orders"
secret = "short"
scopes = ["messages", "everything"]

[store]
url = "oracle://x"

[ingest]
quarantine_items = "many"
retry_first = "5 parsecs"

[ingest.inbox]
segment_bytes = 1

[sending]
max_retries = 1
quota_margin = 0.9

[hub]
retry_cap = "1ms"

[providers.main]
app_key = "org#app"

[providers.second]
kind = "huanxin"
app_key = "no-hash"
calback_secret = "hunter2"

[providers.third]
kind = "rongcloud"
app_key = 5
app_secret = { env = "SWITCHBOARD_NO_SUCH_VARIABLE" }
mark_key = ""

[providers.fourth]
kind = "telegraph"

[routing]
default = "nobody"

[[routing.rules]]
provider = "fifth"

[log]
format = "xml"
"#;

/// Every setting that is wrong above, with its line.
const FAULTS: &[(usize, &str, &str)] = &[
    (2, "server.listen", ""),
    (3, "server.max_calls_per_token", "must be between 1"),
    (4, "server.colour", "known here"),
    (6, "tokens[0].secret", "is missing"),
    (8, "tokens[0].scopes", "must be a list"),
    (11, "tokens[1].name", "another token"),
    (12, "tokens[1].secret", "openssl rand"),
    (13, "tokens[1].scopes[1]", "one of `messages`"),
    (16, "store.url", "sqlite://path"),
    (18, "ingest.max_body_bytes", "64 KiB less than a segment"),
    (19, "ingest.quarantine_items", "must be a whole number"),
    (20, "ingest.retry_first", ""),
    (23, "ingest.inbox.segment_bytes", "must be between"),
    (26, "sending.max_retries", "must be 3 at least"),
    (27, "sending.quota_margin", "must be in"),
    (30, "hub.retry_cap", "must not be below"),
    (32, "providers.main.kind", "is missing"),
    (35, "providers.second.base_url", "at least one address"),
    (35, "providers.second.client_id", "is missing"),
    (35, "providers.second.client_secret", "is missing"),
    (37, "providers.second.app_key", "must be org#app"),
    (38, "providers.second.calback_secret", "did you mean `callback_secret`?"),
    (42, "providers.third.app_key", "must be a text"),
    (43, "providers.third.app_secret", "SWITCHBOARD_NO_SUCH_VARIABLE"),
    (44, "providers.third.mark_key", "1 to 32"),
    (47, "providers.fourth.kind", "one of huanxin, rongcloud"),
    (50, "routing.default", "add [providers.nobody]"),
    (53, "routing.rules[0].provider", "add [providers.fifth]"),
    (56, "log.format", "`text` or `json`"),
];

fn run(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.args(arguments).current_dir(directory).envs(environment.iter().copied()).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_fault_is_listed_once_with_its_line_by_check_and_by_serve() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("switchboard.toml"), FAULTY).unwrap();
    let check = run(directory.path(), &["check"], &[]);
    assert_eq!(check.status.code(), Some(1));
    let told = errors(&check);
    for (line, path, words) in FAULTS {
        let start = format!("  line {line}: {path}: ");
        let found: Vec<&str> = told.lines().filter(|told| told.starts_with(&start)).collect();
        assert_eq!(found.len(), 1, "{start}\n{told}");
        assert!(found[0].contains(words), "{words:?} is not in {:?}", found[0]);
    }
    let listed = told.lines().filter(|line| line.starts_with("  ")).count();
    assert_eq!(listed, FAULTS.len(), "more is told than is wrong:\n{told}");
    assert!(told.starts_with(&format!("error: switchboard.toml: {} faults", FAULTS.len())), "{told}");
    assert!(!told.contains("hunter2") && !told.contains("short"), "a value is shown:\n{told}");

    let serve = run(directory.path(), &["serve"], &[]);
    assert_eq!((serve.status.code(), errors(&serve)), (Some(1), told));
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["switchboard.toml"], "a refused start left something behind");
}

#[test]
fn the_environment_overrides_the_file_and_is_named_in_faults() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("switchboard.toml");
    let file = |secret: &str| {
        format!(
            "[providers.main]\nkind = \"huanxin\"\napp_key = \"org#app\"\nclient_id = \"id\"\n{secret}\
             base_url = \"http://127.0.0.1:9\"\n"
        )
    };
    std::fs::write(&path, file("")).unwrap();
    let missing = run(directory.path(), &["check"], &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(errors(&missing).contains("line 1: providers.main.client_secret: is missing"), "{}", errors(&missing));

    // A secret of digits stays the text it is, and numbers, truth values and durations are read as such.
    let good = [
        ("SWITCHBOARD__PROVIDERS__MAIN__CLIENT_SECRET", "0123456789"),
        ("SWITCHBOARD__PROVIDERS__MAIN__RECEIVE_ONLY", "true"),
        ("SWITCHBOARD__SENDING__MAX_RETRIES", "5"),
        ("SWITCHBOARD__SENDING__QUOTA_MARGIN", "0.1"),
        ("SWITCHBOARD__HUB__POLL", "2s"),
        ("SWITCHBOARD__TOKENS", "[{ name = 'a', secret = '0123456789abcdef', scopes = ['messages'] }]"),
    ];
    let check = run(directory.path(), &["check"], &good);
    assert!(check.status.success(), "{}", errors(&check));
    let shown = String::from_utf8(check.stdout).unwrap();
    assert!(shown.contains("receives only") && !shown.contains("no [[tokens]]"), "{shown}");

    let wrong = [
        good[0],
        ("SWITCHBOARD__SENDING__MAX_RETRIES", "several"),
        ("SWITCHBOARD__SERVER__LISTEN", "everywhere"),
        ("SWITCHBOARD__SERVRE__LISTEN", "127.0.0.1:1"),
    ];
    let told = errors(&run(directory.path(), &["check"], &wrong));
    assert!(told.contains("3 faults"), "{told}");
    for variable in wrong[1..].iter().map(|(name, _)| name) {
        assert!(told.contains(&format!("set by {variable}")), "{variable}: {told}");
    }
    assert!(!told.contains("several") && !told.contains("line"), "{told}");
}

#[test]
fn a_file_that_is_no_configuration_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    for (text, words) in [("[server\n", "line 1"), ("a = 1\nb = \n", "line 2"), ("\u{feff}[serve]\n", "serve")] {
        std::fs::write(directory.path().join("switchboard.toml"), text).unwrap();
        let check = run(directory.path(), &["check"], &[]);
        assert_eq!(check.status.code(), Some(1));
        assert!(errors(&check).contains(words), "{text:?}: {}", errors(&check));
    }
    let none = run(directory.path(), &["check", "--config", "none.toml"], &[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(errors(&none).contains("none.toml: cannot be read"), "{}", errors(&none));
}

#[tokio::test]
async fn a_store_of_a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(directory.path(), &config());
    assert!(sidecar.terminate().success());
    let path = directory.path().join("test.db");
    let newer = 9_000;
    {
        let database = rusqlite::Connection::open(&path).unwrap();
        let add = "INSERT INTO _sqlx_migrations SELECT ?1, 'from the future', installed_on, 1, checksum, execution_time
                   FROM _sqlx_migrations LIMIT 1";
        assert_eq!(database.execute(add, [newer]).unwrap(), 1);
    }
    let before = std::fs::read(&path).unwrap();
    for command in ["serve", "migrate"] {
        let refused = run(directory.path(), &[command], &[]);
        assert_eq!(refused.status.code(), Some(1), "{command}");
        let told = errors(&refused);
        assert!(told.contains(&format!("schema {newer}")) && told.contains("newer program"), "{command}: {told}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before, "the newer store was touched");
    let status = run(directory.path(), &["migrate", "--status"], &[]);
    assert!(status.status.success());
    assert!(String::from_utf8(status.stdout).unwrap().contains("9000"));
}
