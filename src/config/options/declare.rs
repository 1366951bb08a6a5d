//! How an option is declared.

use super::kind::{Boolean, Choice, CountIn, DurationIn, Kind, Or, SizeIn, Structure};
use super::table::{Declared, Example, Fallback, Row};

/// An option: its key, its kind, and what the renderings need.
pub struct Opt<K> {
    pub key: &'static str,
    pub kind: K,
    facts: Facts,
}

#[derive(Clone, Copy)]
struct Facts {
    text: &'static str,
    /// The default in words; after the value, if the kind has one.
    default: &'static str,
    required: bool,
    allowed: &'static str,
    restart: Option<&'static str>,
    example: Example,
}

impl<K: Copy> Opt<K> {
    /// An option with its meaning, in Markdown.
    pub const fn new(key: &'static str, kind: K, text: &'static str) -> Opt<K> {
        let example = Example { value: "", comment: "", off: false, sample: 0 };
        let facts = Facts { text, default: "", required: false, allowed: "", restart: None, example };
        Opt { key, kind, facts }
    }

    /// It must be set.
    pub const fn required(mut self) -> Opt<K> {
        self.facts.required = true;
        self
    }

    /// What applies if it is not set, in words; or what the default value means.
    pub const fn default(mut self, words: &'static str) -> Opt<K> {
        self.facts.default = words;
        self
    }

    /// What is allowed, or what is beyond the bounds of the kind.
    pub const fn allowed(mut self, words: &'static str) -> Opt<K> {
        self.facts.allowed = words;
        self
    }

    /// A change takes effect only after a restart. `note` is an exception or addition.
    pub const fn restart(mut self, note: &'static str) -> Opt<K> {
        self.facts.restart = Some(note);
        self
    }

    /// The value in the example, if it is not the default.
    pub const fn shown(mut self, value: &'static str) -> Opt<K> {
        self.facts.example.value = value;
        self
    }

    /// The comment in the example, if it is not the first sentence of the text.
    pub const fn comment(mut self, comment: &'static str) -> Opt<K> {
        self.facts.example.comment = comment;
        self
    }

    /// The example shows it commented out.
    pub const fn off(mut self) -> Opt<K> {
        self.facts.example.off = true;
        self
    }

    /// The second sample of its map shows it.
    pub const fn second(mut self) -> Opt<K> {
        self.facts.example.sample = 1;
        self
    }
}

impl<K: Kind + Sync> Declared for Opt<K> {
    fn key(&self) -> &'static str {
        self.key
    }

    fn row(&self) -> Row {
        let Facts { text, default: words, required, allowed, restart, example } = self.facts;
        let default = match self.kind.default() {
            _ if required => Fallback::Required,
            Some(value) => Fallback::Value(value, words),
            None if words.is_empty() => Fallback::Unset,
            None => Fallback::Words(words),
        };
        Row { key: self.key, shape: self.kind.shape(), default, text, allowed, restart, example }
    }
}

/// An option of a kind that the reader parses.
pub type Plain = Opt<Structure>;
/// A duration with a default.
pub type Timed = Opt<Or<DurationIn>>;
/// A size with a default.
pub type Measured = Opt<Or<SizeIn>>;
/// A whole number with a default.
pub type Counted = Opt<Or<CountIn>>;
/// A boolean.
pub type Switch = Opt<Or<Boolean>>;
/// One of several words, with a default.
pub type Chosen<T> = Opt<Or<Choice<T>>>;
