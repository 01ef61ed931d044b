//! The vendors' wire contracts, byte for byte. Each fixture is used by a test of its crate; the sums here keep a value
//! from being changed together with what it judges. `fixtures/SHA256SUMS` is what `sha256sum` prints.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Huanxin's adapter has its own test of this.
const FOLDERS: [&str; 3] =
    ["adapters/rongcloud/fixtures", "adapters/emulators/fixtures/huanxin", "adapters/emulators/fixtures/rongcloud"];

fn listed(folder: &Path) -> BTreeMap<String, String> {
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    sums.lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
        .collect()
}

fn present(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_file());
    files
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name != "SHA256SUMS")
        .map(|(name, path)| (name, hex::encode(Sha256::digest(fs::read(path).unwrap()))))
        .collect()
}

#[test]
fn the_contracts_are_as_they_were_written() {
    for folder in FOLDERS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let (listed, present) = (listed(&path), present(&path));
        assert!(listed.len() > 90, "{folder} lists only {} fixtures", listed.len());
        for (name, sum) in &present {
            assert_eq!(listed.get(name), Some(sum), "{folder}/{name} is not what it was");
        }
        assert_eq!(listed.len(), present.len(), "{folder}: a fixture is gone");
    }
}

#[test]
fn both_sides_of_the_wire_are_judged_by_the_same_bytes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("adapters");
    for vendor in ["huanxin", "rongcloud"] {
        let theirs = listed(&root.join("emulators/fixtures").join(vendor));
        for (name, sum) in listed(&root.join(vendor).join("fixtures")) {
            assert_eq!(theirs.get(&name), Some(&sum), "{vendor}/{name} differs between adapter and emulator");
        }
    }
}
