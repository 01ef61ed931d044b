//! The directions of imports, kept by machine: business code and the engine never meet a vendor, SQL stays in the
//! store, HTTP stays in the sidecar.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Words that may stand only below some paths. A path is relative to the root of the repository.
const RULES: &[(&[&str], &[&str], &str)] = &[
    (
        &["switchboard_huanxin", "switchboard_rongcloud", "switchboard_selfhosted", "switchboard_emulators"],
        &["src/assembly.rs", "src/cli", "src/demo"],
        "an adapter may be named only where the product is assembled",
    ),
    (&["sqlx"], &["src/store"], "SQL stays behind the storage traits"),
    (
        &["axum", "utoipa", "tower_http"],
        &["src/sidecar", "src/cli", "src/demo", "examples"],
        "HTTP stays at the sidecar",
    ),
    (&["parquet::", "object_store::"], &["src/archive"], "files of the archive are the archive's"),
    (
        &["rusqlite"],
        &["src/store", "src/cli"],
        "SQL stays behind the storage traits, and in the baselines of benchmarks",
    ),
    (&["tracing_subscriber"], &["src/cli", "src/bin"], "only the binary chooses where logs go"),
    (&["crate::sidecar"], &["src/sidecar", "src/cli", "src/demo"], "nothing depends on the sidecar"),
    (
        &["crate::hub", "crate::sending", "crate::ingest", "crate::history", "crate::sidecar"],
        &["!src/store", "!src/identity"],
        "stores and the identity map know nothing of those who use them",
    ),
];

fn sources(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether a file at `path` may hold the words of a rule: below one of the allowed places, or (with `!`) not below
/// any of the forbidden ones.
fn allowed(path: &str, places: &[&str]) -> bool {
    let below = |place: &str| path == place || path.starts_with(&format!("{place}/"));
    if places.iter().all(|place| place.starts_with('!')) {
        !places.iter().any(|place| below(&place[1..]))
    } else {
        places.iter().any(|place| below(place))
    }
}

fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (words, places, why) in RULES {
            for word in *words {
                if code.contains(word) && !allowed(path, places) {
                    found.push(format!("{path}:{}: {word}: {why}", number + 1));
                }
            }
        }
    }
    found
}

#[test]
fn imports_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("examples"), &mut files);
    assert!(files.len() > 20, "the guard found only {} files", files.len());
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let path = file.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            violations(&path, &fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_guard_sees_a_wrong_import() {
    assert_eq!(violations("examples/shop.rs", "use switchboard_huanxin::HuanxinConfig;").len(), 1);
    assert_eq!(violations("src/hub/mod.rs", "let row = sqlx::query(text);").len(), 1);
    assert_eq!(violations("src/hub/mod.rs", "use rusqlite::Connection;").len(), 1);
    assert_eq!(violations("src/store/sqlite/mod.rs", "use crate::hub::Hub;").len(), 1);
    assert!(violations("src/assembly.rs", "switchboard_huanxin::KIND").is_empty());
    assert!(violations("src/store/sqlite/mod.rs", "use sqlx::Row; // not crate::hub").is_empty());
}
