// TextEncoder and TextDecoder for UTF-8, which QuickJS does not have.

// Bytes are decoded in pieces of this size, for the sake of memory.
const PIECE = 8192;

export class TextEncoder {
  get encoding() {
    return 'utf-8';
  }

  /** Lone surrogates become U+FFFD. */
  encode(text = '') {
    // One character per byte.
    const binary = unescape(encodeURIComponent(String(text).toWellFormed()));
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) {
      bytes[i] = binary.charCodeAt(i);
    }
    return bytes;
  }
}

export class TextDecoder {
  constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    if (!/^\s*(unicode-1-1-)?utf-?8\s*$/i.test(label)) {
      throw new RangeError(`the encoding ${label} is not supported: only utf-8 is`);
    }
    this.fatal = fatal;
    this.ignoreBOM = ignoreBOM;
  }

  get encoding() {
    return 'utf-8';
  }

  /** What is not UTF-8 becomes U+FFFD, or a TypeError if `fatal`. */
  decode(data = new Uint8Array()) {
    const bytes = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data);
    const pieces = [];
    for (let start = 0, end = 0; start < bytes.length; start = end) {
      end = Math.min(start + PIECE, bytes.length);
      // Not between the bytes of a character, which are four at most.
      while (end < bytes.length && end > start + PIECE - 4 && (bytes[end] & 0xc0) === 0x80) {
        end--;
      }
      pieces.push(this.#decode(String.fromCharCode.apply(null, bytes.subarray(start, end))));
    }
    const text = pieces.join('');
    return !this.ignoreBOM && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  }

  #decode(binary) {
    if (!/[^\x00-\x7f]/.test(binary)) {
      return binary;
    }
    try {
      // The engine's own decoder, which is fast and stops at the first fault.
      return decodeURIComponent(escape(binary));
    } catch {
      if (this.fatal) {
        throw new TypeError('the data is not UTF-8');
      }
      return decodeFaulty(binary);
    }
  }
}

/** U+FFFD for every longest beginning of a character that does not go on as it must. */
function decodeFaulty(binary) {
  let text = '';
  for (let i = 0; i < binary.length; ) {
    const lead = binary.charCodeAt(i++);
    if (lead < 0x80) {
      text += binary[i - 1];
      continue;
    }
    let missing = lead < 0xc2 || lead > 0xf4 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    let point = lead & (0x3f >> missing);
    let complete = missing > 0;
    // The second byte keeps out what has a shorter form, surrogates, and what is beyond U+10FFFF.
    let lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
    let highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
    for (; missing > 0; missing--, i++) {
      const byte = i < binary.length ? binary.charCodeAt(i) : 0;
      if (byte < lowest || byte > highest) {
        complete = false;
        break;
      }
      point = (point << 6) | (byte & 0x3f);
      lowest = 0x80;
      highest = 0xbf;
    }
    text += complete ? String.fromCodePoint(point) : '\ufffd';
  }
  return text;
}
