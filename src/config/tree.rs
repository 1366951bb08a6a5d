//! Parses YAML into a tree of values with positions.
//!
//! It is stricter than YAML: one document, keys that are text and unique, no tags, no merge keys. What remains is
//! unambiguous.

use super::FindingId;
use super::error::{Location, Position, Problem, path_below};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use std::collections::BTreeMap;

/// The maximum size of the text, in bytes.
const MAX_TEXT: usize = 1 << 20;
/// The maximum number of nodes. Aliases can expand a few bytes into many nodes.
const MAX_NODES: usize = 50_000;
/// The maximum nesting depth.
const MAX_DEPTH: usize = 32;

/// A value and its position.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub place: Position,
    pub kind: NodeKind,
}

/// The content of a value.
#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    /// A map, in the order of the text.
    Map(Vec<Member>),
    /// A list.
    Sequence(Vec<Node>),
    /// Text without its quotes. `plain` means that it had none.
    Scalar { text: String, plain: bool },
}

/// A key, its position, and its value.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub key: String,
    pub place: Position,
    pub value: Node,
}

impl Node {
    /// The kind of value, for messages.
    pub fn name(&self) -> &'static str {
        match &self.kind {
            NodeKind::Map(_) => "a map",
            NodeKind::Sequence(_) => "a list",
            NodeKind::Scalar { .. } if self.is_null() => "no value",
            NodeKind::Scalar { .. } => "a single value",
        }
    }

    /// Whether this is a null value.
    pub fn is_null(&self) -> bool {
        match &self.kind {
            NodeKind::Scalar { text, plain } => *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            NodeKind::Map(_) | NodeKind::Sequence(_) => false,
        }
    }

    /// The number of nodes and the depth.
    fn extent(&self) -> (usize, usize) {
        let children: Vec<&Node> = match &self.kind {
            NodeKind::Map(members) => members.iter().map(|member| &member.value).collect(),
            NodeKind::Sequence(items) => items.iter().collect(),
            NodeKind::Scalar { .. } => Vec::new(),
        };
        let extents = children.into_iter().map(Node::extent);
        let (nodes, depth) = extents.fold((0, 0), |(nodes, depth), one| (nodes + one.0, depth.max(one.1)));
        (nodes + 1, depth + 1)
    }
}

/// Parses a text. A tree is returned even with duplicate keys, so that all errors can be reported at once.
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<(Location, Problem)>) {
    let mut builder = Builder::default();
    if let Err((place, problem)) = builder.read(text) {
        builder.faults.push((Location { path: String::new(), place }, problem));
        return (None, builder.faults);
    }
    (builder.root, builder.faults)
}

/// An error that ends the parsing.
type Fatal = (Position, Problem);

#[derive(Default)]
struct Builder {
    open: Vec<OpenCollection>,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
    root: Option<Node>,
    faults: Vec<(Location, Problem)>,
}

/// A map or a list that has not ended.
struct OpenCollection {
    place: Position,
    anchor: usize,
    kind: Collected,
}

enum Collected {
    Map { members: Vec<Member>, key: Option<Key> },
    Sequence(Vec<Node>),
}

/// A key whose value comes next.
struct Key {
    text: String,
    place: Position,
    /// Whether the key has an error, so its value is dropped.
    dropped: bool,
}

/// The node that aliases of an anchor stand for, and its size.
struct Anchored {
    node: Node,
    nodes: usize,
    depth: usize,
}

impl Builder {
    fn read(&mut self, text: &str) -> Result<(), Fatal> {
        let begin = Position { line: 1, column: 1, end_column: None };
        if text.len() > MAX_TEXT {
            return Err((begin, syntax(format!("the file has {} bytes; at most {MAX_TEXT} are allowed", text.len()))));
        }
        let chars: Vec<char> = text.chars().collect();
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| (place(error.marker()), syntax(error.info())))?;
            self.event(event, place_of(&span, &chars))?;
        }
        if self.root.is_none() {
            return Err((
                begin,
                syntax("the file is empty").expected("expected a map of options with at least `upstreams`"),
            ));
        }
        Ok(())
    }

    fn event(&mut self, event: Event, place: Position) -> Result<(), Fatal> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.reject_tag(tag.as_deref(), place);
                self.scalar(text.into_owned(), style == ScalarStyle::Plain, anchor, place)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(Collected::Sequence(Vec::new()), anchor, tag.as_deref(), place)
            }
            Event::MappingStart(anchor, tag) => {
                let (members, key) = (Vec::new(), None);
                self.begin(Collected::Map { members, key }, anchor, tag.as_deref(), place)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end();
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err((place, syntax("second YAML document").expected("expected exactly one")))
            }
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => {
                Ok(())
            }
        }
    }

    fn scalar(&mut self, text: String, plain: bool, anchor: usize, place: Position) -> Result<(), Fatal> {
        if self.expects_key() {
            self.key(text, plain, place);
            return Ok(());
        }
        self.count(1, 1, place)?;
        let kind = NodeKind::Scalar { text, plain };
        self.add(Node { place, kind }, anchor);
        Ok(())
    }

    fn reject_tag(&mut self, tag: Option<&Tag>, place: Position) {
        if let Some(tag) = tag {
            let problem =
                syntax(format!("has the tag `{}`", tag.to_string().escape_debug())).expected("tags are not supported");
            self.faults.push((Location { path: self.path(), place }, problem));
        }
    }

    fn expects_key(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.kind, Collected::Map { key: None, .. }))
    }

    fn key(&mut self, text: String, plain: bool, place: Position) {
        let Some(OpenCollection { kind: Collected::Map { members, key }, .. }) = self.open.last_mut() else {
            return;
        };
        let first = members.iter().find(|member| member.key == text).map(|member| member.place);
        let problem = if let Some(Position { line, column, .. }) = first {
            Some(Problem::new(format!("duplicate key; first defined at {line}:{column}")).id(FindingId::DuplicateKey))
        } else if plain && text == "<<" {
            Some(
                syntax("YAML merge keys are not supported")
                    .expected("write the keys out, or use an alias for the whole value"),
            )
        } else {
            None
        };
        *key = Some(Key { text, place, dropped: problem.is_some() });
        if let Some(problem) = problem {
            self.faults.push((Location { path: self.path(), place }, problem));
        }
    }

    fn begin(&mut self, kind: Collected, anchor: usize, tag: Option<&Tag>, place: Position) -> Result<(), Fatal> {
        if self.expects_key() {
            return Err((place, syntax("a map or a list cannot be a key").expected("expected a string")));
        }
        self.reject_tag(tag, place);
        self.count(1, 1, place)?;
        self.open.push(OpenCollection { place, anchor, kind });
        Ok(())
    }

    fn end(&mut self) {
        let Some(OpenCollection { place, anchor, kind }) = self.open.pop() else {
            return;
        };
        let kind = match kind {
            Collected::Map { members, .. } => NodeKind::Map(members),
            Collected::Sequence(items) => NodeKind::Sequence(items),
        };
        self.add(Node { place, kind }, anchor);
    }

    fn alias(&mut self, anchor: usize, place: Position) -> Result<(), Fatal> {
        if self.expects_key() {
            return Err((place, syntax("an alias cannot be a key").expected("expected a string")));
        }
        let Some(Anchored { node, nodes, depth }) = self.anchors.get(&anchor) else {
            return Err((place, syntax("the alias refers to a value that contains it")));
        };
        let (node, nodes, depth) = (node.clone(), *nodes, *depth);
        self.count(nodes, depth, place)?;
        self.add(node, 0);
        Ok(())
    }

    fn count(&mut self, nodes: usize, depth: usize, place: Position) -> Result<(), Fatal> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err((place, syntax(format!("more than {MAX_NODES} values, including those that aliases repeat"))));
        }
        if self.open.len() + depth > MAX_DEPTH {
            return Err((place, syntax(format!("values are nested more than {MAX_DEPTH} levels deep"))));
        }
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            let (nodes, depth) = node.extent();
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, depth });
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(Collected::Sequence(items)) => items.push(node),
            Some(Collected::Map { members, key }) => {
                if let Some(Key { text, place, dropped: false }) = key.take() {
                    members.push(Member { key: text, place, value: node });
                }
            }
        }
    }

    /// The path of the value that is being parsed.
    fn path(&self) -> String {
        self.open.iter().fold(String::new(), |path, open| match &open.kind {
            Collected::Map { key: Some(key), .. } => path_below(&path, &key.text),
            Collected::Map { key: None, .. } => path,
            Collected::Sequence(items) => format!("{path}[{}]", items.len()),
        })
    }
}

fn syntax(found: impl Into<String>) -> Problem {
    Problem::new(found).id(FindingId::Syntax)
}

fn place(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1, end_column: None }
}

/// The position of an event. A map or a list ends at its last value, so its end is not known yet.
fn place_of(span: &Span, text: &[char]) -> Position {
    let within = span.start.line() == span.end.line() && span.end.col() > span.start.col();
    // The parser counts the blanks after a quoted value as part of it.
    let marked = text.get(span.start.index()..span.end.index()).unwrap_or_default();
    let blanks = marked.iter().rev().take_while(|c| c.is_whitespace()).count();
    Position { end_column: within.then(|| span.end.col() + 1 - blanks), ..place(&span.start) }
}
