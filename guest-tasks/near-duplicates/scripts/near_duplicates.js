// Finds lines of a text that say nearly the same, as the component beside it does:
// `omnimind run near_duplicates.js --input '{"text": "…", "threshold": 0.8}'`.

const MAX_PAIRS = 1000;

function run({ text, threshold = 0.8 }) {
  const numbered = text
    .split('\n')
    .map((line, at) => ({ number: at + 1, line: line.trim() }))
    // Those that say something.
    .filter(({ line }) => /[\p{L}\p{N}]/u.test(line));
  const vectors = omnimind.embedTensor(numbered.map(({ line }) => line));
  const similar = vectors.matmul(vectors.transpose()).toArray();
  const pairs = [];
  similar.forEach((row, one) => {
    row.forEach((alike, other) => {
      if (other > one && alike >= threshold) {
        pairs.push({ alike, one: numbered[one], other: numbered[other] });
      }
    });
  });
  pairs.sort((a, b) => b.alike - a.alike);
  return {
    model: omnimind.embeddingModel().name,
    lines: numbered.length,
    pairs: pairs.slice(0, MAX_PAIRS).map(({ alike, one, other }) => ({
      similarity: Math.round(alike * 1000) / 1000,
      lines: [one.number, other.number],
      texts: [one.line, other.line],
    })),
  };
}
