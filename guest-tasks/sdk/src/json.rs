//! JSON in, JSON out (feature `json`), with errors in the task's own form.
//!
//! ```
//! use omnimind_guest::json;
//!
//! fn sum(input: Vec<u8>) -> Result<Vec<u8>, String> {
//!     let numbers: Vec<i64> = json::decode(&input)?;
//!     json::encode(&numbers.iter().sum::<i64>())
//! }
//! assert_eq!(sum(b"[1, 2]".to_vec()), Ok(b"3".to_vec()));
//! assert!(sum(b"[1,".to_vec()).is_err());
//! ```

use serde::{Serialize, de::DeserializeOwned};

/// Reads the task's input. The error names line and column.
pub fn decode<T: DeserializeOwned>(input: &[u8]) -> Result<T, String> {
    serde_json::from_slice(input).map_err(|e| format!("the input is not the expected JSON: {e}"))
}

/// Writes the task's output.
pub fn encode<T: Serialize>(output: &T) -> Result<Vec<u8>, String> {
    serde_json::to_vec(output).map_err(|e| format!("the output cannot be written as JSON: {e}"))
}
