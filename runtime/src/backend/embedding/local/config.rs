//! What the JSON files of a checkpoint say about it: the layout that sentence-transformers writes.
//!
//! Only `config.json` has to be there. What would change a vector and is not computed here is refused, never
//! passed over: a vector that is nearly right is worse than none.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Fault, LoadError};
use crate::backend::embedding::MAX_DIMENSIONS;

/// A larger description than this is none.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Tokens of the longest text: what is made of it while its tokens are counted is to be bounded.
const MAX_POSITIONS: usize = 8192;

/// Sizes and choices of one checkpoint, all checked.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub layers: usize,
    pub heads: usize,
    /// Numbers per token, and of a vector; `heads` divides it.
    pub hidden: usize,
    /// Numbers per token in the middle of a feed-forward step.
    pub intermediate: usize,
    pub activation: Activation,
    /// What layer normalisation adds to a variance.
    pub epsilon: f32,
    pub vocabulary: usize,
    pub positions: usize,
    /// Kinds of segment; a single text is all of the first.
    pub segments: usize,
    /// Tokens of a text, the special ones among them; never more than `positions`.
    pub max_tokens: usize,
    pub pooling: Pooling,
}

/// The function between the two products of a feed-forward step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// x·Φ(x), exactly.
    Gelu,
    /// The same by way of tanh.
    GeluTanh,
    Relu,
}

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean,
    /// That of the first token.
    Cls,
    /// The largest of each component.
    Max,
}

/// `config.json`, as transformers writes it.
#[derive(Deserialize)]
struct Bert {
    model_type: String,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_size: usize,
    intermediate_size: usize,
    hidden_act: String,
    layer_norm_eps: f32,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
}

/// `sentence_bert_config.json`.
#[derive(Default, Deserialize)]
struct Sentence {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

/// `tokenizer_config.json`; a number with thirty digits stands for none.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    model_max_length: Option<f64>,
}

/// `1_Pooling/config.json`: a name, and before sentence-transformers 6 a switch for each.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Pool {
    pooling_mode: Option<Modes>,
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Modes {
    One(String),
    Many(Vec<String>),
}

/// An entry of `modules.json`.
#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

impl Config {
    /// Reads the description of the checkpoint in `dir`.
    pub fn read(dir: &Path) -> Result<Config, LoadError> {
        let path = dir.join("config.json");
        let bert: Bert = json(&path, MAX_CONFIG_BYTES)?;
        let refuse = |key, value: &str, rule| Err(unsupported(&path, key, value, rule));
        if bert.model_type != "bert" {
            return refuse("model_type", &bert.model_type, "only bert is computed here");
        }
        if let Some(kind) = bert.position_embedding_type.filter(|kind| kind != "absolute") {
            return refuse("position_embedding_type", &kind, "only absolute positions are");
        }
        if bert.is_decoder {
            return refuse("is_decoder", "true", "only an encoder is one for embeddings");
        }
        let activation = match bert.hidden_act.as_str() {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            other => return refuse("hidden_act", other, "gelu, gelu_new and relu are"),
        };
        let sizes = [
            ("num_hidden_layers", bert.num_hidden_layers),
            ("num_attention_heads", bert.num_attention_heads),
            ("hidden_size", bert.hidden_size),
            ("intermediate_size", bert.intermediate_size),
            ("vocab_size", bert.vocab_size),
            ("max_position_embeddings", bert.max_position_embeddings),
            ("type_vocab_size", bert.type_vocab_size),
        ];
        // Past 2^24 no size is real; below it, products of two of them do not overflow.
        if let Some((key, value)) = sizes.into_iter().find(|(_, value)| !(1..1 << 24).contains(value)) {
            return refuse(key, &value.to_string(), "it is 1 at least and below 2^24");
        }
        if bert.hidden_size > MAX_DIMENSIONS {
            return refuse("hidden_size", &bert.hidden_size.to_string(), "it is 65536 at most");
        }
        if bert.max_position_embeddings > MAX_POSITIONS {
            let value = bert.max_position_embeddings.to_string();
            return refuse("max_position_embeddings", &value, "it is 8192 at most");
        }
        if !bert.hidden_size.is_multiple_of(bert.num_attention_heads) {
            let value = bert.num_attention_heads.to_string();
            return refuse("num_attention_heads", &value, "it divides hidden_size");
        }
        if !(0.0..1.0).contains(&bert.layer_norm_eps) {
            return refuse("layer_norm_eps", &bert.layer_norm_eps.to_string(), "it is from 0 to 1");
        }
        Ok(Config {
            layers: bert.num_hidden_layers,
            heads: bert.num_attention_heads,
            hidden: bert.hidden_size,
            intermediate: bert.intermediate_size,
            activation,
            epsilon: bert.layer_norm_eps,
            vocabulary: bert.vocab_size,
            positions: bert.max_position_embeddings,
            segments: bert.type_vocab_size,
            max_tokens: max_tokens(dir, bert.max_position_embeddings)?,
            pooling: modules(dir)?,
        })
    }
}

/// How many tokens a text may have: what the checkpoint was trained for, where it says so.
fn max_tokens(dir: &Path, positions: usize) -> Result<usize, LoadError> {
    let path = dir.join("sentence_bert_config.json");
    let sentence: Sentence = optional(&path)?.unwrap_or_default();
    if sentence.do_lower_case {
        let rule = "texts go to the tokenizer as they are: let its normalizer do it";
        return Err(unsupported(&path, "do_lower_case", "true", rule));
    }
    let tokenizer: TokenizerConfig = optional(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
    // A cast of a float saturates: what is beyond any size is no bound.
    let tokenizer = tokenizer.model_max_length.map(|max| max as usize);
    let max = [sentence.max_seq_length, tokenizer].into_iter().flatten().fold(positions, usize::min);
    if max == 0 {
        return Err(unsupported(
            &path,
            "max_seq_length",
            "0",
            "it is 1 at least, and so is model_max_length",
        ));
    }
    Ok(max)
}

/// What follows the transformer: a way of pooling. Vectors are brought to length 1 whether the checkpoint says so or
/// not, which is what guests are promised.
fn modules(dir: &Path) -> Result<Pooling, LoadError> {
    let path = dir.join("modules.json");
    let Some(modules) = optional::<Vec<Module>>(&path)? else {
        return pooling(&dir.join("1_Pooling/config.json"));
    };
    let kind = |module: &Module| module.r#type.rsplit('.').next().unwrap_or_default().to_owned();
    let kinds: Vec<String> = modules.iter().map(kind).collect();
    match kinds.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["Transformer", "Pooling"] | ["Transformer", "Pooling", "Normalize"] => {}
        _ => {
            let rule = "only Transformer, Pooling and at the end Normalize are";
            return Err(unsupported(&path, "type", &kinds.join(", "), rule));
        }
    }
    // The file tells where its modules are; a name with a way out of the checkpoint is none.
    let place = modules.get(1).map(|module| module.path.as_str()).unwrap_or_default();
    if !place.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(unsupported(&path, "path", place, "it is a folder of the checkpoint"));
    }
    pooling(&dir.join(place).join("config.json"))
}

fn pooling(path: &Path) -> Result<Pooling, LoadError> {
    let Some(pool) = optional::<Pool>(path)? else { return Ok(Pooling::Mean) };
    let switches = [
        ("mean", pool.pooling_mode_mean_tokens),
        ("cls", pool.pooling_mode_cls_token),
        ("max", pool.pooling_mode_max_tokens),
        ("mean_sqrt_len_tokens", pool.pooling_mode_mean_sqrt_len_tokens),
        ("weightedmean", pool.pooling_mode_weightedmean_tokens),
        ("lasttoken", pool.pooling_mode_lasttoken),
    ];
    let on = |switches: &[(&str, bool)]| {
        switches.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()).collect()
    };
    let modes: Vec<String> = match pool.pooling_mode {
        Some(Modes::One(mode)) => vec![mode],
        Some(Modes::Many(modes)) => modes,
        None => on(&switches),
    };
    match modes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["mean"] => Ok(Pooling::Mean),
        ["cls"] => Ok(Pooling::Cls),
        ["max"] => Ok(Pooling::Max),
        _ => Err(unsupported(path, "pooling_mode", &modes.join(", "), "exactly one of mean, cls and max is")),
    }
}

pub(super) fn unsupported(path: &Path, key: &'static str, value: &str, rule: &'static str) -> LoadError {
    // A hostile file does not get to write a long message.
    let value = value.chars().take(80).collect();
    Fault::Unsupported { key, value, rule }.of(path)
}

/// The bytes of a file that is to be small.
fn bytes(path: &Path, max: u64) -> Result<Vec<u8>, LoadError> {
    let failed = |error| Fault::Read(error).of(path);
    let mut bytes = Vec::new();
    // One more than may be: a file that grows while it is read is refused too.
    File::open(path).map_err(failed)?.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(Fault::TooLarge(max).of(path));
    }
    Ok(bytes)
}

/// A JSON file of at most `max` bytes.
pub(super) fn json<T: DeserializeOwned>(path: &Path, max: u64) -> Result<T, LoadError> {
    let failed = |error| Fault::Json(error).of(path);
    serde_json::from_slice(&bytes(path, max)?).map_err(failed)
}

/// The same where the file need not be there.
fn optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LoadError> {
    match json(path, MAX_CONFIG_BYTES) {
        Err(LoadError { fault: Fault::Read(error), .. }) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        read => read.map(Some),
    }
}
