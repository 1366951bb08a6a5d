//! What the table says of an option, for all kinds alike.

/// A map of options.
pub struct Options {
    /// The heading of its table in the reference; empty if its options are in the table of the map above.
    pub heading: &'static str,
    /// Whether the example has comments above the options of this map, as whole sentences, and not beside them.
    pub comments_above: bool,
    /// Which of its options can be combined.
    pub rules: &'static [Rule],
    pub(in super::super) rows: &'static [&'static dyn Declared],
}

impl Options {
    /// The rows, in the order of the reference.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.rows.iter().map(|option| option.row())
    }
}

/// Which options of a map can be combined.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// At most one of them is set.
    NotBoth([&'static str; 2]),
    /// Exactly one of them is set.
    ExactlyOne(&'static [&'static str]),
    /// The first is set only with the second.
    Needs(&'static str, &'static str),
}

/// An option.
pub struct Row {
    /// The key.
    pub key: &'static str,
    /// Which values are valid.
    pub shape: Shape,
    /// What applies if it is not set.
    pub default: Fallback,
    /// The meaning, in Markdown: whole sentences.
    pub text: &'static str,
    /// What is allowed, in Markdown; after what the shape says, if that is enough to say it.
    pub allowed: &'static str,
    /// Set if a change takes effect only after a restart, with an exception or addition, which may be empty.
    pub restart: Option<&'static str>,
    /// How the example shows it.
    pub example: Example,
}

/// What applies if an option is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fallback {
    /// It must be set.
    Required,
    /// A value, as written in a configuration, and what it means, unless obvious.
    Value(String, &'static str),
    /// What happens, in words.
    Words(&'static str),
    /// Nothing: a map whose options have their own defaults, or one of several ways to say the same.
    Unset,
}

/// How the example shows an option.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The value; empty for the default.
    pub value: &'static str,
    /// The comment; empty for the first sentence of the text.
    pub comment: &'static str,
    /// Whether it is commented out, because it contradicts another option.
    pub off: bool,
    /// Which of the samples of a map with names shows it.
    pub sample: usize,
}

/// A named map of options in the example.
#[derive(Debug)]
pub struct Sample {
    /// The name.
    pub name: &'static str,
    /// The comment above it; may be empty.
    pub comment: &'static str,
    /// Lines before its options.
    pub lines: &'static [&'static str],
}

/// Which values of an option are valid. Durations and sizes are as written in a configuration.
pub enum Shape {
    /// `true` or `false`.
    Boolean,
    /// A duration from the first to the second.
    Duration(String, String),
    /// A size from the first to the second.
    Size(String, String),
    /// A whole number from the first to the second.
    Count(usize, usize),
    /// A number from 0 to 1.
    Ratio,
    /// One of these words.
    Words(Vec<&'static str>),
    /// Text.
    Text(Format),
    /// A reference to a secret of at least so many bytes.
    Secret(usize),
    /// A list with at least one item, and at most so many.
    List(Box<Shape>, Option<usize>),
    /// A single value, or a list with at least one item.
    OneOrSeveral(Box<Shape>),
    /// One of these words, or something else.
    WordsOr(&'static [&'static str], Box<Shape>),
    /// A map of options.
    Map(&'static Options),
    /// A listen address, or a map of options that has it.
    AddressOr(&'static Options),
    /// Maps of options by name.
    Named(NamedMaps),
    /// Values by user-defined names.
    ByName(Box<Shape>),
}

/// The maximum length of the names of listeners, upstreams and policies.
pub const MAX_NAME: usize = 64;

/// Maps of options by name.
#[derive(Clone, Copy)]
pub struct NamedMaps {
    /// The options of each.
    pub options: &'static Options,
    /// Whether the names have at most [`MAX_NAME`] characters from `a-z`, `0-9`, `_`, `-`, and are not any text.
    pub restricted: bool,
    /// Whether there must be at least one.
    pub required: bool,
    /// What the example shows.
    pub samples: &'static [Sample],
}

/// The syntax of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Any, or one that the schema does not describe.
    Any,
    /// An IP address and a port, or `unix:` and a path.
    ListenAddress,
    /// `http://` or `https://`.
    Url,
    /// `redis://` or `rediss://`, with this default port.
    RedisUrl(u16),
    /// A path without a trailing slash.
    PathPrefix,
    /// The prefix of the keys of a shared store, of at most so many characters.
    Namespace(usize),
}

/// An option of any kind.
pub trait Declared: Sync {
    fn key(&self) -> &'static str;
    fn row(&self) -> Row;
}
