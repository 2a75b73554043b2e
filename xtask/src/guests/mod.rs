//! `cargo xtask guests`: sample crates and hostile texts in, components out.
//!
//! What is up to date is left alone: a guest is built again when the digest of its sources, or this
//! recipe, differs from what the stamp beside its output says.

mod hostile;
mod prebuilt;
mod project;
mod sample;
pub mod source;
mod stamp;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::layout::Layout;
pub use sample::{componentize, isolate};
use stamp::Stamps;

/// `cargo xtask guests …`
#[derive(clap::Args, Default)]
pub struct Args {
    /// Builds nothing; fails if guest-tasks/prebuilt does not belong to the sources
    #[arg(long, conflicts_with = "update_prebuilt")]
    check: bool,
    /// After building, copies the samples whose sources moved on to guest-tasks/prebuilt
    #[arg(long)]
    update_prebuilt: bool,
    /// Only this guest: a sample, or hostile/NAME; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

impl Args {
    /// What `ci` asks for.
    pub fn check() -> Args {
        Args { check: true, ..Args::default() }
    }

    /// What `dist` asks for.
    pub fn only(names: &[&str]) -> Args {
        Args { only: names.iter().map(|name| (*name).to_owned()).collect(), ..Args::default() }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// Runs the subcommand. Returns the languages whose guests could not be built for want of their tools, and why.
pub fn run(layout: &Layout, args: &Args) -> Result<BTreeMap<String, String>> {
    let projects = project::find(layout)?;
    let samples = sample::find(layout)?;
    let hostile = hostile::find(layout)?;
    for only in &args.only {
        let mut known = samples.iter().map(|s| &s.name).chain(projects.iter().map(|p| &p.name));
        let mut known = known.by_ref().chain(hostile.iter().map(|h| &h.name));
        if !known.any(|name| name == only) {
            let samples = samples.iter().map(|s| s.name.as_str());
            let samples: Vec<&str> = samples.chain(projects.iter().map(|p| p.name.as_str())).collect();
            bail!(
                "no guest is called {only}; there are {}, and hostile/NAME for guest-tasks/hostile/NAME.wat",
                samples.join(", ")
            );
        }
    }
    let samples: Vec<_> = samples.into_iter().filter(|s| args.wants(&s.name)).collect();
    if args.check {
        prebuilt::check(layout, &samples, args.only.is_empty())?;
        return Ok(BTreeMap::new());
    }

    fs::create_dir_all(layout.guests().join("hostile"))?;
    // Tests and engineers may call this at the same time.
    let lock = File::create(layout.guests().join(".lock"))?;
    lock.lock().context("cannot lock the guests directory")?;
    let mut stamps = Stamps::load(layout)?;
    sample::build(layout, &samples, &mut stamps)?;
    let all = args.only.is_empty();
    let hostile: Vec<_> = hostile.into_iter().filter(|h| args.wants(&h.name)).collect();
    hostile::assemble(layout, &hostile, &mut stamps, all)?;
    let projects: Vec<_> = projects.into_iter().filter(|p| args.wants(&p.name)).collect();
    let missing = project::build(layout, &projects, &mut stamps)?;
    if args.update_prebuilt {
        prebuilt::update(layout, &samples, all)?;
    }
    Ok(missing)
}

/// Writes so that a reader sees the old file or the new one, never half of it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = path.with_extension("tmp");
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn print_line(name: &str, bytes: u64, what: &str) {
    println!("{name:<36} {:>8.1} KB  {what}", bytes as f64 / 1000.0);
}
