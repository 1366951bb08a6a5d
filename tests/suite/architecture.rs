//! The order of the modules and what each may name, as `src/lib.rs` declares it.

mod circles;
mod providers;

use crate::harness::project;
use regex::Regex;
use std::fs;
use std::path::Path;

/// The modules that decide, and do nothing else.
const PURE: [&str; 10] =
    ["telemetry", "model", "wire", "policy", "grant", "dialect", "token", "coherence", "gateway", "config"];
/// The modules that each do one outside thing.
const LEAVES: [&str; 7] = ["handover", "log_writer", "metrics", "cache", "jwks", "introspection", "provider"];
/// The longest file, in lines without its tests.
const LONGEST: usize = 400;

/// What may be named where.
struct Ban {
    /// What the code must not have.
    pattern: &'static str,
    /// In which modules.
    within: fn(&str) -> bool,
    why: &'static str,
}

const BANS: [Ban; 10] = [
    Ban {
        pattern: r"\bpingora\w*",
        within: |module| !["edge", "proxy"].contains(&module),
        why: "only edge and proxy name Pingora",
    },
    Ban { pattern: r"\bredis\b", within: |module| module != "cache", why: "only cache names Redis" },
    Ban {
        pattern: r"\bcrate::(dialect|wire)\b|\bcrate::\{[^;]*\b(dialect|wire)\b",
        within: |module| module == "sandbox",
        why: "the sandbox would agree with a wrong table of ours",
    },
    Ban {
        pattern: r"\be?print(ln)?!|\b(std::)?io::(stdout|stderr)\b|\bdbg!|\b(stdout|stderr)\(",
        within: |module| module != "cli",
        why: "only cli prints",
    },
    Ban {
        pattern: r"\b(std::fs|std::env|fs::\w+|env::\w+)|\bstd::\{[^;]*\b(fs|env)\b",
        within: |module| PURE.contains(&module),
        why: "pure modules know neither files nor the environment",
    },
    Ban {
        pattern: r"\b(Tcp|Udp|Unix)(Stream|Listener|Socket|Datagram)\b|\bToSocketAddrs\b",
        within: |module| PURE.contains(&module),
        why: "pure modules open no sockets",
    },
    Ban {
        pattern: r"\b(Instant|SystemTime)::now\b|\.elapsed\(\)|\bthread::sleep\b",
        within: |module| PURE.contains(&module),
        why: "pure modules are told the time",
    },
    Ban {
        pattern: r"\b(tokio|hyper|hyper_util|axum|tracing|log)::|\b(async|await)\b",
        within: |module| PURE.contains(&module),
        why: "pure modules neither wait nor log",
    },
    Ban {
        pattern: r"\b(static\s+mut|thread_local!|LazyLock|OnceCell|lazy_static)\b|\bstatic\b[^;=]*\b(Mutex|RwLock|Atomic\w+|OnceLock)\b",
        within: |module| PURE.contains(&module),
        why: "pure modules have no globals",
    },
    Ban {
        pattern: r"\bprometheus\b",
        within: |module| !["metrics", "runtime"].contains(&module),
        why: "metrics has every metric",
    },
];

/// A file of the program, without comments, texts and tests.
struct Source {
    path: String,
    module: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let module = path.split(['/', '.']).next().unwrap_or_default();
        let code = code_of(text);
        let tests = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
        Source { path: path.into(), module: module.into(), code: code[..tests].into() }
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The modules of the crate that the code names, with their places in it.
    fn named(&self) -> Vec<(usize, String)> {
        let paths = Regex::new(r"\bcrate::(?:(\w+)|\{([^;]*)\}\s*;)|\buse\s+(crate)\s+as\b").unwrap();
        let mut named = Vec::new();
        for found in paths.captures_iter(&self.code) {
            let at = found.get(0).unwrap().start();
            match (found.get(1), found.get(2)) {
                (Some(one), _) => named.push((at, one.as_str().to_owned())),
                (None, Some(group)) => named.extend(heads(group.as_str()).map(|head| (at, head))),
                (None, None) => named.push((at, "crate".to_owned())),
            }
        }
        if !self.path.contains('/') {
            let above = Regex::new(r"\bsuper::(\w+)").unwrap();
            let found = above.captures_iter(&self.code);
            named.extend(found.map(|found| (found.get(0).unwrap().start(), found[1].to_owned())));
        }
        named
    }

    fn fault(&self, at: usize, what: &str) -> String {
        let line = self.code[..at].matches('\n').count() + 1;
        format!("src/{}:{line}: {what}", self.path)
    }
}

/// The first names in a list such as `model::{A, B}, policy`.
fn heads(group: &str) -> impl Iterator<Item = String> {
    let mut depth = 0;
    let parts = group.split(move |c| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    });
    parts.map(|part| part.trim().split("::").next().unwrap_or_default().to_owned()).filter(|head| !head.is_empty())
}

/// A text with blanks in place of comments and of the contents of literals, and with the same lines.
fn code_of(text: &str) -> String {
    let literals = Regex::new(concat!(
        r"(?s)//[^\n]*|/\*.*?\*/",
        r##"|\bb?r"[^"]*"|\bb?r#"(?:[^"]|"[^#])*"#|"(?:[^"\\]|\\.)*""##,
        r"|'(?:[^'\\\n]|\\[^\n]{1,8}?)'",
    ))
    .unwrap();
    let blank = |found: &regex::Captures| -> String {
        let keep = |c: char| if c == '\n' { '\n' } else { ' ' };
        found[0].chars().map(keep).collect()
    };
    literals.replace_all(text, blank).into_owned()
}

fn walk(folder: &Path, root: &Path, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, root, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            sources.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The files of the program, by path in `src`.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let root = project().join("src");
    walk(&root, &root, &mut files);
    files.sort();
    assert!(files.len() > 50, "the program has more files than {}", files.len());
    files
}

fn sources() -> Vec<Source> {
    files().iter().map(|(path, text)| Source::new(path, text)).collect()
}

/// The modules in the order in which `lib.rs` declares them.
fn order() -> Vec<String> {
    let lib = fs::read_to_string(project().join("src/lib.rs")).unwrap();
    let declared = Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))? )?mod (\w+)").unwrap();
    let order: Vec<String> = declared.captures_iter(&lib).map(|found| found[1].to_owned()).collect();
    assert!(order.len() > 10, "lib.rs declares {order:?}");
    order
}

/// What is wrong with the order of uses.
fn disorder(order: &[String], sources: &[Source]) -> Vec<String> {
    let place = |module: &str| order.iter().position(|own| own == module);
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        if ["lib", "main"].contains(&source.module.as_str()) {
            continue;
        }
        let Some(own) = place(&source.module) else {
            faults.push(source.fault(0, "lib.rs does not declare this module"));
            continue;
        };
        for (at, named) in source.named() {
            match place(&named) {
                Some(other) if other <= own => {}
                Some(_) => {
                    faults.push(source.fault(at, &format!("{} stands above {named} and uses it", source.module)))
                }
                None => faults.push(source.fault(at, &format!("{named} is no module"))),
            }
        }
    }
    faults
}

/// Leaves that use each other.
fn entangled(sources: &[Source]) -> Vec<String> {
    let leaf = |module: &str| LEAVES.contains(&module);
    let leaves = sources.iter().filter(|source| leaf(&source.module) && !source.is_test());
    let uses = leaves.flat_map(|source| source.named().into_iter().map(move |(at, named)| (source, at, named)));
    uses.filter(|(source, _, named)| leaf(named) && *named != source.module)
        .map(|(source, at, named)| source.fault(at, &format!("the leaf {} uses the leaf {named}", source.module)))
        .collect()
}

/// What is named where it must not be.
fn banned(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for ban in BANS {
        let pattern = Regex::new(ban.pattern).unwrap();
        for source in sources.iter().filter(|source| (ban.within)(&source.module) && !source.is_test()) {
            let found = pattern.find_iter(&source.code);
            faults
                .extend(found.map(|found| source.fault(found.start(), &format!("`{}`: {}", found.as_str(), ban.why))));
        }
    }
    faults
}

/// Files that are too long.
fn long(files: &[(String, String)]) -> Vec<String> {
    let lengths = files.iter().filter(|(path, text)| !Source::new(path, text).is_test()).map(|(path, text)| {
        let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
        (path, text[..tests].lines().count())
    });
    lengths
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(path, lines)| format!("src/{path}: {lines} lines without tests, at most {LONGEST}"))
        .collect()
}

fn expect_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn modules_use_only_those_above_them() {
    expect_none(&disorder(&order(), &sources()));
}

#[test]
fn leaves_do_not_use_each_other() {
    expect_none(&entangled(&sources()));
}

#[test]
fn forbidden_names_are_not_used() {
    expect_none(&banned(&sources()));
}

/// The files and the private modules that `lib.rs` names, by their paths.
fn named_in_lib() -> Vec<String> {
    let text = std::fs::read_to_string("src/lib.rs").unwrap();
    let code = regex::Regex::new(r"`([a-z_0-9/]+\.rs|[a-z_0-9]+(?:::[a-z_0-9]+)+)`").unwrap();
    let names = code.captures_iter(&text).map(|found| found[1].replace("::", "/"));
    names.map(|name| name.trim_end_matches(".rs").to_owned()).collect()
}

#[test]
fn modules_named_in_lib_exist() {
    let named = named_in_lib();
    let exists = |name: &String| {
        let path = if name.starts_with("tests/") { format!("{name}.rs") } else { format!("src/{name}.rs") };
        std::path::Path::new(&path).exists()
    };
    assert!(named.len() > 10, "{named:?}");
    let gone: Vec<&String> = named.iter().filter(|name| !exists(name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn files_are_short() {
    expect_none(&long(&files()));
}

#[test]
fn lists_name_existing_modules() {
    let order = order();
    for module in PURE.iter().chain(&LEAVES).chain(&["proxy", "sandbox", "cli", "client"]) {
        assert!(order.iter().any(|own| own == module), "{module} is gone");
    }
    // The pure modules come first, so that none can use what is not pure.
    assert_eq!(order[..PURE.len()], PURE);
}

#[test]
fn checks_find_planted_violations() {
    let order: Vec<String> =
        ["model", "policy", "gateway", "metrics", "cache", "proxy", "sandbox", "cli"].map(String::from).into();
    let faults = |path: &str, text: &str| {
        let sources = [Source::new(path, text)];
        let mut faults = disorder(&order, &sources);
        faults.extend(entangled(&sources));
        faults.extend(banned(&sources));
        faults
    };
    for (path, text) in [
        ("model.rs", "use crate::policy::Limits;"),
        ("model.rs", "fn f() { super::policy::judge() }"),
        ("policy/rules.rs", "use crate::{model::{Edit, Field}, gateway};"),
        ("policy/rules.rs", "fn f() -> crate::gateway::Head { todo!() }"),
        ("policy.rs", "use crate as all;"),
        ("policy.rs", "use crate::absent;"),
        ("absent.rs", ""),
        ("cache/memory.rs", "use crate::metrics::Metrics;"),
        ("cache.rs", "use pingora::prelude::Session;"),
        ("cli.rs", "use pingora_core::Error;"),
        ("metrics.rs", "use redis::Client;"),
        ("sandbox/auth0.rs", "use crate::dialect::AUTH0;"),
        ("proxy.rs", "fn f() { println!() }"),
        ("gateway.rs", "fn f() { eprintln!() }"),
        ("proxy.rs", "fn f() { let _ = std::io::stderr(); }"),
        ("gateway.rs", "use std::fs;"),
        ("gateway.rs", "use std::{env, fmt};"),
        ("policy.rs", "use std::net::TcpStream;"),
        ("policy.rs", "fn f() -> std::time::Instant { std::time::Instant::now() }"),
        ("policy.rs", "async fn f() {}"),
        ("policy.rs", "fn f() { tracing::info!(1) }"),
        ("policy.rs", "static SEEN: std::sync::Mutex<u8> = std::sync::Mutex::new(0);"),
        ("proxy.rs", "use prometheus::IntCounter;"),
    ] {
        assert!(!faults(path, text).is_empty(), "not found in {path}: {text}");
    }
    for (path, text) in [
        ("policy.rs", "use crate::model::Edit; // not crate::gateway"),
        ("policy.rs", "/// See [`crate::gateway`].\nfn f() {}"),
        ("policy.rs", "const TEXT: &str = \"use tokio::time; \\\" crate::proxy\";"),
        ("policy.rs", "const TEXT: &str = r#\"println!(\"a\")\"#;"),
        ("policy.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::gateway::Head;\n}"),
        ("policy.rs", "const QUOTE: char = '\"'; use crate::model::Edit; const END: char = '\\'';"),
        ("policy/tests.rs", "use crate::gateway::Head;"),
        ("proxy/line.rs", "use crate::cache::Store; use super::cli;"),
    ] {
        assert_eq!(faults(path, text), [""; 0], "in {path}: {text}");
    }
    let long_file = |lines: usize| [("policy.rs".to_owned(), "fn f() {}\n".repeat(lines))];
    assert_eq!(long(&long_file(LONGEST)), [""; 0]);
    assert_eq!(long(&long_file(LONGEST + 1)).len(), 1);
}
