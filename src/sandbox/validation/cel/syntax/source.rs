//! An expression's text, and errors with a mark under the place they speak of.

/// The text of an expression.
pub(in super::super) struct Source {
    letters: Vec<char>,
}

/// An error with its place.
#[derive(Clone, Debug)]
pub(in super::super) struct Issue {
    pub(in super::super) place: usize,
    pub(in super::super) message: String,
}

/// Longer lines are not shown.
const MAX_LINE: usize = 16_384;
/// More errors are counted only.
const MAX_ISSUES: usize = 100;

impl Source {
    pub(in super::super) fn new(text: &str) -> Self {
        Self { letters: text.chars().collect() }
    }

    pub(super) fn letters(&self) -> &[char] {
        &self.letters
    }

    /// All errors, in the order of the text.
    pub(in super::super) fn show(&self, mut issues: Vec<Issue>) -> String {
        let more = issues.len().saturating_sub(MAX_ISSUES);
        issues.truncate(MAX_ISSUES);
        issues.sort_by_key(|issue| issue.place);
        let mut shown: Vec<String> = issues.iter().map(|issue| self.show_one(issue)).collect();
        if more > 0 {
            shown.push(format!("{more} more errors were truncated"));
        }
        shown.join("\n")
    }

    /// An error of the whole, which has no place.
    pub(in super::super) fn show_limit(why: &str) -> String {
        format!("ERROR: <input>:-1:0: {why}")
    }

    fn show_one(&self, issue: &Issue) -> String {
        let before = &self.letters[..issue.place.min(self.letters.len())];
        let line = 1 + before.iter().filter(|letter| **letter == '\n').count();
        let start = before.iter().rposition(|letter| *letter == '\n').map_or(0, |at| at + 1);
        let column = issue.place - start;
        let shown: String =
            self.letters[start..].iter().take_while(|letter| **letter != '\n').collect();
        let shown = shown.replace('\t', " ");
        let head = format!("ERROR: <input>:{line}:{}: {}", column + 1, issue.message);
        if self.letters.is_empty() || shown.len() > MAX_LINE {
            return head;
        }
        let mut letters = shown.chars();
        let mut marks: String = letters
            .by_ref()
            .take(column)
            .map(|letter| if letter.is_ascii() { '.' } else { '\u{ff0e}' })
            .collect();
        marks.push(if letters.next().is_none_or(|letter| letter.is_ascii()) {
            '^'
        } else {
            '\u{ff3e}'
        });
        format!("{head}\n | {shown}\n | {marks}")
    }
}
