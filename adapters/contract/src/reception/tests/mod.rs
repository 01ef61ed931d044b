//! Random lives of subscribers against a checker that sees only what a consumer and an auditor see.

#![allow(clippy::unwrap_used, reason = "tests")]

mod checker;
mod deeds;
mod drive;
mod end;
mod mutations;
mod steps;
mod world;

use std::collections::BTreeMap;

use super::guards::Guards;
use drive::Life;

const LIVES: u64 = 100_000;

/// `RECEPTION_SEED` moves the seeds, so that other lives can be tried.
fn first_seed() -> u64 {
    std::env::var("RECEPTION_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121)
}

fn lives(part: u64, parts: u64) {
    let mut deliveries = 0;
    let mut crashes = BTreeMap::new();
    for index in (0..LIVES).filter(|index| index % parts == part) {
        let seed = first_seed().wrapping_add(index);
        let mut life = Life::new(seed, Guards::ALL);
        if let Err(broken) = life.run(60) {
            panic!("seed {seed}: {broken}\n{:?}", life.settings);
        }
        deliveries += life.deliveries;
        for state in life.crashed_in {
            *crashes.entry(state.as_str()).or_insert(0) += 1;
        }
    }
    println!("crashes by state: {crashes:?}");
    assert_eq!(crashes.len(), 5, "there was a crash in every state");
    println!("seeds {} + {part}/{parts} of {LIVES}: {deliveries} deliveries", first_seed());
    assert!(deliveries > LIVES / parts, "the lives are empty");
}

#[test]
fn i02_i03_i06_every_life_keeps_the_promises_first_half() {
    lives(0, 2);
}

#[test]
fn i02_i03_i06_every_life_keeps_the_promises_second_half() {
    lives(1, 2);
}

/// `RECEPTION_LIFE=<seed> RECEPTION_TRACE=1` shows one life.
#[test]
fn one_life_can_be_looked_at() {
    let seed = std::env::var("RECEPTION_LIFE").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut life = Life::new(seed, Guards::ALL);
    assert_eq!(life.run(60), Ok(()));
}
