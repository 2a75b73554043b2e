//! From a file's bytes to its keys, each with its line.
//!
//! A small part of YAML: one document of mappings and scalars. Anchors, aliases and tags are refused, because
//! a configuration needs none and their expansion has no bound. Nothing here recurses, and depth is bounded.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::value::{Scalar, shorten};

/// Bytes of a file.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// Mappings and lists within each other.
const MAX_DEPTH: usize = 16;

/// Characters of a key. Each entry has the keys above it in its path, so this, the depth and the number of
/// entries together bound what a file takes.
const MAX_KEY: usize = 64;

/// Keys of a file.
const MAX_ENTRIES: usize = 10_000;

/// What `${VAR}` is to YAML where `{ }` has a meaning: a mapping in the wrong place.
const QUOTE: &str = "; within `{ }` and `[ ]` a variable is in quotes: \"${…}\"";

/// What a file says of one path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The keys from the root, with dots between; `[0]` behind a list is its first item.
    pub path: String,
    pub line: usize,
    pub node: Node,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Keys follow.
    Mapping,
    /// Items follow.
    List,
    /// Not yet expanded.
    Scalar(Scalar),
}

/// Where it cannot be read, and why; the key, where it is about one. Line 0 is the whole file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub line: usize,
    pub key: String,
    pub message: String,
}

fn unreadable<T>(line: usize, key: &str, message: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable { line, key: key.to_owned(), message: message.into() })
}

/// Everything that a file says, in its order.
///
/// # Errors
/// The first thing that is not the YAML that is read here.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, Unreadable> {
    if bytes.len() as u64 > MAX_BYTES {
        return unreadable(0, "", format!("larger than {} bytes, the most that is read", MAX_BYTES));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            return unreadable(line, "", "not UTF-8; save it as UTF-8");
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => reader.take(event, span.start.line())?,
            Err(error) => {
                let line = error.marker().line();
                let hint = if has_variable(text, line) { QUOTE } else { "" };
                let message = format!("not YAML: {}{hint}", shorten(error.info()));
                return unreadable(line, &reader.path(), message);
            }
        }
    }
    Ok(reader.entries)
}

/// Whether `line`, or the one before it, has a variable: the parser may name the line on which it gave up.
fn has_variable(text: &str, line: usize) -> bool {
    text.lines().skip(line.saturating_sub(2)).take(2).any(|line| line.contains("${"))
}

/// A mapping or list that is open.
enum Open {
    /// The keys so far, with their lines, and the one whose value comes next.
    Mapping { seen: BTreeMap<String, usize>, key: Option<(String, usize)> },
    /// The number of the item that comes next.
    List(usize),
}

#[derive(Default)]
struct Reader {
    entries: Vec<Entry>,
    open: Vec<Open>,
    documents: usize,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Unreadable> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                match self.documents {
                    1 => Ok(()),
                    _ => unreadable(line, "", "a second document (`---`); a configuration is one"),
                }
            }
            Event::Alias(_) => unreadable(line, &self.path(), "an alias (`*name`); write the value again"),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(line, anchor, tag.is_some())?;
                self.scalar(&text, style != ScalarStyle::Plain, line)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(line, anchor, tag.is_some())?;
                self.open(line, false)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(line, anchor, tag.is_some())?;
                self.open(line, true)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
                self.close_value();
                Ok(())
            }
        }
    }

    fn refuse(&self, line: usize, anchor: usize, tag: bool) -> Result<(), Unreadable> {
        match (anchor, tag) {
            (0, false) => Ok(()),
            (0, true) => unreadable(line, &self.path(), "a tag (`!name`); write the plain value"),
            _ => unreadable(line, &self.path(), "an anchor (`&name`); write the plain value"),
        }
    }

    fn scalar(&mut self, text: &str, quoted: bool, line: usize) -> Result<(), Unreadable> {
        match self.open.last_mut() {
            // An empty file has a document of nothing, or none.
            None if text.is_empty() && !quoted => Ok(()),
            None => unreadable(line, "", "a file is keys with values, like `mode: dev`"),
            Some(Open::List(_)) => {
                let scalar = Scalar { written: text.to_owned(), text: text.to_owned(), quoted };
                self.add(line, Node::Scalar(scalar))?;
                self.close_value();
                Ok(())
            }
            Some(Open::Mapping { key: Some((_, key_line)), .. }) => {
                // The key's line: what is empty has none of its own.
                let line = *key_line;
                let scalar = Scalar { written: text.to_owned(), text: text.to_owned(), quoted };
                self.add(line, Node::Scalar(scalar))?;
                self.close_value();
                Ok(())
            }
            Some(Open::Mapping { seen, key }) => {
                let wrong = if text.chars().nth(MAX_KEY).is_some() {
                    format!("a key of more than {MAX_KEY} characters")
                } else if text.contains('.') {
                    "a key has no dots; write one level below the other".to_owned()
                } else if let Some(first) = seen.insert(text.to_owned(), line) {
                    format!("it comes twice; the first is in line {first}")
                } else {
                    *key = Some((text.to_owned(), line));
                    return Ok(());
                };
                let above = self.path();
                let dot = if above.is_empty() { "" } else { "." };
                unreadable(line, &format!("{above}{dot}{}", shorten(text)), wrong)
            }
        }
    }

    /// What the innermost key has for a value.
    fn add(&mut self, line: usize, node: Node) -> Result<(), Unreadable> {
        if self.entries.len() >= MAX_ENTRIES {
            return unreadable(line, "", format!("more than {MAX_ENTRIES} keys"));
        }
        self.entries.push(Entry { path: self.path(), line, node });
        Ok(())
    }

    fn open(&mut self, line: usize, mapping: bool) -> Result<(), Unreadable> {
        if self.open.len() >= MAX_DEPTH {
            return unreadable(line, "", format!("more than {MAX_DEPTH} levels"));
        }
        let open = match (self.open.last(), mapping) {
            (None, false) => {
                return unreadable(line, "", "a list; a file is keys with values, like `mode: dev`");
            }
            (Some(Open::Mapping { key: None, .. }), _) => {
                return unreadable(line, &self.path(), "a mapping or list as a key; a key is a word");
            }
            (Some(Open::List(_)), _) => {
                self.add(line, if mapping { Node::Mapping } else { Node::List })?;
                Open::of(mapping)
            }
            (Some(Open::Mapping { key: Some((_, key_line)), .. }), _) => {
                self.add(*key_line, if mapping { Node::Mapping } else { Node::List })?;
                Open::of(mapping)
            }
            (None, true) => Open::of(true),
        };
        self.open.push(open);
        Ok(())
    }

    /// The value of the innermost key, or the innermost list's item, is whole.
    fn close_value(&mut self) {
        match self.open.last_mut() {
            Some(Open::Mapping { key, .. }) => *key = None,
            Some(Open::List(next)) => *next += 1,
            None => {}
        }
    }

    /// The keys that are open, from the root.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::Mapping { key: Some((key, _)), .. } => {
                    let dot = if path.is_empty() { "" } else { "." };
                    path.push_str(dot);
                    path.push_str(key);
                }
                Open::Mapping { key: None, .. } => {}
                Open::List(item) => path.push_str(&format!("[{item}]")),
            }
        }
        path
    }
}

impl Open {
    fn of(mapping: bool) -> Open {
        match mapping {
            true => Open::Mapping { seen: BTreeMap::new(), key: None },
            false => Open::List(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, usize, String)> {
        let entries = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error:?}"));
        let show = |node| match node {
            Node::Scalar(Scalar { written, quoted: true, .. }) => format!("'{written}'"),
            Node::Scalar(Scalar { written, .. }) => written,
            Node::Mapping => "{".into(),
            Node::List => "[".into(),
        };
        entries.into_iter().map(|Entry { path, line, node }| (path, line, show(node))).collect()
    }

    fn refusal(bytes: &[u8]) -> (usize, String, String) {
        let Unreadable { line, key, message } = parse(bytes).expect_err(&String::from_utf8_lossy(bytes));
        (line, key, message)
    }

    #[test]
    fn every_key_has_its_line() {
        let text = "# about\nmode: prod\n\nserver:\n  host: \"::1\"\n  port:\n    8000\nstore: {max_tasks: 5,\n  max_bytes: 1GiB}\nlist: [a, {b: c, d: [e]}]\nempty:\n";
        let expected = [
            ("mode", 2, "prod"),
            ("server", 4, "{"),
            ("server.host", 5, "'::1'"),
            ("server.port", 6, "8000"),
            ("store", 8, "{"),
            ("store.max_tasks", 8, "5"),
            ("store.max_bytes", 9, "1GiB"),
            ("list", 10, "["),
            ("list[0]", 10, "a"),
            ("list[1]", 10, "{"),
            ("list[1].b", 10, "c"),
            ("list[1].d", 10, "["),
            ("list[1].d[0]", 10, "e"),
            ("empty", 11, ""),
        ];
        let expected = expected.map(|(path, line, node)| (path.to_owned(), line, node.to_owned()));
        assert_eq!(read(text), expected);
        let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        assert_eq!(read(&windows), expected);
    }

    #[test]
    fn files_that_say_nothing_say_nothing() {
        for text in ["", "\n\n", "# only this\n", "---\n", "\u{feff}", "---\n# this\n...\n", "{}"] {
            assert_eq!(read(text), [], "{text:?}");
        }
    }

    #[test]
    fn what_is_not_read_is_refused_with_its_line() {
        for (text, line, key, said) in [
            ("a: 1\nb: 2\na: 3\n", 3, "a", "it comes twice; the first is in line 1"),
            ("s:\n  p: 1\n  p: 1\n", 3, "s.p", "it comes twice; the first is in line 2"),
            ("a: &x 1\n", 1, "a", "an anchor"),
            ("a: *x\n", 1, "a", ""),
            ("a: &x {b: 1}\nc: *x\n", 1, "a", "an anchor"),
            ("a: !!str 1\n", 1, "a", "a tag"),
            ("a: 1\n---\nb: 1\n", 2, "", "a second document"),
            ("- a\n", 1, "", "a list"),
            ("words\n", 1, "", "keys with values"),
            ("? {a: b}\n: c\n", 1, "", "a key is a word"),
            ("server.port: 1\n", 1, "server.port", "no dots"),
            ("a:\n\tb: 1\n", 2, "a", "not YAML"),
            ("a: 'x\n", 0, "a", "not YAML"),
            ("a: {b: 1\n", 0, "", "not YAML"),
            ("a: b: c\n", 1, "", "not YAML"),
        ] {
            let refusal = refusal(text.as_bytes());
            assert!(refusal.2.contains(said), "{text:?}: {refusal:?}");
            // Where something does not end, the parser may name the end of the file.
            assert!(line == 0 || refusal.0 == line, "{text:?}: {refusal:?}");
            assert!(key.is_empty() || refusal.1 == key, "{text:?}: {refusal:?}");
        }
        assert_eq!(refusal(b"a: 1\nb: \xff\n").0, 2);
        assert!(refusal(b"\xff\xfea\0:\0 \0").2.contains("UTF-8"));
        assert!(refusal(&vec![b'#'; (1 << 20) + 1]).2.contains("larger than 1048576 bytes"));
    }

    #[test]
    fn depth_has_a_bound() {
        for text in ["[".repeat(100_000), "{a: ".repeat(100_000), format!("a: {}", "[".repeat(100_000))] {
            refusal(text.as_bytes());
        }
        let steps: String = (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        assert_eq!(refusal(steps.as_bytes()).2, "more than 16 levels");
    }

    #[test]
    fn keys_have_a_length_and_a_number() {
        let long = "k".repeat(65);
        let (line, key, said) = refusal(format!("a:\n  {long}: 1\n").as_bytes());
        assert_eq!((line, said.as_str()), (2, "a key of more than 64 characters"));
        assert!(key.chars().count() <= 67, "{key}");
        assert_eq!(read(&format!("{}: 1\n", "ä".repeat(64))).len(), 1);
        let many: String = (0..10_001).map(|n| format!("k{n}: 1\n")).collect();
        assert_eq!(refusal(many.as_bytes()).2, "more than 10000 keys");
        // Every entry has the keys above it in its path: their product is what has a bound.
        let children: String = (0..40_000).map(|n| format!(" {n}: 1\n")).collect();
        refusal(format!("? \"{}\"\n:\n{children}", "a".repeat(500_000)).as_bytes());
    }

    #[test]
    fn a_variable_in_flow_style_is_told_to_be_quoted() {
        for text in [
            "server: {port: ${PORT}}\n",
            "a: [${A}]\n",
            "a: {b: 1,\n  c: ${C:-x},\n  d: 1}\n",
            "{a: x${B}}\n",
        ] {
            let said = refusal(text.as_bytes()).2;
            assert!(
                said.ends_with("; within `{ }` and `[ ]` a variable is in quotes: \"${…}\""),
                "{text}: {said}"
            );
        }
        assert!(!refusal(b"a: ${A}\nb:\n\tc: 1\n").2.contains("quotes"));
    }

    #[test]
    fn nothing_that_is_written_makes_it_panic_or_hang() {
        let alphabet = b"a:b -[]{}#&*!|>'\"%@`,?~\n\t\r.$0\\\xef\xbb\xbf\xc3\xa4";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut text = Vec::new();
            for _ in 0..24 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                text.push(alphabet[(state % alphabet.len() as u64) as usize]);
            }
            let _ = parse(&text);
        }
        for text in
            ["{---", "[---", "{...", "? ", "%YAML", "%TAG ! x", "a: |99\n", "\u{0}", "- - - -", "\"\\x"]
        {
            let _ = parse(text.as_bytes());
        }
    }
}
