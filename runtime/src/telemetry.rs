//! The runtime's own log: on standard error, as text for people or as JSON for programs.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry, reload};

use crate::config::{Format, Logging};

static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts logging.
pub fn init(logging: &Logging) {
    let (level, handle) = reload::Layer::new(logging.level);
    let _ = LEVEL.set(handle);
    let registry = registry().with(level);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let is_terminal = std::io::stderr().is_terminal();
    match logging.format {
        Format::Auto if is_terminal => registry.with(layer).init(),
        Format::Text => registry.with(layer.with_ansi(is_terminal)).init(),
        Format::Auto | Format::Json => registry.with(layer.json()).init(),
    }
}

/// From now on the log has this level.
pub fn set_level(level: LevelFilter) {
    // It fails where there is no log.
    let _ = LEVEL.get().map(|handle| handle.reload(level));
}
