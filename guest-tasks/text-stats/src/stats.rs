//! The counting. Word boundaries are Unicode's (UAX #29); sentences follow a rule of our own, because
//! UAX #29 ends a sentence at every line break, and most plain text is hard-wrapped.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation;

use crate::stop_words::is_stop_word;

const TOP_TERMS: usize = 20;
const LONGEST_WORDS: usize = 5;

/// What is reported about a text. Averages are rounded to two decimals and 0 for an empty text.
#[derive(Debug, Default, Serialize)]
pub struct TextStats {
    /// Unicode scalar values, white space and line breaks included.
    pub characters: u64,
    /// Stretches between UAX #29 word boundaries that hold a letter or a digit: `don't`, `3.14` and
    /// `example.com` are one word each, `well-known` is two, a Chinese ideograph is one.
    pub words: u64,
    /// Different words, ignoring case.
    pub unique_words: u64,
    /// A sentence is one or more words up to `.`, `!`, `?`, `…` or their East Asian, Arabic and Devanagari
    /// forms, a blank line, or the end. Abbreviations are not known: `Dr. Smith left.` is two.
    pub sentences: u64,
    /// A final line break starts no further line.
    pub lines: u64,
    /// In characters.
    pub average_word_length: f64,
    /// In words.
    pub average_sentence_length: f64,
    /// The longest different words, lower-cased; among equals, alphabetical order.
    pub longest_words: Vec<String>,
    /// The most frequent words, lower-cased, without English stop words and plain numbers; among equals,
    /// alphabetical order.
    pub top_terms: Vec<Term>,
}

/// A word and how often it occurs.
#[derive(Debug, PartialEq, Serialize)]
pub struct Term {
    pub term: String,
    pub count: u64,
}

impl TextStats {
    /// Counts `text`.
    pub fn of(text: &str) -> TextStats {
        let mut stats = TextStats {
            characters: text.chars().count() as u64,
            lines: text.lines().count() as u64,
            ..TextStats::default()
        };
        let mut occurrences: HashMap<String, u64> = HashMap::new();
        let mut letters = 0;
        let mut sentence_open = false;
        let mut line_breaks = 0;
        for piece in text.split_word_bounds() {
            let ends_sentence = if piece.chars().any(char::is_alphanumeric) {
                stats.words += 1;
                letters += piece.chars().count() as u64;
                *occurrences.entry(fold(piece)).or_default() += 1;
                sentence_open = true;
                line_breaks = 0;
                false
            } else if piece.chars().all(char::is_whitespace) {
                line_breaks += u32::from(matches!(piece, "\n" | "\r" | "\r\n" | "\u{2029}"));
                line_breaks >= 2
            } else {
                line_breaks = 0;
                piece.chars().any(is_sentence_end)
            };
            if ends_sentence && sentence_open {
                stats.sentences += 1;
                sentence_open = false;
            }
        }
        stats.sentences += u64::from(sentence_open);
        stats.unique_words = occurrences.len() as u64;
        stats.average_word_length = average(letters, stats.words);
        stats.average_sentence_length = average(stats.words, stats.sentences);
        stats.longest_words = longest_words(&occurrences);
        stats.top_terms = top_terms(occurrences);
        stats
    }
}

/// Lower case, and one form of the apostrophe, so that `Don’t` and `don't` are the same word.
fn fold(word: &str) -> String {
    word.to_lowercase().replace('’', "'")
}

fn is_sentence_end(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '．' | '؟' | '।')
}

fn average(sum: u64, count: u64) -> f64 {
    let exact = sum as f64 / count.max(1) as f64;
    (exact * 100.0).round() / 100.0
}

fn longest_words(occurrences: &HashMap<String, u64>) -> Vec<String> {
    let mut words: Vec<(Reverse<usize>, &String)> =
        occurrences.keys().map(|word| (Reverse(word.chars().count()), word)).collect();
    words.sort_unstable();
    let longest = words.into_iter().take(LONGEST_WORDS);
    longest.map(|(_, word)| word.clone()).collect()
}

fn top_terms(occurrences: HashMap<String, u64>) -> Vec<Term> {
    let mut terms: Vec<(Reverse<u64>, String)> = occurrences
        .into_iter()
        .filter(|(word, _)| word.chars().any(char::is_alphabetic) && !is_stop_word(word))
        .map(|(word, count)| (Reverse(count), word))
        .collect();
    terms.sort_unstable();
    let top = terms.into_iter().take(TOP_TERMS);
    top.map(|(Reverse(count), term)| Term { term, count }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_is_all_zero() {
        let stats = TextStats::of("");
        assert_eq!((stats.characters, stats.words, stats.lines), (0, 0, 0));
        assert_eq!((stats.sentences, stats.unique_words), (0, 0));
        assert_eq!(stats.average_word_length, 0.0);
        assert!(stats.top_terms.is_empty());
    }

    #[test]
    fn an_english_text_is_counted() {
        let stats = TextStats::of("The cat saw the dog.\nDon't panic! Pi is 3.14");
        assert_eq!((stats.words, stats.unique_words), (10, 9));
        assert_eq!((stats.sentences, stats.lines), (3, 2));
        assert_eq!(stats.characters, 44);
        assert_eq!(stats.average_sentence_length, 3.33);
        let terms: Vec<&str> = stats.top_terms.iter().map(|t| t.term.as_str()).collect();
        assert_eq!(terms, ["cat", "dog", "panic", "pi", "saw"]);
    }

    #[test]
    fn letters_beyond_ascii_are_letters() {
        let stats = TextStats::of("Über ÜBER über. Привет, мир! Ёлка");
        assert_eq!((stats.words, stats.unique_words), (6, 4));
        assert_eq!(stats.sentences, 3);
        assert_eq!(stats.top_terms.first(), Some(&Term { term: "über".into(), count: 3 }));
        assert_eq!(TextStats::of("我爱你。你好！").sentences, 2);
    }

    #[test]
    fn a_wrapped_line_goes_on_and_a_blank_line_ends_the_sentence() {
        assert_eq!(TextStats::of("one\ntwo\nthree").sentences, 1);
        assert_eq!(TextStats::of("Heading\r\n \r\nText").sentences, 2);
        assert_eq!(TextStats::of("Wait... what?! No").sentences, 3);
        assert_eq!(TextStats::of("... \n\n !?").sentences, 0);
    }

    #[test]
    fn terms_of_equal_count_are_in_alphabetical_order_and_twenty_at_most() {
        let text: String = (b'a'..=b'z').rev().map(|c| format!("{0}{0} ", c as char)).collect();
        let stats = TextStats::of(&format!("{text} zz"));
        assert_eq!(stats.top_terms.len(), TOP_TERMS);
        let first: Vec<&str> = stats.top_terms.iter().take(3).map(|t| t.term.as_str()).collect();
        assert_eq!(first, ["zz", "aa", "bb"]);
    }

    #[test]
    fn curly_and_straight_apostrophes_are_one_word() {
        assert_eq!(TextStats::of("It’s it's IT’S").unique_words, 1);
    }
}
