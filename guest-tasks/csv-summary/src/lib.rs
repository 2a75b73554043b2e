//! Describes each column of a CSV file.
//!
//! Input: UTF-8 CSV with a header row; quoting as in RFC 4180, lines ended by LF, CRLF or CR. The delimiter
//! is the one of `,` `;` tab `|` that the header row holds most often outside quotes. Every row needs as
//! many fields as the header; empty lines are skipped. Output: a JSON object, see [`Summary`].

mod column;
mod table;

use omnimind_guest::json;
use serde::Serialize;

use column::{Column, ColumnSummary};
use table::Table;

/// What is reported about a file.
#[derive(Debug, Serialize)]
struct Summary {
    delimiter: char,
    /// Without the header.
    rows: u64,
    columns: Vec<ColumnSummary>,
}

omnimind_guest::task!(run);

fn run(input: Vec<u8>) -> Result<Vec<u8>, String> {
    json::encode(&summarize(input)?)
}

fn summarize(input: Vec<u8>) -> Result<Summary, String> {
    let mut table = Table::open(input)?;
    if !table.advance()? {
        return Err("the input holds no header row: the first line names the columns".into());
    }
    let names = table.fields().enumerate();
    let mut columns: Vec<Column> = names.map(|(at, name)| Column::new(name, at)).collect();
    let mut rows = 0;
    while table.advance()? {
        let fields = table.fields();
        if fields.len() != columns.len() {
            return Err(format!(
                "line {}: fields found: {}, columns in the header: {} (a delimiter inside a value needs quotes around it)",
                table.line(),
                fields.len(),
                columns.len()
            ));
        }
        for (column, field) in columns.iter_mut().zip(fields) {
            column.add(field);
        }
        rows += 1;
    }
    Ok(Summary {
        delimiter: table.delimiter(),
        rows,
        columns: columns.into_iter().map(Column::finish).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(csv: &str) -> String {
        summarize(csv.as_bytes().to_vec()).unwrap_err()
    }

    #[test]
    fn a_file_is_summarized_column_by_column() {
        let csv = "\u{feff}name;age\r\n\"Müller; \"\"Bob\"\"\";41\r\nAda;36\r\n\r\nEve;\r\n";
        let summary = summarize(csv.as_bytes().to_vec()).unwrap();
        assert_eq!((summary.delimiter, summary.rows), (';', 3));
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["columns"][0]["name"], "name");
        assert_eq!(json["columns"][0]["longest"], 13);
        assert_eq!(json["columns"][1]["type"], "integer");
        assert_eq!(json["columns"][1]["missing"], 1);
        assert_eq!(json["columns"][1]["mean"], 38.5);
    }

    #[test]
    fn a_ragged_row_is_named_by_its_line() {
        let why = error("a,b\n1,\"two\nlines\"\n\n3\n");
        assert!(why.starts_with("line 5: fields found: 1, columns in the header: 2"), "{why}");
        let why = error("a,b\r\n1,2\r\n1,2,3\r\n");
        assert!(why.starts_with("line 3: fields found: 3"), "{why}");
    }

    #[test]
    fn an_unclosed_quote_is_an_error_and_not_one_long_field() {
        let why = error("a\nfine\n\"open\nmore\n");
        assert!(why.starts_with("line 3: "), "{why}");
        let why = error("a\n\"open");
        assert!(why.starts_with("line 2: "), "{why}");
    }

    #[test]
    fn input_without_a_header_or_not_utf8_is_refused() {
        assert!(error("").contains("header"));
        assert!(error("\n\r\n").contains("header"));
        let why = summarize(b"a\nb\xff\n".to_vec()).unwrap_err();
        assert!(why.contains("line 2") && why.contains("byte 3"), "{why}");
    }

    #[test]
    fn a_header_alone_has_empty_columns() {
        let summary = summarize(b"a,,c".to_vec()).unwrap();
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["rows"], 0);
        assert_eq!(json["columns"][1]["name"], "column 2");
        assert_eq!(json["columns"][2]["type"], "empty");
    }
}
