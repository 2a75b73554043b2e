//! The numbers of a checkpoint, out of `model.safetensors` and laid out for the products that need them.
//!
//! The file is not trusted: its header says where what is, and nothing is allocated or read before that agrees
//! with the length of the file and with the sizes in `config.json`. Tensors are read one by one, so loading takes
//! little more memory than the model.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::config::Config;
use super::{Fault, LoadError};

/// More than any BERT has; its numbers take at most twice as much as binary32.
const MAX_BYTES: u64 = 4 << 30;

/// What the format allows at most.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// All numbers of a model.
pub(super) struct Weights {
    /// A row of `hidden` numbers for each token of the vocabulary.
    pub words: Vec<f32>,
    /// A row for each position, what stands for the first segment added.
    pub positions: Vec<f32>,
    pub norm: Norm,
    pub layers: Vec<Layer>,
}

pub(super) struct Layer {
    /// Hidden to query, key and value, head by head: the columns of one head lie side by side, so that a part of
    /// the heads is a range of columns. The query is divided by the root of its size already.
    pub qkv: Linear,
    /// What the heads found, to hidden.
    pub output: Linear,
    pub attention_norm: Norm,
    /// Hidden to intermediate.
    pub up: Linear,
    /// Intermediate to hidden.
    pub down: Linear,
    pub output_norm: Norm,
}

/// `x * weight + bias`.
pub(super) struct Linear {
    /// `inputs` rows of `outputs` numbers. PyTorch has it the other way round; this way `gemm` reads it as it is,
    /// without packing it anew for each product, which is most of the work for a short text.
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Scale and shift of a layer normalisation.
pub(super) struct Norm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Weights {
    /// How many bytes all of them are.
    pub fn bytes(&self) -> usize {
        let linear = |linear: &Linear| linear.weight.len() + linear.bias.len();
        let norm = |norm: &Norm| norm.weight.len() + norm.bias.len();
        let layer = |layer: &Layer| {
            let products = [&layer.qkv, &layer.output, &layer.up, &layer.down].map(linear);
            let norms = [&layer.attention_norm, &layer.output_norm].map(norm);
            products.into_iter().chain(norms).sum::<usize>()
        };
        let layers: usize = self.layers.iter().map(layer).sum();
        size_of::<f32>() * (self.words.len() + self.positions.len() + norm(&self.norm) + layers)
    }

    /// Reads the checkpoint in `dir`.
    pub fn read(dir: &Path, config: &Config) -> Result<Weights, LoadError> {
        let mut file = Checkpoint::open(dir.join("model.safetensors"))?;
        let hidden = config.hidden;
        let words = file.tensor("embeddings.word_embeddings.weight", &[config.vocabulary, hidden])?;
        let mut positions =
            file.tensor("embeddings.position_embeddings.weight", &[config.positions, hidden])?;
        let segments = file.tensor("embeddings.token_type_embeddings.weight", &[config.segments, hidden])?;
        for position in positions.chunks_exact_mut(hidden) {
            position.iter_mut().zip(&segments).for_each(|(position, segment)| *position += segment);
        }
        let norm = file.norm("embeddings.LayerNorm", hidden)?;
        // Not with the number that config.json claims: each layer is there before there is room for it.
        let mut layers = Vec::new();
        for layer in 0..config.layers {
            layers.push(file.layer(&format!("encoder.layer.{layer}"), config)?);
        }
        Ok(Weights { words, positions, norm, layers })
    }
}

/// An open checkpoint whose header agrees with its length.
struct Checkpoint {
    path: PathBuf,
    file: BufReader<File>,
    /// Where the numbers begin.
    start: u64,
    metadata: Metadata,
    /// What names begin with: a model that was saved as part of another has one.
    prefix: &'static str,
}

impl Checkpoint {
    fn open(path: PathBuf) -> Result<Checkpoint, LoadError> {
        let read = |error| Fault::Read(error).of(&path);
        let mut file = BufReader::new(File::open(&path).map_err(read)?);
        let found = file.get_ref().metadata().map_err(read)?.len();
        if found > MAX_BYTES {
            return Err(Fault::TooLarge(MAX_BYTES).of(&path));
        }
        let short = |needed| Fault::Incomplete { found, needed }.of(&path);
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| short(8))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES {
            return Err(Fault::TooLarge(MAX_HEADER_BYTES).of(&path));
        }
        let start = 8 + length;
        if found < start {
            return Err(short(start));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(read)?;
        // This checks that tensors lie side by side and are as long as their shapes say.
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| Fault::Json(error).of(&path))?;
        match start.checked_add(metadata.data_len() as u64) {
            Some(end) if end == found => {}
            end => return Err(short(end.unwrap_or(u64::MAX))),
        }
        let prefixed = metadata.info("bert.embeddings.word_embeddings.weight").is_some();
        Ok(Checkpoint { path, file, start, metadata, prefix: if prefixed { "bert." } else { "" } })
    }

    fn layer(&mut self, layer: &str, config: &Config) -> Result<Layer, LoadError> {
        let Config { hidden, intermediate, heads, .. } = *config;
        Ok(Layer {
            qkv: self.qkv(&format!("{layer}.attention.self"), hidden, heads)?,
            output: self.linear(&format!("{layer}.attention.output.dense"), hidden, hidden)?,
            attention_norm: self.norm(&format!("{layer}.attention.output.LayerNorm"), hidden)?,
            up: self.linear(&format!("{layer}.intermediate.dense"), hidden, intermediate)?,
            down: self.linear(&format!("{layer}.output.dense"), intermediate, hidden)?,
            output_norm: self.norm(&format!("{layer}.output.LayerNorm"), hidden)?,
        })
    }

    fn qkv(&mut self, name: &str, hidden: usize, heads: usize) -> Result<Linear, LoadError> {
        let size = hidden / heads;
        let scale = (size as f32).sqrt().recip();
        let mut qkv = Linear { weight: Vec::new(), bias: vec![0.0; 3 * hidden] };
        for (at, part) in ["query", "key", "value"].into_iter().enumerate() {
            let mut weight = self.tensor(&format!("{name}.{part}.weight"), &[hidden, hidden])?;
            let mut bias = self.tensor(&format!("{name}.{part}.bias"), &[hidden])?;
            // Not before there is a tensor of that size in the file.
            qkv.weight.resize(3 * weight.len(), 0.0);
            if part == "query" {
                weight.iter_mut().chain(&mut bias).for_each(|number| *number *= scale);
            }
            let outputs = weight.chunks_exact(hidden).zip(bias).enumerate();
            for (output, (row, bias)) in outputs {
                let column = output / size * 3 * size + at * size + output % size;
                fill_column(&mut qkv.weight, 3 * hidden, column, row);
                fill_column(&mut qkv.bias, 3 * hidden, column, &[bias]);
            }
        }
        Ok(qkv)
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.tensor(&format!("{name}.bias"), &[outputs])?;
        let mut transposed = vec![0.0; weight.len()];
        for (output, row) in weight.chunks_exact(inputs).enumerate() {
            fill_column(&mut transposed, outputs, output, row);
        }
        Ok(Linear { weight: transposed, bias })
    }

    fn norm(&mut self, name: &str, hidden: usize) -> Result<Norm, LoadError> {
        let weight = self.tensor(&format!("{name}.weight"), &[hidden])?;
        Ok(Norm { weight, bias: self.tensor(&format!("{name}.bias"), &[hidden])? })
    }

    /// The tensor called `name`, which is to have this shape.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let (path, name) = (&self.path, format!("{}{name}", self.prefix));
        let Some(info) = self.metadata.info(&name) else {
            return Err(Fault::Missing(name).of(path));
        };
        if info.shape != shape {
            let (found, needed) = (info.shape.clone(), shape.to_vec());
            return Err(Fault::Shape { name, found, needed }.of(path));
        }
        let (from, to) = info.data_offsets;
        let read = |error| Fault::Read(error).of(path);
        self.file.seek(SeekFrom::Start(self.start + from as u64)).map_err(read)?;
        let bytes = (&mut self.file).take((to - from) as u64);
        let numbers = match info.dtype {
            Dtype::F32 => numbers(bytes, f32::from_le_bytes),
            Dtype::F16 => numbers(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => numbers(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            found => return Err(Fault::Type { name, found }.of(path)),
        };
        let numbers = numbers.map_err(read)?;
        if numbers.len() != shape.iter().product::<usize>() {
            // It was longer when it was opened.
            return Err(read(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(Fault::NotFinite(name).of(path));
        }
        Ok(numbers)
    }
}

/// All numbers in `bytes`, each of `N` of them.
fn numbers<const N: usize>(
    mut bytes: std::io::Take<impl Read>,
    number: impl Fn([u8; N]) -> f32,
) -> std::io::Result<Vec<f32>> {
    let mut numbers = Vec::with_capacity(bytes.limit() as usize / N);
    let mut buffer = [0; 32 << 10];
    let mut filled = 0;
    loop {
        let read = bytes.read(buffer.get_mut(filled..).unwrap_or_default())?;
        filled += read;
        let (whole, rest) = buffer.split_at(filled).0.as_chunks();
        numbers.extend(whole.iter().map(|bytes| number(*bytes)));
        if read == 0 {
            return Ok(numbers);
        }
        let (used, left) = (filled - rest.len(), rest.len());
        buffer.copy_within(used..filled, 0);
        filled = left;
    }
}

/// Writes `numbers` down a column of a matrix with `columns` of them.
fn fill_column(matrix: &mut [f32], columns: usize, column: usize, numbers: &[f32]) {
    let cells = matrix.iter_mut().skip(column).step_by(columns);
    cells.zip(numbers).for_each(|(cell, number)| *cell = *number);
}
