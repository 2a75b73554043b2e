//! Checkpoints of BERT: one of a few kilobytes, with random numbers, made in a test; and all-MiniLM-L6-v2.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::languages::not_run;
use crate::target_dir;

/// The folder of all-MiniLM-L6-v2, if `cargo xtask test` could get it.
pub fn minilm() -> Option<PathBuf> {
    let folder = target_dir().join("models/all-MiniLM-L6-v2");
    if folder.is_dir() {
        return Some(folder);
    }
    not_run(&format!("{} is not there", folder.display()));
    None
}

/// Numbers of a vector.
pub const DIMENSIONS: usize = 24;

/// Tokens of a text.
pub const MAX_TOKENS: usize = 128;

const WORDS: [&str; 16] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "cat", "dog", "sat", "mat", "##s", "on", "ran",
    "red", ".",
];

/// Writes a small one into `dir`, which is made.
pub fn write(dir: &Path) {
    fs::create_dir_all(dir).expect("a directory");
    let (hidden, middle, layers) = (DIMENSIONS, 48, 2);
    let config = json!({
        "model_type": "bert", "num_hidden_layers": layers, "num_attention_heads": 3, "hidden_size": hidden,
        "intermediate_size": middle, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "vocab_size": WORDS.len(),
        "max_position_embeddings": MAX_TOKENS, "type_vocab_size": 2,
    });
    fs::write(dir.join("config.json"), config.to_string()).expect("a file");
    fs::write(dir.join("tokenizer.json"), tokenizer().to_string()).expect("a file");

    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.word_embeddings.weight".into(), vec![WORDS.len(), hidden]),
        ("embeddings.position_embeddings.weight".into(), vec![MAX_TOKENS, hidden]),
        ("embeddings.token_type_embeddings.weight".into(), vec![2, hidden]),
    ];
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for layer in (0..layers).map(|layer| format!("encoder.layer.{layer}")) {
        for (name, inputs, outputs) in [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", hidden, middle),
            ("output.dense", middle, hidden),
        ] {
            shapes.push((format!("{layer}.{name}.weight"), vec![outputs, inputs]));
            shapes.push((format!("{layer}.{name}.bias"), vec![outputs]));
        }
        norms.extend([format!("{layer}.attention.output.LayerNorm"), format!("{layer}.output.LayerNorm")]);
    }
    for norm in norms {
        shapes.push((format!("{norm}.weight"), vec![hidden]));
        shapes.push((format!("{norm}.bias"), vec![hidden]));
    }
    let (mut header, mut numbers) = (Map::new(), Vec::new());
    let mut seed = u64::from(std::process::id()) + 1;
    for (name, shape) in shapes {
        let begin = numbers.len();
        for _ in 0..shape.iter().product() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (seed >> 40) as f32 / (1_u32 << 24) as f32 - 0.5;
            numbers.extend_from_slice(&number.to_le_bytes());
        }
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, numbers.len()]}));
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&numbers);
    fs::write(dir.join("model.safetensors"), file).expect("a file");
}

fn tokenizer() -> Value {
    let special = |(id, word): (usize, &&str)| json!({"id": id, "special": true, "content": word, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    let vocabulary: Map<String, Value> =
        WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": WORDS.iter().take(5).enumerate().map(special).collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    })
}
