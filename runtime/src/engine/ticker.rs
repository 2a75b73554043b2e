//! The thread that makes epochs pass, so that a guest in a tight loop comes up for air.

use std::time::Duration;

/// Time between two epochs: the longest that a loop runs unseen.
pub const TICK: Duration = Duration::from_millis(5);

/// Starts one thread that ticks until the engine is dropped. It holds the engine weakly, so nothing
/// has to stop it.
///
/// # Errors
/// The thread could not be started.
pub fn start(engine: &wasmtime::Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("epochs".into()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    })?;
    Ok(())
}
