//! Reads records out of CSV bytes with `csv-core`, and knows where each one started, for errors.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// A CSV file and the place reached in it.
pub struct Table {
    input: String,
    reader: Reader,
    delimiter: u8,
    /// Bytes of `input` read.
    read: usize,
    /// Where the current record starts.
    start: usize,
    /// The fields of the current record, unquoted, one after the other, and where each of the first
    /// `count` ends; the buffers only grow.
    fields: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

impl Table {
    /// Checks the encoding and finds the delimiter.
    pub fn open(input: Vec<u8>) -> Result<Table, String> {
        let mut input = String::from_utf8(input).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            let line = line_at(error.as_bytes(), offset);
            format!("line {line}: byte {offset} of the input is not UTF-8 (convert the file to UTF-8 first)")
        })?;
        if input.starts_with('\u{feff}') {
            input.remove(0);
        }
        // So that a record still open at the end can only be one inside quotes.
        input.push('\n');
        let delimiter = find_delimiter(&input);
        Ok(Table {
            input,
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            delimiter,
            read: 0,
            start: 0,
            fields: vec![0; 1024],
            ends: vec![0; 64],
            count: 0,
        })
    }

    /// The delimiter in use.
    pub fn delimiter(&self) -> char {
        self.delimiter.into()
    }

    /// The line on which the current record starts.
    pub fn line(&self) -> usize {
        line_at(self.input.as_bytes(), self.start)
    }

    /// The fields of the current record.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().take(self.count).map(move |&end| {
            let field = self.fields.get(start..end).unwrap_or_default();
            start = end;
            // The input is UTF-8 and is cut only at ASCII characters.
            str::from_utf8(field).unwrap_or_default()
        })
    }

    /// Reads the next record; false at the end.
    pub fn advance(&mut self) -> Result<bool, String> {
        let mut filled = 0;
        self.count = 0;
        self.start = self.skip_line_breaks();
        loop {
            let input = self.input.as_bytes().get(self.read..).unwrap_or_default();
            let (result, read, wrote, ends) = self.reader.read_record(
                input,
                self.fields.get_mut(filled..).unwrap_or_default(),
                self.ends.get_mut(self.count..).unwrap_or_default(),
            );
            self.read += read;
            filled += wrote;
            self.count += ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record if input.is_empty() => {
                    let line = self.line();
                    return Err(format!(
                        "line {line}: a quoted value starts here and its closing quote is missing"
                    ));
                }
                ReadRecordResult::Record => return Ok(true),
                ReadRecordResult::End => return Ok(false),
            }
        }
    }

    /// Where the next record really starts: what `csv-core` skips on the way does not count.
    fn skip_line_breaks(&self) -> usize {
        let rest = self.input.as_bytes().get(self.read..).unwrap_or_default();
        let skipped = rest.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
        self.read + skipped.count()
    }
}

/// The delimiter most frequent in the first record outside quotes; a comma if there is none.
fn find_delimiter(input: &str) -> u8 {
    let mut quoted = false;
    let mut counts = [0_u32; DELIMITERS.len()];
    for byte in input.trim_start_matches(['\r', '\n']).bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\r' | b'\n' if !quoted => break,
            _ if quoted => {}
            _ => {
                for (count, _) in counts.iter_mut().zip(DELIMITERS).filter(|(_, d)| *d == byte) {
                    *count += 1;
                }
            }
        }
    }
    // `max_by_key` takes the last of equals; the order of DELIMITERS is the preference.
    let most = DELIMITERS.into_iter().zip(counts).rev().max_by_key(|(_, count)| *count);
    most.map_or(b',', |(delimiter, _)| delimiter)
}

fn line_at(input: &[u8], offset: usize) -> usize {
    let before = input.get(..offset).unwrap_or(input);
    let breaks = before.iter().enumerate().filter(|(at, byte)| match byte {
        b'\n' => true,
        b'\r' => before.get(at + 1) != Some(&b'\n'),
        _ => false,
    });
    breaks.count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_the_most_frequent_one_outside_quotes() {
        assert_eq!(find_delimiter("a\tb\tc\n1,2,3,4,5\n"), b'\t');
        assert_eq!(find_delimiter("\"a,b,c\";d\n"), b';');
        assert_eq!(find_delimiter("a|b\n"), b'|');
        assert_eq!(find_delimiter("a,b;c\n"), b',');
        assert_eq!(find_delimiter("alone\n"), b',');
    }

    #[test]
    fn records_larger_than_the_buffers_are_read_whole() {
        let wide: Vec<String> = (0..500).map(|i| format!("value number {i}")).collect();
        let mut table = Table::open(wide.join(",").into_bytes()).unwrap();
        assert!(table.advance().unwrap());
        assert!(table.fields().eq(wide.iter().map(String::as_str)));
        assert!(!table.advance().unwrap());
    }

    #[test]
    fn lines_are_counted_for_every_line_ending() {
        assert_eq!(line_at(b"a\nb\nc", 4), 3);
        assert_eq!(line_at(b"a\r\nb\r\nc", 6), 3);
        assert_eq!(line_at(b"a\rb\rc", 4), 3);
    }
}
