//! Server-sent events, as far as the server uses them: `event`, one line of `data`, comments.

use reqwest::Response;

use super::{Connection, Error};

/// Longest event that is taken.
const MAX_EVENT: usize = 64 << 20;

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    response: Response,
    buffer: Vec<u8>,
    /// Of the buffer, so much has no end of an event in it.
    searched: usize,
}

/// One event.
#[derive(Debug, Default, PartialEq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

impl Events {
    /// The events of an answer.
    pub fn of(response: Response) -> Events {
        Events { response, buffer: Vec::new(), searched: 0 }
    }

    /// The next one; none at the end of the stream.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self, connection: &Connection) -> Result<Option<Event>, Error> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unsearched.windows(2).position(|two| two == b"\n\n") {
                let rest = self.buffer.split_off(self.searched + at + 2);
                let block = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                match parse(&String::from_utf8_lossy(&block)) {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            self.searched = self.buffer.len().saturating_sub(1);
            if self.buffer.len() > MAX_EVENT {
                return Err(connection.strange("an event without an end"));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(error) => return Err(connection.unreachable(&error)),
            }
        }
    }
}

/// The event in a block of lines; none where there are comments only.
fn parse(block: &str) -> Option<Event> {
    let mut event = Event::default();
    for line in block.lines() {
        if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut event.name);
        } else if let Some(data) = line.strip_prefix("data: ") {
            data.clone_into(&mut event.data);
        }
    }
    (event != Event::default()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_events() {
        assert_eq!(parse(": alive\n\n"), None);
        let event = Event { name: "log".into(), data: "{}".into() };
        assert_eq!(parse("id: 5\nevent: log\ndata: {}\n\n"), Some(event));
    }
}
