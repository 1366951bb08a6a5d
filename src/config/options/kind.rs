//! The kinds of options.
//!
//! Kinds with [`Parse`] have typed bounds and defaults, which `Section::get` and `Section::find` apply. For the other
//! kinds the reader brings the parser.

use super::super::error::Problem;
use super::super::value::{self, shown_duration, shown_size};
use super::super::variables::Text;
use super::table::{Format, NamedMaps, Options, Shape};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Which values are valid.
pub trait Kind: Copy {
    fn shape(&self) -> Shape;

    /// The default, as written in a configuration.
    fn default(&self) -> Option<String> {
        None
    }
}

/// A kind that parses its values.
pub trait Parse: Kind {
    type Value: Copy;

    fn parse(&self, text: &Text) -> Result<Self::Value, Problem>;

    /// A value as written in a configuration.
    fn write(&self, value: Self::Value) -> String;
}

/// A kind with a default.
#[derive(Clone, Copy)]
pub struct Or<K: Parse> {
    pub kind: K,
    pub default: K::Value,
}

impl<K: Parse> Kind for Or<K> {
    fn shape(&self) -> Shape {
        self.kind.shape()
    }

    fn default(&self) -> Option<String> {
        Some(self.kind.write(self.default))
    }
}

/// A duration from `min` to `max`.
#[derive(Clone, Copy)]
pub struct DurationIn {
    pub min: Duration,
    pub max: Duration,
}

/// A duration from `min` to `max`, with a default.
pub const fn duration(min: Duration, max: Duration, default: Duration) -> Or<DurationIn> {
    Or { kind: DurationIn { min, max }, default }
}

impl Kind for DurationIn {
    fn shape(&self) -> Shape {
        Shape::Duration(shown_duration(self.min), shown_duration(self.max))
    }
}

impl Parse for DurationIn {
    type Value = Duration;

    fn parse(&self, text: &Text) -> Result<Duration, Problem> {
        value::duration(self.min..=self.max)(text)
    }

    fn write(&self, value: Duration) -> String {
        shown_duration(value)
    }
}

/// A duration of whole seconds.
#[derive(Clone, Copy)]
pub struct WholeSeconds(pub DurationIn);

impl Kind for WholeSeconds {
    fn shape(&self) -> Shape {
        self.0.shape()
    }
}

impl Parse for WholeSeconds {
    type Value = u64;

    fn parse(&self, text: &Text) -> Result<u64, Problem> {
        value::whole_seconds(self.0.min..=self.0.max)(text)
    }

    fn write(&self, value: u64) -> String {
        shown_duration(Duration::from_secs(value))
    }
}

/// A size from `min` to `max`, in bytes.
#[derive(Clone, Copy)]
pub struct SizeIn {
    pub min: usize,
    pub max: usize,
}

/// A size from `min` to `max`, with a default.
pub const fn size(min: usize, max: usize, default: usize) -> Or<SizeIn> {
    Or { kind: SizeIn { min, max }, default }
}

impl Kind for SizeIn {
    fn shape(&self) -> Shape {
        Shape::Size(shown_size(self.min), shown_size(self.max))
    }
}

impl Parse for SizeIn {
    type Value = usize;

    fn parse(&self, text: &Text) -> Result<usize, Problem> {
        value::size(self.min..=self.max)(text)
    }

    fn write(&self, value: usize) -> String {
        shown_size(value)
    }
}

/// A whole number from `min` to `max`.
#[derive(Clone, Copy)]
pub struct CountIn {
    pub min: usize,
    pub max: usize,
}

/// A whole number from `min` to `max`, with a default.
pub const fn count(min: usize, max: usize, default: usize) -> Or<CountIn> {
    Or { kind: CountIn { min, max }, default }
}

impl Kind for CountIn {
    fn shape(&self) -> Shape {
        Shape::Count(self.min, self.max)
    }
}

impl Parse for CountIn {
    type Value = usize;

    fn parse(&self, text: &Text) -> Result<usize, Problem> {
        value::count(self.min..=self.max)(text)
    }

    fn write(&self, value: usize) -> String {
        value.to_string()
    }
}

/// `true` or `false`.
#[derive(Clone, Copy)]
pub struct Boolean;

/// `true` or `false`, with a default.
pub const fn boolean(default: bool) -> Or<Boolean> {
    Or { kind: Boolean, default }
}

impl Kind for Boolean {
    fn shape(&self) -> Shape {
        Shape::Boolean
    }
}

impl Parse for Boolean {
    type Value = bool;

    fn parse(&self, text: &Text) -> Result<bool, Problem> {
        value::boolean(text)
    }

    fn write(&self, value: bool) -> String {
        value.to_string()
    }
}

/// Words and their values.
pub type Words<T> = &'static [(&'static str, T)];

/// One of these words.
#[derive(Clone, Copy)]
pub struct Choice<T: 'static>(pub Words<T>);

/// One of these words, with a default.
pub const fn choice<T: Copy + PartialEq>(words: Words<T>, default: T) -> Or<Choice<T>> {
    Or { kind: Choice(words), default }
}

impl<T: Copy> Kind for Choice<T> {
    fn shape(&self) -> Shape {
        Shape::Words(self.0.iter().map(|(word, _)| *word).collect())
    }
}

impl<T: Copy + PartialEq> Parse for Choice<T> {
    type Value = T;

    fn parse(&self, text: &Text) -> Result<T, Problem> {
        value::choice(self.0)(text)
    }

    fn write(&self, value: T) -> String {
        let word = self.0.iter().find(|(_, own)| *own == value);
        word.map_or("", |(word, _)| word).to_owned()
    }
}

/// A list of some of these words; `default` if it is not set.
#[derive(Clone, Copy)]
pub struct SomeOf<T: 'static> {
    pub words: Words<T>,
    pub default: T,
}

impl<T: Copy + PartialEq> Kind for SomeOf<T> {
    fn shape(&self) -> Shape {
        Shape::List(Box::new(Choice(self.words).shape()), None)
    }

    fn default(&self) -> Option<String> {
        Some(format!("[{}]", Choice(self.words).write(self.default)))
    }
}

/// `auto`, which is the default, or another kind.
#[derive(Clone, Copy)]
pub struct AutoOr<K>(pub K);

/// `auto`, or another kind.
pub const fn auto_or<K: Parse>(kind: K) -> Or<AutoOr<K>> {
    Or { kind: AutoOr(kind), default: None }
}

const AUTO: &str = "auto";
const OFF: &str = "off";

impl<K: Kind> Kind for AutoOr<K> {
    fn shape(&self) -> Shape {
        Shape::WordsOr(&[AUTO], Box::new(self.0.shape()))
    }
}

impl<K: Parse> Parse for AutoOr<K> {
    type Value = Option<K::Value>;

    fn parse(&self, text: &Text) -> Result<Self::Value, Problem> {
        if text.as_str() == AUTO {
            return Ok(None);
        }
        let allowed = || match self.0.shape() {
            Shape::Duration(min, max) | Shape::Size(min, max) => format!("{min} to {max}"),
            Shape::Count(min, max) => format!("{min} to {max}"),
            _ => String::new(),
        };
        self.0.parse(text).map(Some).map_err(|problem| problem.expected(format!("allowed: `{AUTO}`, {}", allowed())))
    }

    fn write(&self, value: Self::Value) -> String {
        value.map_or_else(|| AUTO.to_owned(), |value| self.0.write(value))
    }
}

/// An address, or what `shape` says; the default is this port of the loopback address.
#[derive(Clone, Copy)]
pub struct Loopback {
    pub port: u16,
    pub shape: Structure,
}

impl Loopback {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port)
    }
}

impl Kind for Loopback {
    fn shape(&self) -> Shape {
        self.shape.shape()
    }

    fn default(&self) -> Option<String> {
        Some(self.address().to_string())
    }
}

/// A reference to a secret of at least `min` bytes.
#[derive(Clone, Copy)]
pub struct SecretOf {
    pub min: usize,
}

impl Kind for SecretOf {
    fn shape(&self) -> Shape {
        Shape::Secret(self.min)
    }
}

/// A list of at most `most` references to secrets of at least `min` bytes each.
#[derive(Clone, Copy)]
pub struct SecretsOf {
    pub min: usize,
    pub most: usize,
}

impl Kind for SecretsOf {
    fn shape(&self) -> Shape {
        Shape::List(Box::new(Shape::Secret(self.min)), Some(self.most))
    }
}

/// A text with a default.
#[derive(Clone, Copy)]
pub struct TextOr {
    pub format: Format,
    pub default: &'static str,
}

impl Kind for TextOr {
    fn shape(&self) -> Shape {
        Shape::Text(self.format)
    }

    fn default(&self) -> Option<String> {
        Some(self.default.to_owned())
    }
}

/// A kind whose values the reader parses.
#[derive(Clone, Copy)]
pub enum Structure {
    Text(Format),
    Words(fn() -> Vec<&'static str>),
    /// A whole number from the first to the second.
    Count(usize, usize),
    List(&'static Structure),
    OneOrSeveral(&'static Structure),
    WordsOr(&'static [&'static str], &'static Structure),
    /// `off`, which is the default, or something else.
    OffOr(&'static Structure),
    Map(&'static Options),
    /// A listen address, or a map that has it.
    AddressOr(&'static Options),
    Named(NamedMaps),
    /// Values by user-defined names.
    ByName(&'static Structure),
}

/// Any text.
pub const TEXT: Structure = Structure::Text(Format::Any);
/// A list of any texts.
pub const TEXTS: Structure = Structure::List(&TEXT);
/// A URL.
pub const URL: Structure = Structure::Text(Format::Url);

impl Kind for Structure {
    fn shape(&self) -> Shape {
        match *self {
            Structure::Text(format) => Shape::Text(format),
            Structure::Words(words) => Shape::Words(words()),
            Structure::Count(min, max) => Shape::Count(min, max),
            Structure::List(item) => Shape::List(Box::new(item.shape()), None),
            Structure::OneOrSeveral(item) => Shape::OneOrSeveral(Box::new(item.shape())),
            Structure::WordsOr(words, other) => Shape::WordsOr(words, Box::new(other.shape())),
            Structure::OffOr(other) => Shape::WordsOr(&[OFF], Box::new(other.shape())),
            Structure::Map(options) => Shape::Map(options),
            Structure::AddressOr(options) => Shape::AddressOr(options),
            Structure::Named(named) => Shape::Named(named),
            Structure::ByName(value) => Shape::ByName(Box::new(value.shape())),
        }
    }

    fn default(&self) -> Option<String> {
        matches!(self, Structure::OffOr(_)).then(|| OFF.to_owned())
    }
}
