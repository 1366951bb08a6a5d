//! Where an option belongs that stands in the wrong map.

use super::process::ROOT;
use super::table::{Options, Shape};

/// The name of a map of maps by name, in paths.
const ANY_NAME: &str = "NAME";

/// The path of the option with this key, if it is in another map than that with the path `map`, and in one only: the
/// closest one counts.
pub fn elsewhere(map: &str, key: &str) -> Option<String> {
    let here: Vec<&str> = map.split('.').filter(|part| !part.is_empty()).collect();
    let mut found = Vec::new();
    collect(&ROOT, &mut Vec::new(), key, &mut found);
    // With the names that the path has, as far as both go the same way.
    let placed = found.into_iter().map(|path| {
        let common = path.iter().zip(&here).take_while(|(part, own)| *part == *own || **part == ANY_NAME).count();
        let path: Vec<&str> = here.iter().take(common).chain(path.iter().skip(common)).copied().collect();
        (common, path.join("."))
    });
    let own = [&here[..], &[key]].concat().join(".");
    let mut placed: Vec<(usize, String)> = placed.filter(|(_, path)| *path != own).collect();
    placed.sort_by_key(|(common, path)| (usize::MAX - common, path.matches('.').count()));
    let rank = |(common, path): &(usize, String)| (*common, path.matches('.').count());
    match placed.as_slice() {
        [first, second, ..] if rank(first) == rank(second) => None,
        [(_, first), ..] => Some(first.clone()),
        [] => None,
    }
}

/// Collects the paths of the options with this key.
fn collect(options: &'static Options, path: &mut Vec<&'static str>, key: &str, found: &mut Vec<Vec<&'static str>>) {
    for row in options.rows() {
        path.push(row.key);
        if row.key == key {
            found.push(path.clone());
        }
        below(&row.shape, path, key, found);
        path.pop();
    }
}

/// The same for the options in a value of this shape.
fn below(shape: &Shape, path: &mut Vec<&'static str>, key: &str, found: &mut Vec<Vec<&'static str>>) {
    match shape {
        Shape::Map(options) | Shape::AddressOr(options) => collect(options, path, key, found),
        Shape::Named(named) => {
            path.push(ANY_NAME);
            collect(named.options, path, key, found);
            path.pop();
        }
        Shape::OneOrSeveral(inner) | Shape::WordsOr(_, inner) => below(inner, path, key, found),
        // The path of an item has an index, so its options are not suggested.
        Shape::List(..) => {}
        Shape::Boolean
        | Shape::Duration(..)
        | Shape::Size(..)
        | Shape::Count(..)
        | Shape::Ratio
        | Shape::Words(_)
        | Shape::Text(_)
        | Shape::ByName(_)
        | Shape::Secret(_) => {}
    }
}
