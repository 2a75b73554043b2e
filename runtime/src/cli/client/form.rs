//! `multipart/form-data`: how bytes travel beside JSON, unchanged.

use super::connection::Content;

/// The body of a submission.
pub struct Form {
    boundary: String,
    bytes: Vec<u8>,
}

impl Form {
    /// One without parts.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> anyhow::Result<Form> {
        // Nobody who wrote the parts can have put it into one.
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let boundary = format!("omnimind-{:032x}", u128::from_le_bytes(random));
        Ok(Form { boundary, bytes: Vec::new() })
    }

    /// With one more.
    pub fn part(mut self, name: &str, media_type: &str, content: &[u8]) -> Form {
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Type: {media_type}\r\n\r\n",
            self.boundary
        );
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// All of it.
    pub fn finish(mut self) -> Content {
        self.bytes.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        Content {
            media_type: format!("multipart/form-data; boundary={}", self.boundary),
            bytes: self.bytes.into(),
            headers: Vec::new(),
        }
    }
}
