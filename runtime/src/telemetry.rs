//! The runtime's own log: standard error, `LOG_LEVEL` or `RUST_LOG` decide how much.

use tracing_subscriber::EnvFilter;

/// Starts logging at `level` (an `EnvFilter` directive); what cannot be read as one means warnings.
pub fn init(level: Option<&str>) {
    let filter = EnvFilter::try_new(level.unwrap_or("warn")).unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
