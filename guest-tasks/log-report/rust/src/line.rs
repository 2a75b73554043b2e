//! One line of an access log, byte by byte: what is not UTF-8 is no reason to fail.

/// What the report needs of a line.
#[derive(Debug, PartialEq)]
pub struct Line<'a> {
    pub client: &'a str,
    /// 1 to 5.
    pub status_class: u8,
    /// 0 for `-`.
    pub bytes: u64,
    pub duration_ms: u64,
}

impl<'a> Line<'a> {
    /// `CLIENT - - [TIME] "METHOD TARGET HTTP/VERSION" STATUS BYTES DURATION`, or `None` if it is anything else.
    pub fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let mut rest = Rest(line);
        let client = rest.run(45, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))?;
        rest.text(b" - - [")?;
        rest.run(usize::MAX, |byte| !matches!(byte, b']' | b'"'))?;
        rest.text(b"] \"")?;
        rest.run(16, |byte| byte.is_ascii_uppercase())?;
        rest.text(b" ")?;
        rest.run(usize::MAX, |byte| !matches!(byte, b' ' | b'"'))?;
        rest.text(b" HTTP/")?;
        rest.run(8, |byte| byte.is_ascii_digit() || byte == b'.')?;
        rest.text(b"\" ")?;
        let status = rest.number(3)?;
        rest.text(b" ")?;
        let bytes = if rest.text(b"-").is_some() { 0 } else { rest.number(10)? };
        rest.text(b" ")?;
        let duration_ms = rest.number(9)?;
        let whole = rest.0.is_empty() && (100..=599).contains(&status);
        whole.then_some(Line {
            client: str::from_utf8(client).ok()?,
            status_class: u8::try_from(status / 100).ok()?,
            bytes,
            duration_ms,
        })
    }
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Exactly this.
    fn text(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// All bytes that are wanted, one at least and `most` at most.
    fn run(&mut self, most: usize, wanted: impl Fn(u8) -> bool) -> Option<&'a [u8]> {
        let length = self.0.iter().position(|&byte| !wanted(byte)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        (1..=most).contains(&length).then_some(run)
    }

    fn number(&mut self, most_digits: usize) -> Option<u64> {
        let digits = self.run(most_digits, |byte| byte.is_ascii_digit())?;
        str::from_utf8(digits).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"::1 - - [12/Mar/2026:06:25:24 +0000] "GET /a HTTP/1.1" 304 - 7"#;

    #[test]
    fn a_line_has_a_client_a_status_a_size_and_a_duration() {
        let line = Line { client: "::1", status_class: 3, bytes: 0, duration_ms: 7 };
        assert_eq!(Line::parse(GOOD.as_bytes()), Some(line));
    }

    #[test]
    fn anything_left_out_or_added_is_malformed() {
        for length in 0..GOOD.len() {
            assert_eq!(Line::parse(&GOOD.as_bytes()[..length]), None, "{length} bytes");
        }
        for (from, to) in [
            ("304", "0304"),
            ("304", "600"),
            ("304", "099"),
            ("304", "99"),
            ("-", "12345678901"),
            ("7", "7 "),
        ] {
            let (begin, end) = GOOD.rsplit_once(from).unwrap();
            assert_eq!(Line::parse(format!("{begin}{to}{end}").as_bytes()), None, "{from} as {to}");
        }
    }
}
