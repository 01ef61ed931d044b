//! The `switchboard` binary: flags, logging, and one call into the library.

use std::process::ExitCode;

/// A batch of events, or a page of them, is larger than what the system's allocator keeps of its own accord: it would
/// fetch that memory from the system for each and give it back, page fault by page fault. It keeps twice of the largest
/// that it has seen freed, and so it is shown one.
const LARGE: usize = 4 << 20;

fn main() -> ExitCode {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
    switchboard::cli::main()
}
