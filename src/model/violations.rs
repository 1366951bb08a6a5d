//! All violations of a write, bounded in size: many violations cannot make the response or the memory use grow.

use super::{Rule, Violation};
use std::fmt;
use std::ops::Deref;

/// How many violations are listed; the rest is counted.
const MAX_LISTED: usize = 20;
/// The maximum length of a path, in bytes. A caller's key may be as long as its body.
const MAX_PATH: usize = 400;
/// The maximum length of a message, in bytes. Lists of allowed values may be long.
const MAX_MESSAGE: usize = 4096;

/// The first violations in the order they were found, and the total count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Violations {
    listed: Vec<Violation>,
    count: usize,
    /// The violated rules, each once.
    rules: Vec<Rule>,
    /// The lists of allowed values that are already in a message.
    shown_lists: Vec<String>,
}

impl Violations {
    /// No violations.
    pub fn new() -> Violations {
        Violations::default()
    }

    /// Adds a violation.
    pub fn push(&mut self, Violation { path, rule, message }: Violation) {
        if self.count_one(rule) {
            self.listed.push(Violation {
                path: truncated(path, MAX_PATH),
                rule,
                message: truncated(message, MAX_MESSAGE),
            });
        }
    }

    /// Adds a violation whose message ends with a list of what is allowed. The list is built only if the violation is
    /// listed, and shown only the first time; later messages are `short` alone.
    pub fn report(
        &mut self,
        path: impl fmt::Display,
        rule: Rule,
        what: &str,
        list: impl FnOnce() -> String,
        short: &str,
    ) {
        if !self.count_one(rule) {
            return;
        }
        let list = truncated(list(), MAX_MESSAGE);
        let message = if self.shown_lists.contains(&list) { short.to_owned() } else { format!("{what}{list}") };
        self.shown_lists.push(list);
        let (path, message) = (truncated(path.to_string(), MAX_PATH), truncated(message, MAX_MESSAGE));
        self.listed.push(Violation { path, rule, message });
    }

    /// Counts a violation. Returns whether it is listed.
    fn count_one(&mut self, rule: Rule) -> bool {
        self.count += 1;
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
        self.listed.len() < MAX_LISTED
    }

    /// The total number of violations, listed or not.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The violated rules, each once.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The same rules and the same count, without what violates them.
    pub fn rules_only(&self) -> Violations {
        Violations { rules: self.rules.clone(), count: self.count, ..Violations::default() }
    }

    /// A text of about `most` bytes: the first violations, and how many more there are.
    pub fn text(&self, most: usize) -> String {
        let mut text = String::new();
        let mut shown = 0;
        for violation in &self.listed {
            let one = truncated(violation.to_string(), most);
            if shown > 0 && text.len() + one.len() > most {
                break;
            }
            if shown > 0 {
                text += "; ";
            }
            text += &one;
            shown += 1;
        }
        match self.count - shown {
            0 => text,
            more => format!("{text}; and {} more", grouped(more)),
        }
    }
}

/// The listed violations.
impl Deref for Violations {
    type Target = [Violation];

    fn deref(&self) -> &[Violation] {
        &self.listed
    }
}

/// The listed violations.
impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> std::vec::IntoIter<Violation> {
        self.listed.into_iter()
    }
}

/// The listed violations.
impl<'v> IntoIterator for &'v Violations {
    type Item = &'v Violation;
    type IntoIter = std::slice::Iter<'v, Violation>;

    fn into_iter(self) -> std::slice::Iter<'v, Violation> {
        self.listed.iter()
    }
}

impl Extend<Violation> for Violations {
    fn extend<I: IntoIterator<Item = Violation>>(&mut self, all: I) {
        all.into_iter().for_each(|one| self.push(one));
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(all: I) -> Violations {
        let mut violations = Violations::new();
        violations.extend(all);
        violations
    }
}

/// A text of at most `most` bytes, cut between two characters and then marked with `…`.
pub fn truncated(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

/// A number with thousands separators: `4,970`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(count: usize) -> Violations {
        let mut violations = Violations::new();
        for at in 0..count {
            let (what, list) = ("is not an allowed key", || format!("; allowed: {}", "`a`, ".repeat(300)));
            violations.report(format!("metadata.{at}"), Rule::Allowed, what, list, what);
        }
        violations
    }

    #[test]
    fn first_violations_are_listed_and_the_rest_counted() {
        assert_eq!((many(20).len(), many(21).len(), many(4990).count()), (20, 20, 4990));
        assert!(!many(20).text(100_000).contains("more"));
        assert!(many(21).text(100_000).ends_with("; and 1 more"));
        let text = many(4990).text(100_000);
        assert!(text.ends_with("metadata.19: is not an allowed key (allowed); and 4,970 more"), "{text}");
        assert_eq!(text.matches("allowed:").count(), 1);
        assert!(text.len() < 4096);
        assert!(many(1_234_567).text(0).ends_with("; and 1,234,566 more"));
    }

    #[test]
    fn text_lists_as_many_violations_as_fit() {
        let mut violations = Violations::new();
        for at in 0..20 {
            violations.push(Violation { path: format!("k{at}"), rule: Rule::Type, message: "is wrong".into() });
        }
        assert_eq!(violations.text(50), "k0: is wrong (type); k1: is wrong (type); and 18 more");
        assert_eq!(violations.text(1).len(), "k…; and 19 more".len());
        violations.push(Violation { path: String::new(), rule: Rule::Wipe, message: String::new() });
        assert_eq!((violations.rules(), violations.count()), (&[Rule::Type, Rule::Wipe][..], 21));
    }

    #[test]
    fn names_and_messages_are_truncated_between_characters() {
        let mut violations = Violations::new();
        violations.push(Violation { path: "é".repeat(10_000), rule: Rule::Type, message: "ü".repeat(10_000) });
        assert_eq!(violations[0].path, "é".repeat(200) + "…");
        assert_eq!(violations[0].message.len(), 4096 + "…".len());
    }
}
