//! Errors that are found after a configuration was compiled, at the place of the option that they are about.

use super::error::{Location, Position, Problem, path_below};
use super::tree::{self, Node, NodeKind};
use super::{ConfigError, FindingId};

/// The places of a text's options.
pub struct Places {
    file: String,
    root: Option<Node>,
}

impl Places {
    /// The places of a text that was compiled under this name.
    pub fn of(file: &str, text: &str) -> Places {
        Places { file: file.to_owned(), root: tree::parse(text).0 }
    }

    /// An error about the option with this path. If it is not set, the error is at the map that it belongs to.
    pub fn error(&self, path: &str, id: FindingId, found: &str, hint: Option<&str>) -> ConfigError {
        let begin = Position { line: 1, column: 1, end_column: None };
        let place = self.root.as_ref().map_or(begin, |root| place(root, root.place, "", path));
        let problem = Problem::new(found).id(id);
        let problem = hint.into_iter().fold(problem, |problem, hint| problem.expected(hint));
        problem.at(&self.file, &Location { path: path.to_owned(), place })
    }
}

/// The place of the option with the path `wanted`, or of its closest ancestor, below a node with its place and path.
fn place(node: &Node, own: Position, path: &str, wanted: &str) -> Position {
    let NodeKind::Map(members) = &node.kind else {
        return own;
    };
    let found = members.iter().find_map(|member| {
        let path = path_below(path, &member.key);
        let rest = wanted.strip_prefix(path.as_str())?;
        let single = matches!(member.value.kind, NodeKind::Scalar { .. }) && !member.value.is_null();
        let below = rest.is_empty() || rest.starts_with(['.', '[']);
        below.then(|| place(&member.value, if single { member.value.place } else { member.place }, &path, wanted))
    });
    found.unwrap_or(own)
}
