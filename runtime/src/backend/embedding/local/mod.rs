//! The embedding model that the runtime computes itself: a BERT encoder on the CPU.
//!
//! A checkpoint is a folder as sentence-transformers writes it: `config.json`, `model.safetensors`,
//! `tokenizer.json`, and what says how vectors are pooled. It is input like any other: whatever is in the files,
//! loading ends with a model or with an error that names the file and the rule. What would change a vector and is
//! not computed here is refused, so that vectors agree with those of sentence-transformers.

mod attention;
mod backend;
mod config;
mod forward;
mod math;
#[cfg(test)]
mod testing;
mod tokens;
mod weights;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use backend::Local;
use config::Config;
use math::Math;
pub use tokens::Encoding;
use tokens::Tokens;
use weights::Weights;

/// A checkpoint in memory, ready to be used by many threads.
pub struct Model {
    name: String,
    config: Config,
    tokens: Tokens,
    weights: Weights,
    math: Math,
}

/// What a forward pass comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pass {
    /// The vectors one after another, `dimensions` numbers each.
    pub vectors: Vec<f32>,
    /// CPU time of all threads together.
    pub cpu: Duration,
}

/// What a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// What its folder is called.
    pub name: String,
    /// Numbers of a vector.
    pub dimensions: usize,
    /// Tokens of a text, the special ones at its ends among them.
    pub max_tokens: usize,
    /// Bytes that its numbers take.
    pub bytes: usize,
}

/// Why a checkpoint was not loaded.
#[derive(Debug, thiserror::Error)]
#[error("{}{fault}", .path.display())]
pub struct LoadError {
    path: PathBuf,
    fault: Fault,
}

/// What is wrong with a file of a checkpoint, and the way out.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(": {0}: a checkpoint is a folder with config.json, model.safetensors and tokenizer.json")]
    Read(std::io::Error),
    #[error(" is longer than {0} bytes, which none of its kind is: download it again")]
    TooLarge(u64),
    #[error(": {0}: download it again, or export the model again")]
    Json(serde_json::Error),
    /// It would change vectors and is not computed here.
    #[error(": {key} is {value:?}: {rule}; take another checkpoint, such as all-MiniLM-L6-v2")]
    Unsupported { key: &'static str, value: String, rule: &'static str },
    #[error(": {0}: download it again, or export the model again")]
    Tokenizer(tokenizers::Error),
    #[error(" has {found} bytes and its header tells of {needed}: download it again")]
    Incomplete { found: u64, needed: u64 },
    #[error(" has no tensor {0}, which config.json asks for: take both from the same model")]
    Missing(String),
    #[error(": {name} is {found:?} and {needed:?} by config.json: take both from the same model")]
    Shape { name: String, found: Vec<usize>, needed: Vec<usize> },
    #[error(": {name} is of type {found:?}, and F32, F16 and BF16 are read: export the model in one of them")]
    Type { name: String, found: safetensors::Dtype },
    #[error(": {0} holds what is no finite number: download the file again")]
    NotFinite(String),
    #[error(": threads for the model: {0}")]
    Threads(rayon::ThreadPoolBuildError),
}

impl Fault {
    fn of(self, path: &Path) -> LoadError {
        LoadError { path: path.to_owned(), fault: self }
    }
}

/// Why a text has no vector.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It has too many tokens. They are counted until it is clear, so there may be more.
    #[error("a text has {tokens} tokens or more and the model takes {max}: split the text")]
    TooLong {
        /// How many were counted.
        tokens: usize,
        /// How many may be.
        max: usize,
    },
    /// The tokenizer's own refusal.
    #[error("tokenizer: {0}")]
    Tokenizer(tokenizers::Error),
}

/// Why there are no vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The caller did not want to go on.
    #[error("stopped: nobody waits for the vectors any more")]
    Stopped,
    /// A text was encoded by another model.
    #[error("a text was encoded for another model: encode it with the one that is to embed it")]
    Foreign,
    /// A product of this module with wrong shapes.
    #[error("embedding: {0}")]
    Shape(#[from] crate::backend::gemm::Mismatch),
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Loads the checkpoint in `dir`: some hundred milliseconds, and as much memory as its numbers take as f32.
    ///
    /// # Errors
    /// A file is missing, damaged, or asks for what is not computed here.
    pub fn load(dir: &Path) -> Result<Model, LoadError> {
        let config = Config::read(dir)?;
        let tokens = Tokens::read(dir, config.max_tokens, config.vocabulary)?;
        let weights = Weights::read(dir, &config)?;
        let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned();
        Ok(Model { name, config, tokens, weights, math: Math::new() })
    }

    /// What it is.
    pub fn describe(&self) -> Description {
        Description {
            name: self.name.clone(),
            dimensions: self.config.hidden,
            max_tokens: self.config.max_tokens,
            bytes: self.weights.bytes(),
        }
    }

    /// The tokens of `text`, all of them: nothing is cut off. Takes time and memory by the length of the text, up to
    /// four hundred bytes for one of it: whoever calls it bounds that.
    ///
    /// # Errors
    /// The text is too long.
    pub fn encode(&self, text: &str) -> Result<Encoding, EncodeError> {
        self.tokens.encode(text)
    }

    /// The vectors of `texts`, on at most `threads` threads of the
    /// current rayon pool; one thread needs no pool. Asks `go_on` every few milliseconds.
    ///
    /// However many texts there are, each thread holds about a thousand tokens at a time, or one text if that is
    /// longer: with MiniLM some 10 MiB.
    ///
    /// # Errors
    /// `go_on` said no, or a text is not of this model.
    pub fn forward(
        &self,
        texts: &[Encoding],
        threads: usize,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Pass, ForwardError> {
        forward::forward(self, texts, threads, go_on)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Tiny, random};
    use super::*;
    use safetensors::Dtype;

    /// What loading a checkpoint with a changed file ends with: never a panic, and here never a model.
    fn refusal(tiny: &Tiny) -> String {
        Model::load(tiny.dir()).unwrap_err().to_string()
    }

    #[test]
    fn a_model_tells_what_it_is() {
        let tiny = Tiny::new();
        let about = Model::load(tiny.dir()).unwrap().describe();
        assert_eq!((about.dimensions, about.max_tokens), (tiny.hidden, 200));
        let numbers: usize = tiny.tensors.values().map(|(_, numbers)| numbers.len()).sum();
        // What stands for the segments is added to the positions.
        assert_eq!(about.bytes, 4 * (numbers - 2 * tiny.hidden));
        tiny.file("sentence_bert_config.json", r#"{"max_seq_length": 70}"#);
        assert_eq!(Model::load(tiny.dir()).unwrap().describe().max_tokens, 70);
        tiny.file("tokenizer_config.json", r#"{"model_max_length": 60}"#);
        assert_eq!(Model::load(tiny.dir()).unwrap().describe().max_tokens, 60);
        tiny.file("tokenizer_config.json", r#"{"model_max_length": 1000000000000000019884624838656}"#);
        assert_eq!(Model::load(tiny.dir()).unwrap().describe().max_tokens, 70);
    }

    #[test]
    fn vectors_have_length_1_whatever_the_checkpoint_says() {
        let tiny = Tiny::new();
        tiny.file(
            "modules.json",
            r#"[{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"}]"#,
        );
        let model = Model::load(tiny.dir()).unwrap();
        let vector = model.forward(&[model.encode("abc x").unwrap()], 1, &|| true).unwrap().vectors;
        let squares: f32 = vector.iter().map(|number| number * number).sum();
        assert!((squares - 1.0).abs() < 1e-5, "{squares}");
    }

    #[test]
    fn what_is_not_computed_here_is_refused_by_file_key_and_rule() {
        let tiny = Tiny::new();
        let config = tiny.read("config.json");
        for (from, to, key) in [
            ("\"bert\"", "\"roberta\"", "model_type"),
            ("\"gelu\"", "\"silu\"", "hidden_act"),
            ("\"num_attention_heads\":3", "\"num_attention_heads\":5", "num_attention_heads"),
            ("\"num_attention_heads\":3", "\"num_attention_heads\":0", "num_attention_heads"),
            ("\"hidden_size\":36", "\"hidden_size\":9999999999", "hidden_size"),
            ("\"hidden_size\":36", "\"hidden_size\":65538", "hidden_size"),
            ("\"max_position_embeddings\":200", "\"max_position_embeddings\":8193", "max_position"),
            ("\"layer_norm_eps\":1e-12", "\"layer_norm_eps\":-1.0", "layer_norm_eps"),
            ("\"type_vocab_size\"", "\"is_decoder\":true,\"type_vocab_size\"", "is_decoder"),
            (
                "\"type_vocab_size\"",
                "\"position_embedding_type\":\"relative_key\",\"type_vocab_size\"",
                "position_embedding_type",
            ),
        ] {
            assert!(config.contains(from), "{from}");
            tiny.file("config.json", &config.replace(from, to));
            let message = refusal(&tiny);
            assert!(message.contains("config.json") && message.contains(key), "{message}");
        }
        tiny.file("config.json", &config);
        for (file, text, key) in [
            ("1_Pooling/config.json", r#"{"pooling_mode": "weightedmean"}"#, "pooling_mode"),
            ("1_Pooling/config.json", r#"{"pooling_mode": ["mean", "max"]}"#, "pooling_mode"),
            (
                "1_Pooling/config.json",
                r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#,
                "pooling_mode",
            ),
            (
                "modules.json",
                r#"[{"path": "", "type": "Transformer"}, {"path": "p", "type": "Pooling"}, {"path": "d", "type": "Dense"}]"#,
                "Dense",
            ),
            (
                "modules.json",
                r#"[{"path": "", "type": "Transformer"}, {"path": "../p", "type": "Pooling"}]"#,
                "path",
            ),
            ("sentence_bert_config.json", r#"{"max_seq_length": 0}"#, "max_seq_length"),
            ("sentence_bert_config.json", r#"{"do_lower_case": true}"#, "do_lower_case"),
        ] {
            tiny.file(file, text);
            let message = refusal(&tiny);
            assert!(message.contains(file) && message.contains(key), "{message}");
            std::fs::remove_file(tiny.dir().join(file)).unwrap();
        }
        let tokenizer = tiny.read("tokenizer.json");
        for (from, to, key) in [
            ("\"WordPiece\"", "\"Unigram\"", "model.type"),
            ("\"BertNormalizer\"", "\"NFC\"", "normalizer.type"),
            ("\"BertPreTokenizer\"", "\"Whitespace\"", "pre_tokenizer.type"),
            (
                "\"max_input_chars_per_word\":100",
                "\"max_input_chars_per_word\":100000",
                "max_input_chars_per_word",
            ),
            ("\"[MASK]\"", "\"[MA SK]\"", "added_tokens"),
            ("\"abc\":8", "\"abc\":800", "vocab"),
        ] {
            assert!(tokenizer.contains(from), "{from}");
            tiny.file("tokenizer.json", &tokenizer.replace(from, to));
            let message = refusal(&tiny);
            assert!(message.contains("tokenizer.json") && message.contains(key), "{message}");
        }
    }

    #[test]
    fn a_tensor_that_is_missing_or_of_another_shape_or_type_is_named() {
        let mut tiny = Tiny::new();
        let name = "encoder.layer.1.output.dense.weight";
        let right = tiny.tensors.remove(name).unwrap();
        tiny.write(Dtype::F32, "");
        let fault = |tiny: &Tiny| Model::load(tiny.dir()).unwrap_err().fault;
        assert!(matches!(fault(&tiny), Fault::Missing(missing) if missing == name));
        let (shape, mut numbers) = right;
        tiny.tensors.insert(name.to_owned(), (shape.iter().rev().copied().collect(), numbers.clone()));
        tiny.write(Dtype::F32, "");
        assert!(matches!(fault(&tiny), Fault::Shape { name: wrong, .. } if wrong == name));
        numbers[5] = f32::NAN;
        tiny.tensors.insert(name.to_owned(), (shape, numbers));
        tiny.write(Dtype::F32, "");
        assert!(matches!(fault(&tiny), Fault::NotFinite(wrong) if wrong == name));
        tiny.write(Dtype::F64, "");
        assert!(matches!(fault(&tiny), Fault::Type { .. }));
    }

    #[test]
    fn a_layer_count_that_the_file_has_not_ends_at_the_first_missing_one() {
        let tiny = Tiny::new();
        tiny.file("config.json", &tiny.read("config.json").replace("layers\":2", "layers\":16777215"));
        assert!(refusal(&tiny).contains("encoder.layer.2."), "no room is made for layers that are not there");
    }

    /// The process would end where the system has no room, so nothing is set aside on the word of `config.json` alone.
    #[test]
    fn room_is_made_for_numbers_that_are_in_the_file_only() {
        let mut tiny = Tiny::new();
        let huge = 1 << 16;
        let config = tiny.read("config.json");
        let config = config.replace("\"hidden_size\":36", &format!("\"hidden_size\":{huge}"));
        tiny.file("config.json", &config.replace("heads\":3", "heads\":2"));
        for (name, (shape, numbers)) in &mut tiny.tensors {
            if name.starts_with("embeddings") {
                *shape.last_mut().unwrap() = huge;
                *numbers = vec![0.5; shape.iter().product()];
            }
        }
        tiny.write(Dtype::F32, "");
        let message = refusal(&tiny);
        assert!(message.contains("query.weight"), "{message}");
        // A file of nothing but holes may be as long as it likes.
        let path = tiny.dir().join("model.safetensors");
        std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(refusal(&tiny).contains("longer than"));
    }

    #[test]
    fn a_header_that_lies_about_its_length_is_refused() {
        let tiny = Tiny::new();
        let path = tiny.dir().join("model.safetensors");
        for length in [9, 99_999_999, 100_000_001, u64::MAX - 7, u64::MAX] {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[..8].copy_from_slice(&u64::to_le_bytes(length));
            std::fs::write(&path, &bytes).unwrap();
            refusal(&tiny);
        }
    }

    #[test]
    fn files_that_were_cut_or_changed_are_refused_or_load() {
        let tiny = Tiny::new();
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            let path = tiny.dir().join(file);
            let right = std::fs::read(&path).unwrap();
            for _ in 0..60 {
                std::fs::write(&path, &right[..random(0..right.len())]).unwrap();
                let message = refusal(&tiny);
                assert!(message.contains(file), "{message}");
            }
            for _ in 0..600 {
                let mut bytes = right.clone();
                // The headers of the two large ones are in front, and are what matters.
                let end = if random(0..2) == 0 { bytes.len() } else { bytes.len().min(4000) };
                for _ in 0..random(1..4) {
                    bytes[random(0..end)] ^= 1 << random(0..8);
                }
                std::fs::write(&path, &bytes).unwrap();
                if let Ok(model) = Model::load(tiny.dir()) {
                    for text in ["abc ab, x?", "\u{301}\u{301} é中"] {
                        // Numbers may be anything now; an end is all that is asked for.
                        let _ = model.encode(text).map(|text| model.forward(&[text], 1, &|| true));
                    }
                }
            }
            std::fs::write(&path, right).unwrap();
        }
        Model::load(tiny.dir()).unwrap();
    }

    #[test]
    fn nothing_is_cut_off_and_a_text_of_too_many_tokens_is_refused() {
        let tiny = Tiny::new();
        let model = Model::load(tiny.dir()).unwrap();
        assert_eq!(model.encode("").unwrap().tokens(), 2);
        assert_eq!(model.encode(&"abc ".repeat(198)).unwrap().tokens(), 200, "the file says truncate at 8");
        let error = model.encode(&"abc ".repeat(199)).unwrap_err();
        assert!(matches!(error, EncodeError::TooLong { tokens: 201, max: 200 }), "{error}");
    }

    #[test]
    fn an_encoding_of_another_model_is_refused() {
        let model = Model::load(Tiny::new().dir()).unwrap();
        for ids in [vec![], vec![5, 40], vec![u32::MAX], vec![1; 201]] {
            assert_eq!(model.forward(&[Encoding { ids }], 1, &|| true), Err(ForwardError::Foreign));
        }
    }

    #[test]
    fn no_texts_have_no_vectors() {
        let model = Model::load(Tiny::new().dir()).unwrap();
        assert_eq!(model.forward(&[], 2, &|| true), Ok(Pass::default()));
    }
}
