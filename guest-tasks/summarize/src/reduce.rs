//! From parts to one summary: each part is summarized, then what was written of all of them, until it is one part.

use crate::parts::parts;

/// Bytes of a part. A model is loaded with some 4096 tokens, for a part and its summary: text of the hardest scripts has
/// one token for two bytes.
const PART_BYTES: usize = 6000;

/// What is being summarized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// 0 for parts of the text, 1 for parts of what was written of those, and so on.
    pub level: u32,
    /// From 1.
    pub part: usize,
    pub parts: usize,
}

impl Step {
    /// How far all is, in percent, when `share` of this part's summary is there. The first level has 90 of them, each
    /// further one 90 of 100 of what is left: how many there will be is not known.
    pub fn percent(self, share: f32) -> f32 {
        let of_level = (self.part as f32 - 1.0 + share.min(1.0)) / self.parts as f32;
        100.0 - 0.1_f32.powi(self.level as i32) * (100.0 - 90.0 * of_level)
    }
}

/// What a model wrote.
#[derive(Debug)]
pub struct Written {
    pub text: String,
    /// The task has no tokens for more.
    pub ran_out: bool,
}

/// A short text of `text`, by what `write` makes of each part. Where tokens run out, it is what there is, and says so.
pub fn reduce(
    text: &str,
    mut write: impl FnMut(Step, &str) -> Result<Written, String>,
) -> Result<String, String> {
    let mut text = text.to_owned();
    for level in 0.. {
        let parts = parts(&text, PART_BYTES);
        let mut summaries = Vec::new();
        for (part, content) in (1..).zip(&parts) {
            let step = Step { level, part, parts: parts.len() };
            let written = write(step, content)?;
            summaries.push(written.text.trim().to_owned());
            if written.ran_out {
                return cut(&text, &summaries, step);
            }
        }
        let written = summaries.join("\n\n");
        if written.trim().is_empty() {
            return Err("the model wrote nothing: name another `model`".to_owned());
        }
        if parts.len() <= 1 {
            return Ok(written);
        }
        if written.len() >= text.len() {
            return Err("the model writes more than it reads: name another `model`".to_owned());
        }
        text = written;
    }
    // A text gets shorter with every level.
    Err("the text is too long".to_owned())
}

/// What there is when tokens ran out in `step`, and that they did.
fn cut(text: &str, summaries: &[String], step: Step) -> Result<String, String> {
    let Step { level, part, parts } = step;
    let written = summaries.join("\n\n");
    let (there, what) = match level {
        0 if written.trim().is_empty() => {
            return Err(
                "budget llm_tokens exhausted before anything was written: set that limit higher".into()
            );
        }
        0 => (written.trim(), format!("this ends in part {part} of {parts}")),
        // What it was to be made of says more than the beginning of it.
        _ => (text, "these are the summaries of its parts".to_owned()),
    };
    Ok(format!("{there}\n\n[The budget llm_tokens ran out: {what}. Set that limit higher for all of it.]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two paragraphs to a part.
    fn text(paragraphs: usize) -> String {
        (0..paragraphs).map(|at| format!("{at} {}.\n\n", "x".repeat(2500))).collect()
    }

    fn wrote(text: &str) -> Result<Written, String> {
        Ok(Written { text: text.to_owned(), ran_out: false })
    }

    #[test]
    fn a_short_text_is_asked_for_once() {
        let mut steps = Vec::new();
        let made = reduce("One. Two.", |step, part| {
            steps.push((step, part.to_owned()));
            wrote(" Both.\n")
        });
        assert_eq!(made.as_deref(), Ok("Both."));
        assert_eq!(steps, [(Step { level: 0, part: 1, parts: 1 }, "One. Two.".to_owned())]);
    }

    #[test]
    fn the_summaries_of_parts_are_summarized() {
        let mut levels = Vec::new();
        let made = reduce(&text(6), |step, part| {
            levels.push(step.level);
            match step.level {
                0 => wrote(&format!("part {}", step.part)),
                _ => wrote(&part.replace("\n\n", ", ")),
            }
        });
        assert_eq!((made.as_deref(), &*levels), (Ok("part 1, part 2, part 3"), &[0, 0, 0, 1][..]));
    }

    #[test]
    fn many_summaries_are_parts_again() {
        let mut deepest = 0;
        let made = reduce(&text(40), |step, _| {
            deepest = step.level;
            wrote(&"word ".repeat(200))
        });
        assert!(made.is_ok() && deepest == 2, "{deepest}");
    }

    #[test]
    fn where_tokens_run_out_there_is_what_there_is() {
        let at = |level, part| {
            reduce(&text(6), move |step, _| {
                Ok(Written {
                    text: format!("part {}", step.part),
                    ran_out: (step.level, step.part) == (level, part),
                })
            })
        };
        let first = at(0, 2).unwrap();
        assert!(first.starts_with("part 1\n\npart 2\n\n[The budget llm_tokens ran out"), "{first}");
        assert!(first.contains("part 2 of 3"), "{first}");
        let second = at(1, 1).unwrap();
        assert!(second.starts_with("part 1\n\npart 2\n\npart 3\n\n["), "{second}");
        let none = reduce("text", |_, _| Ok(Written { text: String::new(), ran_out: true }));
        assert!(none.unwrap_err().contains("llm_tokens"));
    }

    #[test]
    fn a_model_that_does_not_shorten_is_an_error() {
        assert!(reduce(&text(6), |_, part| wrote(&part.repeat(2))).unwrap_err().contains("`model`"));
        assert!(reduce(&text(6), |_, _| wrote(" ")).unwrap_err().contains("nothing"));
        assert_eq!(reduce("text", |_, _| Err("why".to_owned())), Err("why".to_owned()));
    }

    #[test]
    fn progress_only_grows() {
        let step = |level, part| Step { level, part, parts: 2 };
        let all =
            [(step(0, 1), 0.0), (step(0, 1), 2.0), (step(0, 2), 1.0), (step(1, 1), 0.5), (step(2, 2), 1.0)];
        let percents = all.map(|(step, share)| step.percent(share).round());
        assert_eq!(percents, [0.0, 45.0, 90.0, 92.0, 100.0]);
    }
}
