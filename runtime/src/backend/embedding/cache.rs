//! Vectors that were made, by what they were made of.
//!
//! Tenants do not share them: the vector of a text is no secret, but that it is there at once, and costs nothing,
//! would tell one tenant what another has embedded.

use std::time::Duration;

use super::Vector;
use crate::cache::Bounded;

/// Bytes of vectors kept at most.
const MAX_BYTES: usize = 64 << 20;

/// Bytes of an entry beside its numbers: the key, the place in the list and in the table, the counts.
const ENTRY_BYTES: usize = 160;

/// Tenant, model and text: as a hash, so that no text is kept.
pub type Key = [u8; 32];

/// Vectors by tenant, model and text.
pub type Vectors = Bounded<Key, Vector>;

/// Keeps `most` vectors at most, each for `ttl`; 0 keeps none.
pub fn vectors(most: usize, ttl: Duration) -> Vectors {
    Bounded::new("embeddings", most, MAX_BYTES, Some(ttl))
}

/// What a vector is found by.
pub fn key(tenant: &str, model: &str, text: &str) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in [tenant, model] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.update(text.as_bytes()).finalize().into()
}

/// What keeping it takes.
pub fn bytes_of(vector: &Vector) -> usize {
    ENTRY_BYTES + size_of_val(&**vector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;

    #[test]
    fn what_is_found_is_of_this_tenant_model_and_text() {
        let vectors = vectors(10, Duration::from_secs(3600));
        let vector: Vector = vec![0.5; 3].into();
        vectors.keep(key("a", "m", "text"), bytes_of(&vector), vector.clone());
        let find = |tenant, model, text| vectors.find(&key(tenant, model, text), |_| true);
        assert_eq!(find("a", "m", "text"), Some(vector));
        for (tenant, model, text) in
            [("b", "m", "text"), ("a", "n", "text"), ("a", "m", "texts"), ("am", "", "text")]
        {
            assert_eq!(find(tenant, model, text), None);
        }
        assert_eq!(vectors.figures().bytes, Some(ENTRY_BYTES + 12));
    }
}
