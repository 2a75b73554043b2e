//! Texts to token ids: `tokenizers` with truncation and padding off.
//!
//! The library is made for texts of good will: it takes up to four hundred bytes of memory for one of the text, and
//! its time for a word is the square of its letters. So texts are bounded before they come here, and of tokenizers
//! only BERT's is taken, which looks at each word alone.

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
use super::{EncodeError, Fault, LoadError};

/// More than the vocabulary of any BERT.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

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
        let failed = |error| Fault::Tokenizer(error).of(&path);

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
        let encoded = self.tokenizer.encode_fast(text, false).map_err(EncodeError::Tokenizer)?;
        let ids = [&*self.before, encoded.get_ids(), &self.after].concat();
        match ids.len() {
            tokens if tokens > max => Err(EncodeError::TooLong { tokens, max }),
            _ => Ok(Encoding { ids }),
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("max", &self.max).finish_non_exhaustive()
    }
}

/// Whether it is BERT's tokenizer, a word costs no more than we reckon with, and the model knows what comes out.
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
