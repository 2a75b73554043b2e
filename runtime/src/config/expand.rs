//! `${VAR}` and `${VAR:-default}` in values.
//!
//! Done after YAML is parsed, so that a variable can hold a value and nothing else: no keys, no structure.

use std::ffi::OsStr;

/// Bytes of a value once it is expanded: a file may name a long variable often.
const MAX_BYTES: usize = 64 << 10;

/// Expands `text`. `$${` stands for `${`; a default may be empty and holds no `}`.
///
/// # Errors
/// A variable that is not set and has no default, or not UTF-8; a `${` that is no variable; too long a value.
pub(super) fn expand<'a>(text: &str, variable: impl Fn(&str) -> Option<&'a OsStr>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        within_bounds(expanded.len())?;
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let (inside, after) =
            after.split_once('}').ok_or("`${` without `}`; write `$${` for these very characters")?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(format!(
                "`${{{}}}` is no variable; it is ${{NAME}} or ${{NAME:-default}}",
                super::value::shorten(inside)
            ));
        }
        let value = variable(name).map(|value| {
            value.to_str().ok_or_else(|| format!("the value of the variable {name} is not UTF-8"))
        });
        match (value.transpose()?, default) {
            // As in a shell: `:-` is for what is empty too.
            (Some(value), Some(_)) if !value.is_empty() => expanded.push_str(value),
            (Some(value), None) => expanded.push_str(value),
            (_, Some(default)) => expanded.push_str(default),
            (None, None) => {
                return Err(format!("the variable {name} is not set; set it, or write ${{{name}:-default}}"));
            }
        }
        rest = after;
    }
    expanded.push_str(rest);
    within_bounds(expanded.len())?;
    Ok(expanded)
}

fn within_bounds(bytes: usize) -> Result<(), String> {
    match bytes > MAX_BYTES {
        true => Err(format!("longer than {MAX_BYTES} bytes, once it is expanded")),
        false => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn variable(name: &str) -> Option<&'static OsStr> {
        match name {
            "A" => Some("a".as_ref()),
            "EMPTY" => Some("".as_ref()),
            "TRICK" => Some("${A}".as_ref()),
            "LATIN_1" => Some(OsStr::from_bytes(b"\xe4")),
            _ => None,
        }
    }

    #[test]
    fn what_comes_of_it_has_a_bound() {
        let long = "x".repeat(1000);
        let length = |text: &str| expand(text, |_| Some(long.as_ref())).map(|text| text.len());
        assert_eq!(length(&"${X}".repeat(65)), Ok(65_000));
        assert_eq!(
            length(&"${X}".repeat(66)),
            Err("longer than 65536 bytes, once it is expanded".to_owned())
        );
        assert!(length(&"x".repeat(65_537)).is_err() && length(&"${X:-y}".repeat(100_000)).is_err());
    }

    #[test]
    fn variables_are_put_in_once() {
        for (text, expanded) in [
            ("plain $ and } and $A", "plain $ and } and $A"),
            ("<${A}|${A}>", "<a|a>"),
            ("${NONE:-some}${NONE:-}${EMPTY}${EMPTY:-e}", "somee"),
            ("${TRICK}", "${A}"),
            ("$${A}", "${A}"),
            ("${NONE:-a:-b}", "a:-b"),
        ] {
            assert_eq!(expand(text, variable).as_deref(), Ok(expanded), "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for (text, said) in [
            ("${NONE}", "the variable NONE is not set"),
            ("${LATIN_1}", "the value of the variable LATIN_1 is not UTF-8"),
            ("${LATIN_1:-x}", "the value of the variable LATIN_1 is not UTF-8"),
            ("${", "`${` without `}`"),
            ("${}", "no variable"),
            ("${1A}", "no variable"),
            ("${A B}", "no variable"),
            ("${A-b}", "no variable"),
        ] {
            let error = expand(text, variable).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
