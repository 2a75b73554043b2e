//! `${VAR}` and `${VAR:-default}` in values.
//!
//! Done after YAML is parsed, so that a variable can hold a value and nothing else: no keys, no structure.

/// Expands `text`. `$${` stands for `${`; a default may be empty and holds no `}`.
///
/// # Errors
/// A variable that is not set and has no default, or a `${` that is no variable.
pub(super) fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
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
        match (variable(name), default) {
            // As in a shell: `:-` is for what is empty too.
            (Some(value), Some(_)) if !value.is_empty() => expanded.push_str(&value),
            (Some(value), None) => expanded.push_str(&value),
            (_, Some(default)) => expanded.push_str(default),
            (None, None) => {
                return Err(format!("the variable {name} is not set; set it, or write ${{{name}:-default}}"));
            }
        }
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${A}".into()),
            _ => None,
        }
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
