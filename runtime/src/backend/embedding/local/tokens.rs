//! Texts to token ids: `tokenizers` with truncation and padding off, and bounds around it.
//!
//! The library is made for texts of good will. It takes up to four hundred bytes of memory for one of the text, so
//! long texts go to it in pieces, and no further than where they are too long anyway. They are cut at white space,
//! where BERT's tokenizer cuts them too: the ids are those of the whole. That is why only this tokenizer is taken.

use std::path::Path;

use ahash::AHashMap;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, TokenizerImpl, decoders};

use super::config::{json, unsupported};
use super::{EncodeError, LoadError};

/// More than the vocabulary of any BERT.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// Of a text, what goes to the library at once: a text that the model takes is rarely longer.
const PIECE: usize = 16 << 10;

/// The longest stretch without white space that is looked at. However long, a word of letters is one unknown
/// token, so this may refuse a text of few tokens; but only one that holds such a stretch, and no words do.
const MAX_UNBROKEN: usize = 64 << 10;

/// Looking up a word costs the square of its letters; every BERT has 100.
const MAX_LETTERS: usize = 256;

/// A text as a model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    pub(super) ids: Vec<u32>,
}

impl Encoding {
    /// How many tokens it is, the special ones at its ends among them.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// A tokenizer that cuts nothing off.
pub(super) struct Tokens {
    tokenizer: Bert,
    /// What the model wants before a text.
    before: Vec<u32>,
    /// And after it.
    after: Vec<u32>,
    max: usize,
}

/// The last two do nothing here: what goes around a text is put there by us, and nothing becomes text again.
type Bert = TokenizerImpl<
    WordPiece,
    BertNormalizer,
    BertPreTokenizer,
    BertProcessing,
    decoders::wordpiece::WordPiece,
>;

/// `tokenizer.json`, as far as it is used. The library could read it itself, and panics at some files.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Normalizer,
    pre_tokenizer: Words,
    post_processor: Option<Ends>,
    model: Vocabulary,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(Deserialize)]
struct Normalizer {
    r#type: String,
    #[serde(default)]
    clean_text: bool,
    #[serde(default)]
    handle_chinese_chars: bool,
    strip_accents: Option<bool>,
    #[serde(default)]
    lowercase: bool,
}

#[derive(Deserialize)]
struct Words {
    r#type: String,
}

#[derive(Deserialize)]
struct Vocabulary {
    r#type: String,
    #[serde(default)]
    unk_token: String,
    #[serde(default)]
    continuing_subword_prefix: String,
    #[serde(default)]
    max_input_chars_per_word: usize,
    // Other models have lists here.
    #[serde(default, deserialize_with = "map_or_nothing")]
    vocab: AHashMap<String, u32>,
}

/// What goes around a text.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Ends {
    BertProcessing { cls: (String, u32), sep: (String, u32) },
    TemplateProcessing { single: Vec<Place>, special_tokens: AHashMap<String, Special> },
}

#[derive(Deserialize)]
enum Place {
    SpecialToken { id: String, type_id: u32 },
    Sequence { type_id: u32 },
}

#[derive(Deserialize)]
struct Special {
    ids: Vec<u32>,
}

impl Tokens {
    /// Reads `tokenizer.json` in `dir`, for a model that takes `max` tokens and knows `vocabulary` of them.
    pub fn read(dir: &Path, max: usize, vocabulary: usize) -> Result<Tokens, LoadError> {
        let path = dir.join("tokenizer.json");
        let file: File = json(&path, MAX_TOKENIZER_BYTES)?;
        check(&path, &file, vocabulary)?;
        let File { added_tokens, normalizer, post_processor, model, .. } = file;
        let failed = |source| LoadError::Tokenizer { path: path.clone(), source };

        let model = WordPiece::builder()
            .vocab(model.vocab)
            .unk_token(model.unk_token)
            .continuing_subword_prefix(model.continuing_subword_prefix)
            .max_input_chars_per_word(model.max_input_chars_per_word);
        let mut tokenizer = Bert::new(model.build().map_err(failed)?);
        let Normalizer { clean_text, handle_chinese_chars, strip_accents, lowercase, .. } = normalizer;
        let normalizer = BertNormalizer::new(clean_text, handle_chinese_chars, strip_accents, lowercase);
        tokenizer.with_normalizer(Some(normalizer)).map_err(failed)?;
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        let tokens = added_tokens.iter().map(|added| added.token.clone());
        tokenizer.add_tokens(tokens).map_err(failed)?;
        // The library numbers new ones itself.
        let other = |added: &&Added| tokenizer.token_to_id(&added.token.content) != Some(added.id);
        if let Some(added) = added_tokens.iter().find(other) {
            let rule = "its id is that of vocab, or the next after it";
            return Err(unsupported(&path, "added_tokens", &added.token.content, rule));
        }

        let (before, after) = ends(&path, post_processor)?;
        let mut ids = before.iter().chain(&after).chain(added_tokens.iter().map(|added| &added.id));
        if let Some(id) = ids.find(|id| **id as usize >= vocabulary) {
            return Err(unsupported(&path, "id", &id.to_string(), "ids are below vocab_size of config.json"));
        }
        if before.len() + after.len() > max {
            let value = format!("{} special tokens", before.len() + after.len());
            return Err(unsupported(&path, "post_processor", &value, "they leave room for a text"));
        }
        Ok(Tokens { tokenizer, before, after, max })
    }

    /// The ids of `text` and of what goes around it.
    pub fn encode(&self, text: &str) -> Result<Encoding, EncodeError> {
        let max = self.max;
        let mut ids = self.before.clone();
        for piece in Pieces(text) {
            let encoded = self.tokenizer.encode_fast(piece?, false).map_err(EncodeError::Tokenizer)?;
            ids.extend_from_slice(encoded.get_ids());
            let tokens = ids.len() + self.after.len();
            if tokens > max {
                return Err(EncodeError::TooLong { tokens, max });
            }
        }
        ids.extend_from_slice(&self.after);
        Ok(Encoding { ids })
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("max", &self.max).finish_non_exhaustive()
    }
}

/// Whether cutting at white space changes nothing, a word costs no more than we reckon with, and the model knows
/// what comes out.
fn check(path: &Path, file: &File, vocabulary: usize) -> Result<(), LoadError> {
    let refuse = |key, value: &str, rule| Err(unsupported(path, key, value, rule));
    let File { added_tokens, normalizer, pre_tokenizer, model, .. } = file;
    if model.r#type != "WordPiece" {
        return refuse("model.type", &model.r#type, "only WordPiece is BERT's");
    }
    if normalizer.r#type != "BertNormalizer" {
        return refuse("normalizer.type", &normalizer.r#type, "only BertNormalizer is BERT's");
    }
    if pre_tokenizer.r#type != "BertPreTokenizer" {
        return refuse("pre_tokenizer.type", &pre_tokenizer.r#type, "only BertPreTokenizer is BERT's");
    }
    if !(1..=MAX_LETTERS).contains(&model.max_input_chars_per_word) {
        let value = model.max_input_chars_per_word.to_string();
        return refuse("model.max_input_chars_per_word", &value, "it is from 1 to 256");
    }
    if !model.vocab.contains_key(&model.unk_token) {
        return refuse("model.unk_token", &model.unk_token, "it is in vocab");
    }
    if let Some(id) = model.vocab.values().find(|id| **id as usize >= vocabulary) {
        return refuse("model.vocab", &id.to_string(), "ids are below vocab_size of config.json");
    }
    let spaced = |content: &&String| content.is_empty() || content.contains(char::is_whitespace);
    match added_tokens.iter().map(|added| &added.token.content).find(spaced) {
        Some(content) => {
            refuse("added_tokens.content", content, "a token is not empty and has no white space")
        }
        None => Ok(()),
    }
}

/// What goes before and after a text.
fn ends(path: &Path, ends: Option<Ends>) -> Result<(Vec<u32>, Vec<u32>), LoadError> {
    let (single, special_tokens) = match ends {
        None => return Ok((vec![], vec![])),
        Some(Ends::BertProcessing { cls, sep }) => return Ok((vec![cls.1], vec![sep.1])),
        Some(Ends::TemplateProcessing { single, special_tokens }) => (single, special_tokens),
    };
    let refuse = |value: &str, rule| Err(unsupported(path, "post_processor.single", value, rule));
    let (mut before, mut after) = (vec![], None);
    for place in single {
        match (place, &mut after) {
            (Place::SpecialToken { type_id: 0, id }, after) => match special_tokens.get(&id) {
                Some(special) => after.as_mut().unwrap_or(&mut before).extend(&special.ids),
                None => return refuse(&id, "it is among special_tokens"),
            },
            (Place::Sequence { type_id: 0 }, None) => after = Some(vec![]),
            _ => return refuse("a place", "there is one text, and everything is of segment 0"),
        }
    }
    match after {
        Some(after) => Ok((before, after)),
        None => refuse("nothing", "there is one text in it"),
    }
}

fn map_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AHashMap<String, u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Vocab {
        Map(AHashMap<String, u32>),
        Other(IgnoredAny),
    }
    Vocab::deserialize(deserializer).map(|vocab| match vocab {
        Vocab::Map(map) => map,
        Vocab::Other(_) => AHashMap::new(),
    })
}

/// A text in pieces of about [`PIECE`] bytes, cut at white space; all of a short one at once.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<&'a str, EncodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.trim_start();
        if text.is_empty() {
            return None;
        }
        let mut end = text.len();
        if text.len() > PIECE {
            // The last white space of the first bytes, else the first after them.
            let near = text.floor_char_boundary(PIECE);
            let (head, tail) = text.split_at(near);
            let before = head.rfind(char::is_whitespace).filter(|at| *at > 0);
            end = before.or_else(|| tail.find(char::is_whitespace).map(|at| near + at)).unwrap_or(text.len());
            if before.is_none() && end > MAX_UNBROKEN {
                return Some(Err(EncodeError::Unbroken { bytes: end, max: MAX_UNBROKEN }));
            }
        }
        let (piece, rest) = text.split_at(end);
        self.0 = rest;
        Some(Ok(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        Pieces(text).map(Result::unwrap).collect()
    }

    #[test]
    fn a_short_text_is_one_piece_and_nothing_is_none() {
        assert_eq!(pieces("  a b\tc "), ["a b\tc "]);
        assert!(pieces("").is_empty());
        assert!(pieces(&" \u{3000}\n".repeat(100_000)).is_empty());
    }

    #[test]
    fn a_long_text_is_cut_at_white_space_only() {
        let words: Vec<String> = (0..40_000).map(|n| format!("{n:x}é")).collect();
        let text = words.join("\u{2003}");
        let pieces = pieces(&text);
        assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() <= PIECE));
        let again: Vec<&str> = pieces.iter().flat_map(|piece| piece.split_whitespace()).collect();
        assert_eq!(again, words);
    }

    #[test]
    fn a_stretch_without_white_space_is_whole_or_refused() {
        let text = format!("a {} b", "x".repeat(MAX_UNBROKEN));
        assert_eq!(pieces(&text).len(), 3);
        let text = format!("a {} b", "é".repeat(MAX_UNBROKEN));
        let found: Vec<_> = Pieces(&text).take(2).collect();
        assert!(matches!(found.as_slice(), [Ok("a"), Err(EncodeError::Unbroken { .. })]), "{found:?}");
    }
}
