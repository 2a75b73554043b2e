//! Query strings and the headers that say the same.

use std::time::Duration;

use axum::http::{HeaderMap, Uri};

use super::problem::{Problem, Result};

/// Longest wait for a task's end.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

/// The parameters of a request, each of which is taken once.
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads those of `uri`.
    ///
    /// # Errors
    /// `422` where a name comes twice that is not in `repeatable`.
    pub fn of(uri: &Uri, repeatable: &[&str]) -> Result<Query> {
        let Some(query) = uri.query() else { return Ok(Query(Vec::new())) };
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|error| Problem::invalid("(the query)", error.to_string()))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !repeatable.contains(&name.as_str())
                && pairs.iter().skip(at + 1).any(|(other, _)| other == name)
            {
                return Err(Problem::invalid(shown(name), "it is given twice"));
            }
        }
        Ok(Query(pairs))
    }

    /// Takes the parameter `name`.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes every parameter `name`, in order.
    pub fn take_all(&mut self, name: &str) -> Vec<String> {
        std::iter::from_fn(|| self.take(name)).collect()
    }

    /// Takes every parameter that begins with `prefix`: what follows it, and the value.
    pub fn take_prefixed(&mut self, prefix: &str) -> Vec<(String, String)> {
        let (taken, rest) =
            std::mem::take(&mut self.0).into_iter().partition(|(name, _)| name.starts_with(prefix));
        self.0 = rest;
        let taken: Vec<(String, String)> = taken;
        let rest = |name: String| name.strip_prefix(prefix).unwrap_or_default().to_owned();
        taken.into_iter().map(|(name, value)| (rest(name), value)).collect()
    }

    /// Takes a parameter that is `true` or `false`.
    ///
    /// # Errors
    /// `422` for anything else.
    pub fn take_flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("true" | "") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Problem::invalid(name, "it is true or false")),
        }
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// `422` naming what is left, and what there is.
    pub fn end(self, known: &str) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::invalid(
                shown(name),
                format!("there is no such query parameter here; there is {known}"),
            )),
        }
    }
}

fn shown(name: &str) -> String {
    name.chars().take(64).collect::<String>().escape_debug().to_string()
}

/// A time as in `10s`, `500ms` or `10`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit() && c != '.') {
        Some(at) => text.split_at_checked(at)?,
        None => (text, "s"),
    };
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "s" => number,
        "ms" => number / 1000.0,
        "m" => number * 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// How long to wait for the end of a task: `?wait=`, else the header `Prefer`. Nothing: not at all.
///
/// # Errors
/// `422` for a `?wait=` that is no time.
pub fn wait(query: &mut Query, headers: &HeaderMap) -> Result<Option<Duration>> {
    if let Some(text) = query.take("wait") {
        let wait = duration(&text)
            .ok_or_else(|| Problem::invalid("wait", "a time like 10s or 500ms, 60s at most"))?;
        return Ok(Some(wait.min(MAX_WAIT)));
    }
    // A preference that makes no sense is no preference (RFC 7240).
    let wait = preference(headers, "wait").and_then(|text| duration(&text));
    Ok(wait.map(|wait| wait.min(MAX_WAIT)))
}

/// The value of `name` in the header `Prefer`; empty where it has none.
pub fn preference(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split([',', ';']))
        .filter_map(|token| {
            let (key, value) = token.split_once('=').unwrap_or((token, ""));
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
        })
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let seconds = |text| duration(text).map(|time| time.as_secs_f64());
        assert_eq!(
            ["10s", "500ms", "1.5", "2m"].map(seconds),
            [Some(10.0), Some(0.5), Some(1.5), Some(120.0)]
        );
        for wrong in ["", "s", "-1s", "10h", "1e9s", "NaN", "10 s s"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_parameter_is_known_and_comes_once() {
        let query = |text: &str| Query::of(&format!("/?{text}").parse().unwrap(), &["arg"]);
        let mut ok = query("a=1&arg=x&arg=y&limits.fuel=5").unwrap();
        assert_eq!(ok.take("a").as_deref(), Some("1"));
        assert_eq!(ok.take_all("arg"), ["x", "y"]);
        assert_eq!(ok.take_prefixed("limits."), [("fuel".to_owned(), "5".to_owned())]);
        assert!(ok.end("").is_ok());
        assert!(query("a=1&a=2").is_err());
        assert!(query("b=1").unwrap().end("a").is_err());
    }
}
