//! A checkpoint small enough to be made in a test, and what its vectors are: computed in f64, as the formulas
//! are written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use half::{bf16, f16};
use rand::RngExt;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

/// Sizes that no vector width divides.
pub const HEADS: usize = 3;
const INTERMEDIATE: usize = 52;
const LAYERS: usize = 2;
const POSITIONS: usize = 200;
/// What the tokenizer knows; a model may know more words than that.
pub const VOCABULARY: usize = 40;

pub fn random(range: Range<usize>) -> usize {
    rand::rng().random_range(range)
}

/// A checkpoint in a folder of its own, with fresh random numbers.
pub struct Tiny {
    dir: tempfile::TempDir,
    pub hidden: usize,
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Tiny {
    pub fn new() -> Tiny {
        let hidden = 36;
        let mut tensors = BTreeMap::new();
        let mut add = |name: String, shape: &[usize], range: Range<f32>| {
            let numbers =
                (0..shape.iter().product()).map(|_| rand::rng().random_range(range.clone())).collect();
            tensors.insert(name, (shape.to_vec(), numbers));
        };
        for (name, rows) in [("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)] {
            add(format!("embeddings.{name}_embeddings.weight"), &[rows, hidden], -1.0..1.0);
        }
        let mut norms = vec!["embeddings.LayerNorm".to_owned()];
        for layer in (0..LAYERS).map(|layer| format!("encoder.layer.{layer}")) {
            for (name, inputs, outputs) in [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("intermediate.dense", hidden, INTERMEDIATE),
                ("output.dense", INTERMEDIATE, hidden),
            ] {
                add(format!("{layer}.{name}.weight"), &[outputs, inputs], -0.4..0.4);
                add(format!("{layer}.{name}.bias"), &[outputs], -0.5..0.5);
            }
            norms
                .extend([format!("{layer}.attention.output.LayerNorm"), format!("{layer}.output.LayerNorm")]);
        }
        for norm in norms {
            add(format!("{norm}.weight"), &[hidden], 0.5..1.5);
            add(format!("{norm}.bias"), &[hidden], -0.5..0.5);
        }
        let tiny = Tiny { dir: tempfile::tempdir().unwrap(), hidden, tensors };
        tiny.write(Dtype::F32, "");
        tiny.config("gelu");
        tiny.file("tokenizer.json", &tokenizer());
        tiny
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str, text: &str) {
        let path = self.dir().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir().join(name)).unwrap()
    }

    /// Writes `config.json` with this activation.
    pub fn config(&self, activation: &str) {
        let file = json!({
            "model_type": "bert", "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "hidden_size": self.hidden, "intermediate_size": INTERMEDIATE, "hidden_act": activation,
            "layer_norm_eps": 1e-12, "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS,
            "type_vocab_size": 2,
        });
        self.file("config.json", &file.to_string());
    }

    /// Writes `model.safetensors` with numbers of this type and names that begin so.
    pub fn write(&self, dtype: Dtype, prefix: &str) {
        let bytes = |numbers: &[f32]| -> Vec<u8> {
            match dtype {
                Dtype::F16 => {
                    numbers.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()).collect()
                }
                Dtype::BF16 => {
                    numbers.iter().flat_map(|number| bf16::from_f32(*number).to_le_bytes()).collect()
                }
                Dtype::F64 => numbers.iter().flat_map(|number| f64::from(*number).to_le_bytes()).collect(),
                _ => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            }
        };
        let all: Vec<_> =
            self.tensors.iter().map(|(name, (shape, numbers))| (name, shape, bytes(numbers))).collect();
        let views = all.iter().map(|(name, shape, bytes)| {
            (format!("{prefix}{name}"), TensorView::new(dtype, (*shape).clone(), bytes).unwrap())
        });
        let path = self.dir().join("model.safetensors");
        std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }

    /// What each token is after the last layer, row by row.
    pub fn rows(&self, ids: &[u32], activation: fn(f64) -> f64) -> Vec<Vec<f64>> {
        let table = |name: &str, row: usize| -> Vec<f64> {
            let numbers = &self.tensors[&format!("embeddings.{name}_embeddings.weight")].1;
            numbers[row * self.hidden..(row + 1) * self.hidden].iter().copied().map(f64::from).collect()
        };
        let embed = |(at, id): (usize, &u32)| {
            let row =
                sum(&sum(&table("word", *id as usize), &table("position", at)), &table("token_type", 0));
            self.norm("embeddings.LayerNorm", &row)
        };
        let mut x: Vec<Vec<f64>> = ids.iter().enumerate().map(embed).collect();
        for layer in (0..LAYERS).map(|layer| format!("encoder.layer.{layer}")) {
            let of = |part: &str| -> Vec<Vec<f64>> {
                x.iter().map(|row| self.linear(&format!("{layer}.attention.self.{part}"), row)).collect()
            };
            let found = attention(&of("query"), &of("key"), &of("value"));
            let step = |(x, found): (&Vec<f64>, &Vec<f64>)| {
                let added = sum(x, &self.linear(&format!("{layer}.attention.output.dense"), found));
                let x = self.norm(&format!("{layer}.attention.output.LayerNorm"), &added);
                let up = self.linear(&format!("{layer}.intermediate.dense"), &x);
                let middle: Vec<f64> = up.into_iter().map(activation).collect();
                let added = sum(&x, &self.linear(&format!("{layer}.output.dense"), &middle));
                self.norm(&format!("{layer}.output.LayerNorm"), &added)
            };
            x = x.iter().zip(&found).map(step).collect();
        }
        x
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (weight, bias) =
            (&self.tensors[&format!("{name}.weight")].1, &self.tensors[&format!("{name}.bias")].1);
        let rows = weight.chunks(x.len()).zip(bias);
        rows.map(|(row, bias)| f64::from(*bias) + dot(x, row.iter().copied().map(f64::from))).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (weight, bias) =
            (&self.tensors[&format!("{name}.weight")].1, &self.tensors[&format!("{name}.bias")].1);
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let both = weight.iter().zip(bias);
        let scaled = x.iter().zip(both).map(|(x, (weight, bias))| {
            (x - mean) / (variance + 1e-12).sqrt() * f64::from(*weight) + f64::from(*bias)
        });
        scaled.collect()
    }
}

fn attention(query: &[Vec<f64>], key: &[Vec<f64>], value: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let size = query[0].len() / HEADS;
    let head = |query: &[f64], head: usize| -> Vec<f64> {
        let part = head * size..(head + 1) * size;
        let score = |key: &Vec<f64>| {
            dot(&query[part.clone()], key[part.clone()].iter().copied()) / (size as f64).sqrt()
        };
        let exps: Vec<f64> = key.iter().map(|key| score(key).exp()).collect();
        let all: f64 = exps.iter().sum();
        part.clone().map(|at| dot(&exps, value.iter().map(|value| value[at])) / all).collect()
    };
    query.iter().map(|query| (0..HEADS).flat_map(|at| head(query, at)).collect()).collect()
}

fn dot(left: &[f64], right: impl Iterator<Item = f64>) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn sum(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().zip(right).map(|(left, right)| left + right).collect()
}

/// With the error function by its series.
pub fn gelu(x: f64) -> f64 {
    let z = (x / std::f64::consts::SQRT_2).clamp(-5.0, 5.0);
    let (mut term, mut sum) = (z, z);
    for n in 1..200 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    if x < -7.0 { 0.0 } else { x * (1.0 + sum * std::f64::consts::FRAC_2_SQRT_PI) / 2.0 }
}

pub fn gelu_tanh(x: f64) -> f64 {
    x * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044_715 * x.powi(3))).tanh()) / 2.0
}

/// A tokenizer of a few words that would cut texts to 8 tokens and fill them up, if it were let.
fn tokenizer() -> String {
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "ab", "abc", "##c", "x", "?", ","];
    let vocabulary: BTreeMap<&str, usize> = words.into_iter().zip(0..).collect();
    let special = |(id, word): (usize, &&str)| {
        let plain = json!({"single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
        let mut token = json!({"id": id, "special": true, "content": word});
        token.as_object_mut().unwrap().extend(plain.as_object().unwrap().clone());
        token
    };
    let file = json!({
        "version": "1.0",
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {
            "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
        },
        "added_tokens": words.iter().take(5).enumerate().map(special).collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    });
    file.to_string()
}
