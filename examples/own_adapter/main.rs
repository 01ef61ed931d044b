//! How do I write an adapter for a vendor of my own, and how do I know that it is right?
//!
//! `adapter/` is a whole one, written against `switchboard-contract` alone. `vendor/` is the vendor it speaks to, kept
//! in memory. `world.rs` gives the conformance suite its hands on that vendor's side, and this file runs every case.
//!
//! ```text
//! cargo run --example own_adapter
//! ```

mod adapter;
mod vendor;
mod world;

use std::process::ExitCode;

use switchboard_conformance::{CASES, Outcome, run};
use world::PigeonWorld;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (mut passed, mut skipped, mut failed) = (0, 0, 0);
    for case in CASES {
        match run(case.name, &PigeonWorld::new()).await {
            Ok(Outcome::Passed) => {
                passed += 1;
                println!("passed   {}", case.name);
            }
            Ok(Outcome::Skipped(reason)) => {
                skipped += 1;
                println!("skipped  {}: {reason}", case.name);
            }
            Err(failure) => {
                failed += 1;
                println!("FAILED   {failure}");
            }
        }
    }
    println!("{passed} passed, {skipped} skipped, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
