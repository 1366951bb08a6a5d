//! The table of options and the schema that is rendered from it agree with the parser: the same options in each map, the
//! same words, the same defaults.

use super::*;
use crate::config::options::{Options, ROOT, SECRET, Shape};
use crate::grant::SessionScope;
use crate::telemetry::Label;
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tree::{Member, Node, NodeKind};

const SCHEMA: &str = include_str!("../../../config/schema.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn validator() -> Validator {
    let schema = schema();
    assert!(jsonschema::meta::is_valid(&schema), "the schema is none of JSON Schema 2020-12");
    jsonschema::draft202012::new(&schema).unwrap()
}

/// A value as editors see it: plain scalars have YAML types.
fn seen(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Map(members) => {
            Value::Object(members.iter().map(|member| (member.key.clone(), seen(&member.value))).collect())
        }
        NodeKind::Sequence(items) => Value::Array(items.iter().map(seen).collect()),
        NodeKind::Scalar { .. } if node.is_null() => Value::Null,
        NodeKind::Scalar { text, plain: true } => match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => serde_json::from_str(text).ok().filter(Value::is_number).unwrap_or_else(|| text.into()),
        },
        NodeKind::Scalar { text, plain: false } => text.as_str().into(),
    }
}

fn seen_in(text: &str) -> Value {
    seen(&tree::parse(text).0.unwrap())
}

/// Why a schema rejects a value; empty if it does not.
fn rejected(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The parts of a schema that apply to a value: itself, what it refers to, and its alternatives.
fn readings<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let mut all = vec![schema];
    if let Some(name) = schema.get("$ref").and_then(|name| name.as_str()?.strip_prefix("#/$defs/")) {
        all.extend(readings(root, &root["$defs"][name]));
    }
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    all.extend(alternatives.into_iter().flatten().flat_map(|one| readings(root, one)));
    all
}

/// A step from a value to one of its children.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Item(usize),
}

/// The schema at a path.
fn at<'s>(root: &'s Value, path: &[Step]) -> Option<&'s Value> {
    path.iter().try_fold(root, |schema, step| {
        readings(root, schema).into_iter().find_map(|schema| match step {
            Step::Key(key) => {
                let known = schema.get("properties").and_then(|properties| properties.get(key));
                known.or_else(|| schema.get("additionalProperties").filter(|more| more.is_object()))
            }
            Step::Item(_) => schema.get("items"),
        })
    })
}

/// Texts that together contain every map of options.
fn examples() -> Vec<Node> {
    let shared = ["url", "sentinel", "cluster"].map(|way| shared(Some(way)));
    let texts = [vec![EXAMPLE.to_owned()], shared.to_vec(), vec![several_listeners(), operations()]].concat();
    texts.iter().map(|text| tree::parse(text).0.unwrap()).collect()
}

/// Every node below this one, with its path.
fn nodes(node: &Node) -> Vec<Vec<Step>> {
    let below = |step: Step, node: &Node| -> Vec<Vec<Step>> {
        let deeper = nodes(node).into_iter().map(|path| [vec![step.clone()], path].concat());
        std::iter::once(vec![step.clone()]).chain(deeper).collect()
    };
    match &node.kind {
        NodeKind::Map(members) => {
            members.iter().flat_map(|member| below(Step::Key(member.key.clone()), &member.value)).collect()
        }
        NodeKind::Sequence(items) => {
            items.iter().enumerate().flat_map(|(place, item)| below(Step::Item(place), item)).collect()
        }
        NodeKind::Scalar { .. } => Vec::new(),
    }
}

fn node_at<'n>(node: &'n mut Node, path: &[Step]) -> &'n mut Node {
    path.iter().fold(node, |node, step| match (step, &mut node.kind) {
        (Step::Key(key), NodeKind::Map(members)) => {
            &mut members.iter_mut().find(|member| member.key == *key).unwrap().value
        }
        (Step::Item(place), NodeKind::Sequence(items)) => &mut items[*place],
        (step, _) => panic!("no {step:?}"),
    })
}

fn scalar(place: error::Position, text: &str) -> Node {
    Node { place, kind: NodeKind::Scalar { text: text.into(), plain: true } }
}

/// Compiles a tree: the configuration's debug text, and the errors.
fn read(root: &Node) -> (String, Vec<ConfigError>) {
    let mut context = Context::new("c", &Sample, |_, _| None);
    let config = context.read_map(&Entry::root(root), |section| process::read(section, &[7; 32]));
    (format!("{config:?}"), context.faults)
}

/// A path as in errors.
fn shown(path: &[Step]) -> String {
    path.iter().fold(String::new(), |path, step| match step {
        Step::Key(key) => error::path_below(&path, key),
        Step::Item(place) => format!("{path}[{place}]"),
    })
}

/// The map of options that a shape describes.
fn map_of(shape: &Shape) -> Option<&'static Options> {
    match shape {
        Shape::Map(options) | Shape::AddressOr(options) => Some(options),
        Shape::WordsOr(_, other) | Shape::OneOrSeveral(other) => map_of(other),
        _ => None,
    }
}

/// The map of options at a path, according to the table.
fn declared(path: &[Step]) -> Option<&'static Options> {
    let (key, rest) = match path {
        [] => return Some(&ROOT),
        [rest @ .., Step::Key(key)] => (Some(key), rest),
        [rest @ .., Step::Item(_)] => (None, rest),
    };
    // The value is an item or a named map of the option above, or an option of the map above.
    let above = rest.split_last().and_then(|(last, rest)| match last {
        Step::Key(option) => declared(rest)?.rows().find(|row| row.key == option),
        Step::Item(_) => None,
    });
    match (above.map(|row| row.shape), key) {
        (Some(Shape::Named(named)), Some(_)) => Some(named.options),
        (Some(Shape::List(item, _)), None) => map_of(&item),
        (_, Some(key)) => map_of(&declared(rest)?.rows().find(|row| row.key == key)?.shape),
        (_, None) => None,
    }
}

/// Every map of options in the table.
fn all_declared(options: &'static Options) -> Vec<&'static Options> {
    let inner = options.rows().filter_map(|row| match &row.shape {
        Shape::Named(named) => Some(named.options),
        Shape::List(item, _) => map_of(item),
        shape => map_of(shape),
    });
    std::iter::once(options).chain(inner.flat_map(all_declared)).collect()
}

/// An unknown option in each map makes the parser list the options that it reads. They are the rows of the map.
#[test]
fn every_row_is_read_and_every_option_that_is_read_has_a_row() {
    let mut visited: Vec<*const Options> = Vec::new();
    let mut faults = Vec::new();
    for root in examples() {
        for path in std::iter::once(Vec::new()).chain(nodes(&root)) {
            let mut spoilt = root.clone();
            let node = node_at(&mut spoilt, &path);
            let place = node.place;
            let NodeKind::Map(members) = &mut node.kind else {
                continue;
            };
            members.push(Member { key: "never".into(), place, value: scalar(place, "x") });
            let option = shown(&[&path[..], &[Step::Key("never".into())]].concat());
            let (_, found) = read(&spoilt);
            let unknown = found.iter().find(|fault| fault.path == option && fault.found == "unknown key");
            let Some(known) = unknown.and_then(|fault| fault.allowed.as_deref()) else {
                // A map with user-defined keys.
                continue;
            };
            let known: BTreeSet<&str> = known.split('`').skip(1).step_by(2).collect();
            let what = shown(&path);
            let options = declared(&path).or_else(|| known.contains("env").then_some(&SECRET));
            let Some(options) = options else {
                faults.push(format!("the table has no map `{what}`"));
                continue;
            };
            let rows: BTreeSet<&str> = options.rows().map(|row| row.key).collect();
            faults.extend(known.difference(&rows).map(|key| format!("`{what}` lacks a row for `{key}`")));
            faults.extend(rows.difference(&known).map(|key| format!("nothing reads `{key}` of `{what}`")));
            visited.push(options);
        }
    }
    for options in all_declared(&ROOT).into_iter().filter(|options| !visited.contains(&(&raw const **options))) {
        let keys: Vec<&str> = options.rows().map(|row| row.key).collect();
        faults.push(format!("config/example.yaml has no map with {keys:?}"));
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(visited.len() > 30, "{}", visited.len());
}

/// Types have defaults too, for upstreams without a policy. They are those of the rows.
#[test]
fn defaults_of_types_are_those_of_the_rows() {
    use crate::config::options::{grants, policies, session_rules, upstreams};
    assert_eq!(upstreams::UNMATCHED.kind.default, Unmatched::default());
    assert_eq!(upstreams::PROTOCOL.kind.default, Protocol::default());
    assert_eq!(upstreams::ON_UNREACHABLE.kind.default, OnUnreachable::default());
    assert_eq!(grants::SESSIONS.kind.default, SessionScope::default());
    assert_eq!(policies::MODE.kind.default, Mode::default());
    assert_eq!(policies::WIPE.kind.default, Wipe::default());
    assert_eq!(policies::KEY_CASE.kind.default, KeyCase::default());
    assert_eq!(policies::SESSION_TOKEN.kind.default, SessionTokenRule::default());
    assert_eq!(session_rules::OUTSIDE.kind.default, OutsideBounds::default());
    assert_eq!(session_rules::RETURN_CODE.kind.default, ReturnCode::default());
}

/// The options that need a restart are those that the process compares.
#[test]
fn the_restart_of_a_row_is_that_of_the_process() {
    fn marked(options: &Options, path: &str, found: &mut Vec<String>) {
        for row in options.rows() {
            let own = format!("{path}{}", row.key);
            if let Shape::Map(inner) = &row.shape {
                marked(inner, &format!("{own}."), found);
            }
            found.extend(row.restart.map(|_| own));
        }
    }
    let mut found = Vec::new();
    marked(&ROOT, "", &mut found);
    // `listen` is one way to declare the listeners.
    found.retain(|option| option != "listen");
    found.sort();
    let mut compared = RestartRequired::names();
    compared.sort_unstable();
    assert_eq!(found, compared);
}

/// The single values of the examples, each with its path and schemas.
fn each_value(mut look: impl FnMut(&Node, &[Step], Vec<&Value>)) {
    let schema = schema();
    for root in examples() {
        for path in nodes(&root) {
            if matches!(node_at(&mut root.clone(), &path).kind, NodeKind::Scalar { .. }) {
                look(&root, &path, readings(&schema, at(&schema, &path).unwrap()));
            }
        }
    }
}

fn with(root: &Node, path: &[Step], text: &str) -> Vec<ConfigError> {
    let mut changed = root.clone();
    let node = node_at(&mut changed, path);
    *node = scalar(node.place, text);
    read(&changed).1.into_iter().filter(|fault| fault.path == shown(path)).collect()
}

/// An unknown word makes the parser list the known ones.
#[test]
fn words_are_those_of_the_parser() {
    let mut seen = 0;
    each_value(|root, path, readings| {
        let stated = readings.iter().filter_map(|schema| schema.get("enum")?.as_array()).flatten();
        let stated: Vec<&str> = stated.filter_map(Value::as_str).collect();
        let faults = with(root, path, "never");
        let known = faults.iter().find(|fault| fault.found.ends_with("is not a valid value"));
        let known = known.and_then(|fault| fault.allowed.as_deref()?.strip_prefix("allowed: "));
        if let Some(known) = known {
            let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            assert_eq!(stated, known, "{}", shown(path));
            seen += 1;
        }
        for word in stated {
            let faults = with(root, path, word);
            assert!(
                !faults.iter().any(|fault| fault.found.ends_with("is not a valid value")),
                "{}: {faults:?}",
                shown(path)
            );
        }
    });
    assert!(seen > 20, "{seen}");
}

/// An option with its default value changes nothing.
#[test]
fn defaults_are_those_of_the_parser() {
    let schema = schema();
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    // One example with a shared store is enough; some options are not allowed in a cluster.
    for root in examples().into_iter().take(2) {
        for path in nodes(&root) {
            let Some((Step::Key(key), parent)) = path.split_last() else {
                continue;
            };
            let Some(default) = at(&schema, &path).and_then(|part| part.get("default")) else {
                continue;
            };
            let mut with = root.clone();
            let node = node_at(&mut with, &path);
            *node = match default {
                Value::Array(items) => Node {
                    place: node.place,
                    kind: NodeKind::Sequence(
                        items.iter().map(|item| scalar(node.place, item.as_str().unwrap())).collect(),
                    ),
                },
                Value::String(text) => scalar(node.place, text),
                other => scalar(node.place, &other.to_string()),
            };
            let mut without = root.clone();
            if let NodeKind::Map(members) = &mut node_at(&mut without, parent).kind {
                members.retain(|member| member.key != *key);
            }
            let (with, without) = (read(&with), read(&without));
            if with != without {
                faults.push(format!("{default} is not what counts without `{}`: {:?}", shown(&path), with.1));
            }
            seen.insert(shown(&path));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen.len() > 50, "{seen:?}");
}

/// Every option has a description.
#[test]
fn every_option_is_described() {
    fn walk(schema: &Value, path: &str) {
        for (key, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{key}");
            let said = schema.get("description").and_then(Value::as_str);
            assert!(said.is_some_and(|text| text.ends_with(['.', ')'])), "{path}: {said:?}");
            walk(schema, &path);
        }
    }
    let schema = schema();
    walk(&schema, "");
    schema["$defs"].as_object().unwrap().iter().for_each(|(name, schema)| walk(schema, name));
}

/// The YAML blocks in a document.
fn blocks(document: &str) -> Vec<String> {
    document.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The configurations in deployment files: the texts below keys that end with `.yaml: |`.
fn embedded(document: &str) -> Vec<String> {
    let below = |at: usize| {
        let rest = &document[at..];
        let lines: Vec<&str> = rest.lines().skip(1).collect();
        let depth = lines.first().map_or(0, |line| line.len() - line.trim_start().len());
        let own = lines.into_iter().take_while(|line| line.trim().is_empty() || line.starts_with(&" ".repeat(depth)));
        own.map(|line| line.get(depth..).unwrap_or_default().to_owned() + "\n").collect()
    };
    document.match_indices(".yaml: |").map(|(at, _)| below(at)).collect()
}

#[test]
fn every_configuration_of_the_project_is_valid() {
    let validator = validator();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str, ending: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(project.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|own| own == ending)).collect()
    };
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let mut texts: Vec<(String, String)> = Vec::new();
    let named = |path: &PathBuf, text: String| (path.display().to_string(), text);
    texts.extend(files("config", "yaml").iter().map(|path| named(path, text(path))));
    let folders: Vec<PathBuf> =
        std::fs::read_dir(project.join("docs")).unwrap().map(|one| one.unwrap().path()).collect();
    let pages = folders.iter().filter(|path| path.is_dir()).flat_map(|folder| files(folder.to_str().unwrap(), "md"));
    let documents: Vec<PathBuf> = pages.chain(files("docs", "md")).chain([project.join("README.md")]).collect();
    // What is for Prometheus, Kubernetes or a workflow is no configuration of the gateway.
    let others = ["groups:", "scrape_configs:", "apiVersion:", "- ", "# Helm"];
    // What begins with an indentation is a part of a map; a test of its page puts it there.
    let other =
        |text: &String| text.starts_with(' ') || others.iter().any(|begin| text.trim_start().starts_with(begin));
    let blocks = |path: &PathBuf| blocks(&text(path)).into_iter().filter(|text| !other(text));
    texts.extend(documents.iter().flat_map(|path| blocks(path).map(|text| named(path, text))));
    let deployed = files("deploy/kubernetes", "yaml");
    texts.extend(deployed.iter().flat_map(|path| embedded(&text(path)).into_iter().map(|text| named(path, text))));
    texts.extend(["url", "sentinel", "cluster"].map(|way| (format!("the example with {way}"), shared(Some(way)))));
    let mut seen = 0;
    for (name, text) in texts {
        let mut value = seen_in(&text);
        // Some show only a part.
        let map = value.as_object_mut().unwrap();
        map.entry("upstreams")
            .or_insert_with(|| json!({"a": {"dialect": "auth0", "url": "https://a", "auth": "none"}}));
        assert_eq!(rejected(&validator, &value), [""; 0], "{name}:\n{text}");
        seen += 1;
    }
    assert!(seen >= 9, "{seen}");
    assert_eq!(EXAMPLE.lines().next(), Some("# yaml-language-server: $schema=schema.json"));
}

/// Errors in the parser's cases that a schema can detect on its own.
const PLAIN: [&str; 11] = [
    "unknown key",
    "expected a map of options, found",
    "expected a list, found",
    "expected a single value, found",
    "is an empty list",
    "has no value",
    "has no unit",
    "is not a duration",
    "is not a size",
    "is not a boolean value",
    "is missing; ",
];

#[test]
fn cases_of_the_parser_agree_with_the_schema() {
    let validator = validator();
    let (mut good, mut bad) = (0, 0);
    for (file, whole) in wholes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests").join(file);
        for case in std::fs::read_to_string(&path).unwrap().trim_end().split("\n\n") {
            let is_input = |line: &&str| !["=>", "~>", "=="].iter().any(|mark| line.starts_with(mark));
            let input: Vec<&str> = case.lines().take_while(is_input).collect();
            let text = whole(&input[1..].join("\n"));
            let Some(root) = tree::parse(&text).0 else {
                continue;
            };
            let found = rejected(&validator, &seen(&root));
            let faults: Vec<&str> = case.lines().filter(|line| line.starts_with("=>")).collect();
            if faults.is_empty() {
                assert_eq!(found, [""; 0], "{file}: {case}");
                good += 1;
            } else if faults.iter().any(|fault| PLAIN.iter().any(|plain| fault.contains(plain))) {
                assert!(!found.is_empty(), "{file}: the schema accepts\n{case}");
                bad += 1;
            }
        }
    }
    assert!(good > 20 && bad > 40, "{good} {bad}");
}

#[test]
fn values_of_variables_are_unknown_to_editors() {
    let validator = validator();
    each_value(|root, path, _| {
        // A secret's reference contains the name of a variable.
        if path.last() == Some(&Step::Key("env".into())) {
            return;
        }
        let mut changed = root.clone();
        let node = node_at(&mut changed, path);
        *node = scalar(node.place, "${NAME:-x}");
        let value = seen(&changed);
        let found = rejected(&validator, &value);
        assert_eq!(found, [""; 0], "{}", shown(path));
    });
}
