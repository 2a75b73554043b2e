//! `omnimind completions`: scripts that complete this command line.

use clap::CommandFactory;
use clap_complete::aot::{Bash, Fish, Zsh, generate};

use super::{Cli, Exit, Failed, terminal};

const AFTER_HELP: &str = "\
Examples:
  omnimind completions bash > ~/.local/share/bash-completion/completions/omnimind
  omnimind completions zsh > ~/.zfunc/_omnimind     (and, in ~/.zshrc before compinit: fpath+=~/.zfunc)
  omnimind completions fish > ~/.config/fish/completions/omnimind.fish";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// For which shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script on standard output.
pub fn run(args: &Args) -> Result<Exit, Failed> {
    // What `--help` hides is not completed either.
    let whole = Cli::command();
    let visible = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut command =
        clap::Command::new("omnimind").args(whole.get_arguments().cloned()).subcommands(visible);
    let mut script = Vec::new();
    match args.shell {
        Shell::Bash => generate(Bash, &mut command, "omnimind", &mut script),
        Shell::Zsh => generate(Zsh, &mut command, "omnimind", &mut script),
        Shell::Fish => generate(Fish, &mut command, "omnimind", &mut script),
    }
    terminal::write_stdout(&script).map_err(Failed::runtime)?;
    Ok(Exit::Completed)
}
