//! The sample files: every key commented out, with its default.

use super::keys::{File, Key, keys};
use crate::limits::Mode;

/// The text of config/omnimind.yaml or config/agent_config.yaml.
pub fn sample(file: File) -> String {
    let what = match file {
        File::Omnimind => "The server",
        File::AgentConfig => "What tasks may use",
    };
    let mut text = format!(
        "# {what}. Every key is commented out and shows its default; take the first \"# \" away, here and\n\
         # before the section's name, to set it. docs/configuration.md explains all of them.\n"
    );
    let mut open: Vec<&str> = Vec::new();
    for key in keys().iter().filter(|key| key.file == Some(file)) {
        let mut sections: Vec<&str> = key.path.split('.').collect();
        let Some(name) = sections.pop() else { continue };
        let same = sections.iter().zip(&open).take_while(|(section, open)| section == open).count();
        if same == 0 {
            text.push('\n');
        }
        for (depth, section) in sections.iter().enumerate().skip(same) {
            text.push_str(&format!("# {}{section}:\n", "  ".repeat(depth)));
        }
        let indent = "  ".repeat(sections.len());
        text.push_str(&format!("# {indent}# {}\n", key.explained()));
        let default = key.default(Mode::Dev);
        text.push_str(format!("# {indent}{name}: {default}{}\n", other_modes(key)).as_str());
        open = sections;
    }
    text
}

fn other_modes(key: &Key) -> String {
    let differ = |mode: &Mode| key.default(*mode) != key.default(Mode::Dev);
    let others: Vec<String> = [Mode::Test, Mode::Prod]
        .iter()
        .filter(|mode| differ(mode))
        .map(|mode| format!("{mode}: {}", key.default(*mode)))
        .collect();
    match others.is_empty() {
        true => String::new(),
        false => format!("   # {}", others.join(", ")),
    }
}
