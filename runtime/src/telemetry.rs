//! The runtime's own log: on standard error, as text for people or as JSON for programs.

use std::io::IsTerminal;

use crate::config::{Format, Logging};

/// Starts logging.
pub fn init(logging: &Logging) {
    let builder = tracing_subscriber::fmt().with_max_level(logging.level).with_writer(std::io::stderr);
    let is_terminal = std::io::stderr().is_terminal();
    match logging.format {
        Format::Auto if is_terminal => builder.init(),
        Format::Text => builder.with_ansi(is_terminal).init(),
        Format::Auto | Format::Json => builder.json().init(),
    }
}
