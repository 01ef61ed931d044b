//! What the demo prints.

use super::stage::Stage;
use crate::cli::print_line;

/// Prints to standard output, plainly: it must read well in a log too.
#[derive(Debug, Default)]
pub(super) struct Report;

impl Report {
    pub(super) fn title(&self, text: &str) {
        print_line(format_args!("\n{text}\n{}", "=".repeat(text.chars().count())));
    }

    pub(super) fn chapter(&self, text: &str) {
        print_line(format_args!("\n{text}\n{}", "-".repeat(text.chars().count())));
    }

    pub(super) fn text(&self, text: &str) {
        print_line(text);
    }

    pub(super) fn figure(&self, what: &str, value: impl std::fmt::Display) {
        print_line(format_args!("  {what:<58} {value:>8}"));
    }

    /// Where everything is.
    pub(super) fn places(&self, stage: &Stage) {
        self.chapter("Where everything is");
        print_line(format_args!("  sidecar and API      {}   (token: {})", stage.url(), super::stage::TOKEN));
        print_line(format_args!("  what the API offers  {}/openapi.json", stage.url()));
        print_line(format_args!("  metrics              {}/metrics", stage.url()));
        print_line(format_args!("  Huanxin emulated     {}/_emulator/state", stage.huanxin.base_url()));
        print_line(format_args!("  RongCloud emulated   {}/_emulator/state", stage.rongcloud.base_url()));
        print_line(format_args!("  database and inbox   {}", stage.directory().display()));
        print_line(format_args!("  configuration        {}", stage.config_path().display()));
        print_line("  `switchboard demo --keep` leaves all of it running, to be tried by hand.");
        #[cfg(feature = "selfhosted")]
        print_line("  `switchboard demo --chat` serves a chat page for two browser tabs.");
    }
}
