//! Vectors without a model: words and parts of words, each put at a place that its hash says.
//!
//! Texts are near each other as far as they share words, or words that are spelled alike; what words *mean* plays no
//! part. It is there so that everything works with nothing installed, and is named so that nobody takes it for more.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    ComputeSlots, Embedded, EmbeddingBackend, Encoded, Error, Form, GoOn, Model, check_length, normalized,
};

/// Numbers of a vector: as many as those of all-MiniLM-L6-v2.
const DIMENSIONS: usize = 384;

/// As many as most small models take.
const MAX_TOKENS: usize = 512;

/// Letters of a word that are one token.
const LETTERS: usize = 8;

/// Lengths of the parts of a word, its two ends counted as letters.
const GRAMS: std::ops::RangeInclusive<usize> = 3..=5;

/// Feature hashing, as in Weinberger et al. 2009, of words and of their parts as in fastText.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hashing;

/// Runs of letters and digits, and each other sign that is no white space.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let end = match first.is_alphanumeric() {
            true => rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (word, others) = rest.split_at(end);
        rest = others;
        Some(word)
    })
}

/// FNV-1a of the letters, and a last round (that of MurmurHash3) that spreads what differs in few bits.
fn hash(letters: &[char]) -> u64 {
    let each = |hash: u64, letter: &char| (hash ^ u64::from(*letter)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = letters.iter().fold(0xcbf2_9ce4_8422_2325, each);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn add(vector: &mut [f32], letters: &[char], weight: f32) {
    let hash = hash(letters);
    let sign = if hash >> 63 == 0 { weight } else { -weight };
    if let Some(place) = vector.get_mut((hash % DIMENSIONS as u64) as usize) {
        *place += sign;
    }
}

fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSIONS];
    let mut letters = Vec::new();
    for word in words(text) {
        letters.clear();
        letters.push('<');
        letters.extend(word.chars().flat_map(char::to_lowercase));
        letters.push('>');
        add(&mut vector, &letters, 1.0);
        let parts: usize = GRAMS.map(|length| (letters.len() + 1).saturating_sub(length)).sum();
        // All parts of a word together weigh as much as the word.
        let weight = 1.0 / (parts.max(1) as f32).sqrt();
        for length in GRAMS {
            letters.windows(length).for_each(|part| add(&mut vector, part, weight));
        }
    }
    vector
}

#[async_trait]
impl EmbeddingBackend for Hashing {
    fn describe(&self) -> Model {
        let name = "hashing (lexical)".to_owned();
        Model { name, dimensions: DIMENSIONS, max_tokens: MAX_TOKENS, device: "cpu" }
    }

    fn encode(&self, text: &str) -> Result<Encoded, Error> {
        check_length(text, MAX_TOKENS)?;
        let mut tokens = 0;
        for word in words(text) {
            tokens += word.chars().count().div_ceil(LETTERS);
            if tokens > MAX_TOKENS {
                return Err(Error::Invalid(format!(
                    "a text has {tokens} tokens or more and {MAX_TOKENS} may be: split the text"
                )));
            }
        }
        Ok(Encoded { tokens: tokens as u64, form: Form::Text(text.into()) })
    }

    async fn embed(
        &self,
        texts: Vec<Encoded>,
        slots: &dyn ComputeSlots,
        go_on: GoOn,
    ) -> Vec<Result<Embedded, Error>> {
        // A batch of the longest texts takes some milliseconds.
        let _slot = slots.take(1).await;
        let embed = |Encoded { tokens, form }| match form {
            _ if !go_on() => Err(Error::Stopped),
            Form::Text(text) => match normalized(vector(&text)) {
                Some(vector) => Ok(Embedded { vector, tokens, cpu: Duration::ZERO }),
                None => Err(Error::Invalid("a text has nothing that could be hashed".to_owned())),
            },
            Form::Ids(_) => Err(Error::Internal("a text was encoded for another model".to_owned())),
        };
        texts.into_iter().map(embed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(one: &str, other: &str) -> f32 {
        let [one, other] = [one, other].map(|text| normalized(vector(text)).unwrap());
        one.iter().zip(other.iter()).map(|(one, other)| one * other).sum()
    }

    #[test]
    fn texts_are_near_as_far_as_they_share_words() {
        let text = "The invoice of March was paid on the third of April.";
        assert!(cosine(text, "the INVOICE of march, was paid on the third of april") > 0.9);
        assert!(cosine(text, "The invoices of March were paid on the 3rd of April.") > 0.6);
        assert!(cosine(text, "Sparrows build nests under warm roofs").abs() < 0.3);
        assert!(cosine("color", "colour") > cosine("color", "zebra") + 0.2, "spelled alike");
    }

    #[test]
    fn a_vector_is_the_same_on_every_machine() {
        // `<a>` is the word and its only part. By another implementation of the formula.
        let there = vector("a").into_iter().enumerate().find(|(_, number)| *number != 0.0);
        assert_eq!(there, Some((229, -2.0)));
    }

    #[test]
    fn tokens_are_words_and_every_eight_letters_of_long_ones() {
        let tokens = |text: &str| Hashing.encode(text).map(|encoded| encoded.tokens);
        assert_eq!([tokens("a bc def"), tokens("12345678"), tokens("123456789")], [Ok(3), Ok(1), Ok(2)]);
        assert_eq!([tokens("it's, é中"), tokens("\u{1f600}")], [Ok(5), Ok(1)]);
        assert_eq!(tokens(&"word ".repeat(512)), Ok(512));
        let long = tokens(&"word ".repeat(513)).unwrap_err().to_string();
        assert!(long.contains("512"), "{long}");
        assert!(tokens(&"x".repeat(10 << 20)).is_err());
    }
}
