//! Imports between the files of a room run one way: no file uses one that uses it in turn, directly or through others.
//!
//! A file uses another if its code names something that stands there, whichever way the name leads: a path, an import,
//! or a re-export by a third file. A parent that only declares a child, or only re-exports from it, does not use it.

use super::{Source, expect_none, sources};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A module's path in the crate: `["cache", "read"]`.
type Module = Vec<String>;

/// What a file imports, and the paths and words in the rest of its code.
struct File {
    imports: Vec<Import>,
    paths: Vec<Vec<String>>,
    words: BTreeSet<String>,
}

/// One name that a `use` brings in.
struct Import {
    public: bool,
    path: Vec<String>,
    name: String,
}

/// The files of the program.
struct Files(BTreeMap<Module, File>);

impl File {
    fn new(code: &str, patterns: &Patterns) -> File {
        let found = patterns.imports.captures_iter(code).flat_map(|found| {
            let public = found.get(1).is_some();
            expanded(&[], &found[2]).into_iter().map(move |(path, name)| Import { public, path, name })
        });
        let rest = patterns.imports.replace_all(code, "");
        let rest = patterns.visibility.replace_all(&rest, "");
        let paths = patterns.paths.find_iter(&rest).map(|path| path.as_str().split("::").map(str::to_owned).collect());
        let words = rest.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned);
        File { imports: found.collect(), paths: paths.collect(), words: words.collect() }
    }

    /// The paths that the code uses: those that it writes, and its imports, but for those that are for others alone.
    fn paths(&self) -> impl Iterator<Item = &Vec<String>> {
        let own = self.imports.iter().filter(|import| !import.public || self.words.contains(&import.name));
        own.map(|import| &import.path).chain(&self.paths)
    }
}

/// How imports, paths and visibilities are written.
struct Patterns {
    imports: Regex,
    paths: Regex,
    visibility: Regex,
}

impl Patterns {
    fn new() -> Patterns {
        Patterns {
            imports: Regex::new(r"(?:\b(pub)\b(?:\([^)]*\))?\s+)?\buse\s+([^;]+);").unwrap(),
            paths: Regex::new(r"(?:\w+::)+\w+").unwrap(),
            visibility: Regex::new(r"\bpub\([^)]*\)").unwrap(),
        }
    }
}

/// The names in a tree such as `super::{a::{A, B as C}, d}`, with their paths.
fn expanded(before: &[String], tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    let (head, group) = match tree.split_once('{') {
        Some((head, group)) => (head, group.strip_suffix('}')),
        None => (tree, None),
    };
    let (head, alias) = head.split_once(" as ").map_or((head, None), |(head, alias)| (head, Some(alias.trim())));
    let steps = head.split("::").map(str::trim).filter(|step| !step.is_empty()).map(str::to_owned);
    let mut path: Vec<String> = before.iter().cloned().chain(steps).collect();
    if let Some(group) = group {
        return parts(group).iter().flat_map(|part| expanded(&path, part)).collect();
    }
    if path.len() > 1 && path.last().is_some_and(|step| step == "self") {
        path.pop();
    }
    let name = alias.map(str::to_owned).or_else(|| path.last().cloned()).unwrap_or_default();
    vec![(path, name)]
}

/// The parts of a list that commas part, nested lists in one piece.
fn parts(list: &str) -> Vec<String> {
    let mut depth = 0;
    let split = list.split(move |c| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    });
    split.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

impl Files {
    fn new(sources: &[Source]) -> Files {
        let sources = sources.iter().filter(|source| !source.is_test() && !["lib", "main"].contains(&&*source.module));
        let module = |path: &str| path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let patterns = Patterns::new();
        Files(sources.map(|source| (module(&source.path), File::new(&source.code, &patterns))).collect())
    }

    /// From where a path in a file leads on: a module, and the steps below it. None if it leaves the program.
    fn start(&self, file: &[String], path: &[String]) -> Option<(Module, Vec<String>)> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some((Vec::new(), rest.to_vec())),
            "self" => Some((file.to_vec(), rest.to_vec())),
            "super" => {
                let up = path.iter().take_while(|step| *step == "super").count();
                Some((file.get(..file.len().checked_sub(up)?)?.to_vec(), path[up..].to_vec()))
            }
            _ if self.0.contains_key(&[file, &path[..1]].concat()) => Some((file.to_vec(), path.to_vec())),
            _ => {
                let import = self.0.get(file)?.imports.iter().find(|import| import.name == *first)?;
                let (module, steps) =
                    Some(&import.path).filter(|path| path[0] != *first).map(|path| self.start(file, path))??;
                Some((module, [&steps, rest].concat()))
            }
        }
    }

    /// The file that what these steps lead to stands in.
    fn target(&self, mut module: Module, mut steps: Vec<String>, hops: usize) -> Option<Module> {
        while let Some(step) = steps.first() {
            let below = [module.as_slice(), std::slice::from_ref(step)].concat();
            if !self.0.contains_key(&below) {
                break;
            }
            module = below;
            steps.remove(0);
        }
        let file = self.0.get(&module)?;
        let import = steps.first().and_then(|step| file.imports.iter().find(|import| import.name == *step));
        match import {
            Some(import) if hops > 0 => {
                let (next, mut path) = self.start(&module, &import.path)?;
                path.extend_from_slice(&steps[1..]);
                self.target(next, path, hops - 1)
            }
            _ => Some(module),
        }
    }

    /// The other files of the room that each file uses, with a path by which it does.
    fn uses(&self) -> BTreeMap<&[String], BTreeMap<Module, String>> {
        let uses = self.0.iter().map(|(module, file)| {
            let used = file.paths().filter_map(|path| {
                let (at, steps) = self.start(module, path)?;
                Some((self.target(at, steps, 8)?, path.join("::")))
            });
            let inside = used.filter(|(used, _)| used != module && used.first() == module.first());
            (module.as_slice(), inside.collect())
        });
        uses.collect()
    }
}

/// The shortest circle through a file.
fn circle<'a>(
    uses: &'a BTreeMap<&[String], BTreeMap<Module, String>>,
    file: &'a [String],
) -> Option<Vec<&'a [String]>> {
    let mut queue = VecDeque::from([vec![file]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = queue.pop_front() {
        for next in uses.get(way.last()?)?.keys() {
            if next == file {
                return Some(way);
            }
            if seen.insert(next) {
                queue.push_back([way.as_slice(), &[next]].concat());
            }
        }
    }
    None
}

/// Each circle once, with the paths that make it.
fn circles(sources: &[Source]) -> Vec<String> {
    let files = Files::new(sources);
    let uses = files.uses();
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for file in uses.keys() {
        let Some(way) = circle(&uses, file).filter(|way| seen.insert(way.iter().copied().collect::<BTreeSet<_>>()))
        else {
            continue;
        };
        let next = way.iter().cycle().skip(1);
        let steps = way.iter().zip(next).map(|(file, next)| {
            format!("src/{}.rs uses src/{}.rs by `{}`", file.join("/"), next.join("/"), uses[file][*next])
        });
        faults.push(steps.collect::<Vec<_>>().join(", "));
    }
    faults
}

#[test]
fn imports_within_a_room_run_one_way() {
    expect_none(&circles(&sources()));
}

#[test]
fn check_finds_planted_circles() {
    let found = |files: &[(&str, &str)]| {
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        circles(&sources)
    };
    let root = ("cache.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\npub use b::{B, other as renamed};\nuse c::C;");
    for files in [
        [("cache/a.rs", "use super::b::B;"), ("cache/b.rs", "fn f() { super::a::g() }")],
        [("cache/a.rs", "use crate::cache::{b::{B, D}, c};"), ("cache/b.rs", "use super::{a, c::C};")],
        // Through what the root re-exports, under its own name or another, or imports for itself.
        [("cache/a.rs", "use super::B;"), ("cache/b.rs", "use crate::cache::A;")],
        [("cache/a.rs", "fn f() { super::renamed() }"), ("cache/b.rs", "use super::A;")],
        [("cache/a.rs", "use super::C;"), ("cache/c.rs", "use super::a::{self as other};")],
        // A parent and its child.
        [("cache/a.rs", "mod b;\nuse b::B;"), ("cache/a/b.rs", "use super::Kind;")],
        [("cache/a.rs", "mod b;\nfn f() { b::g() }"), ("cache/a/b.rs", "use crate::cache::a::Kind;")],
        [("cache/a.rs", "mod b;\npub use b::B;\nfn f() -> B { B }"), ("cache/a/b.rs", "use super::Kind;")],
        [("cache/a.rs", "use super::{b, c};\nfn f() { b::g() }"), ("cache/b.rs", "use super::a as other;")],
    ] {
        let faults = found(&[root, files[0], files[1]]);
        assert_eq!(faults.len(), 1, "in {files:?}: {faults:?}");
    }
    // A root and a file of its room.
    assert_eq!(found(&[("cache.rs", "mod a;\nuse a::A;"), ("cache/a.rs", "use super::Kind;")]).len(), 1);
    let three =
        [root, ("cache/a.rs", "use super::B;"), ("cache/b.rs", "use super::C;"), ("cache/c.rs", "use super::A;")];
    assert_eq!(
        found(&three),
        ["src/cache/a.rs uses src/cache/b.rs by `super::B`, src/cache/b.rs uses src/cache/c.rs by `super::C`, \
          src/cache/c.rs uses src/cache/a.rs by `super::A`"]
    );
    for files in [
        [("cache/a.rs", "use super::b::B;"), ("cache/b.rs", "use super::c::C; // and super::a::A")],
        [("cache/a.rs", "mod b;\npub use b::B;"), ("cache/a/b.rs", "use super::Kind;")],
        [("cache/a.rs", "mod b;\nuse b::B;"), ("cache/a/b.rs", "pub(in crate::cache::a) struct B;")],
        [("cache/a.rs", "use super::b::B;"), ("cache/b.rs", "#[cfg(test)]\nmod tests { use crate::cache::a::A; }")],
        [("cache/a.rs", "use super::b::B;"), ("cache/b/tests.rs", "use crate::cache::a::A;")],
        [("cache/a.rs", "use crate::model::b::B;"), ("model/b.rs", "use crate::cache::a::A;")],
    ] {
        assert_eq!(found(&[root, files[0], files[1]]), [""; 0], "in {files:?}");
    }
}
