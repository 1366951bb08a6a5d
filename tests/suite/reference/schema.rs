//! The JSON Schema of the configuration.

use super::options::{allowed, below, unlinked};
use crate::harness::generated_file;
use sessiongate::config::options::{Fallback, Format, MAX_NAME, NamedMaps, Options, ROOT, Row, Rule, SECRET, Shape};

/// The width of a line.
const WIDTH: usize = 120;

/// JSON with its members in order.
enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    /// Anything else, as written.
    Single(String),
}

impl Json {
    fn on_one_line(&self) -> String {
        match self {
            Json::Object(members) if members.is_empty() => "{}".to_owned(),
            Json::Object(members) => {
                let members = members.iter().map(|(key, value)| format!("\"{key}\": {}", value.on_one_line()));
                format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
            }
            Json::Array(items) => {
                format!("[{}]", items.iter().map(Json::on_one_line).collect::<Vec<_>>().join(", "))
            }
            Json::Single(text) => text.clone(),
        }
    }

    /// On one line if it fits, after `used` columns.
    fn write(&self, depth: usize, used: usize) -> String {
        let line = self.on_one_line();
        if used + line.len() < WIDTH {
            return line;
        }
        let pad = "  ".repeat(depth + 1);
        let (marks, parts): (_, Vec<String>) = match self {
            Json::Object(members) => {
                let member = |(key, value): &(String, Json)| {
                    let begin = format!("{pad}\"{key}\": ");
                    let value = value.write(depth + 1, begin.len());
                    begin + &value
                };
                (["{", "}"], members.iter().map(member).collect())
            }
            Json::Array(items) => {
                (["[", "]"], items.iter().map(|item| pad.clone() + &item.write(depth + 1, pad.len())).collect())
            }
            Json::Single(_) => return line,
        };
        format!("{}\n{}\n{}{}", marks[0], parts.join(",\n"), "  ".repeat(depth), marks[1])
    }
}

fn text(text: &str) -> Json {
    Json::Single(serde_json::to_string(text).unwrap())
}

fn number(number: usize) -> Json {
    Json::Single(number.to_string())
}

fn texts(words: &[&str]) -> Json {
    Json::Array(words.iter().map(|word| text(word)).collect())
}

fn member(key: &str, value: Json) -> (String, Json) {
    (key.to_owned(), value)
}

fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(members.into_iter().map(|(key, value)| member(key, value)).collect())
}

fn reference(name: &str) -> (String, Json) {
    member("$ref", text(&format!("#/$defs/{name}")))
}

fn referred(name: &str) -> Json {
    Json::Object(vec![reference(name)])
}

fn any_of(alternatives: Vec<Json>) -> Vec<(String, Json)> {
    vec![member("anyOf", Json::Array(alternatives))]
}

fn words(words: &[&str]) -> Json {
    object([("enum", texts(words))])
}

fn pattern(pattern: &str) -> Json {
    object([("type", text("string")), ("pattern", text(pattern))])
}

/// What a shape allows.
fn of_shape(shape: &Shape) -> Vec<(String, Json)> {
    match shape {
        Shape::Boolean => vec![reference("boolean")],
        Shape::Duration(..) => vec![reference("duration")],
        Shape::Size(..) => vec![reference("size")],
        Shape::Count(min, max) => {
            let least = (*min > 0).then(|| member("minimum", number(*min)));
            let all = [Some(reference("count")), least, Some(member("maximum", number(*max)))];
            all.into_iter().flatten().collect()
        }
        Shape::Ratio => vec![reference("ratio")],
        Shape::Words(all) => {
            // Editors see a word such as 1.2 as a number, unless it is in quotes.
            let numbers: Vec<Json> = all
                .iter()
                .filter_map(|word| word.parse::<f64>().ok().map(|_| word))
                .map(|word| Json::Single((*word).to_owned()))
                .collect();
            let numbers = (!numbers.is_empty()).then(|| object([("enum", Json::Array(numbers))]));
            any_of([Some(words(all)), numbers, Some(referred("variable"))].into_iter().flatten().collect())
        }
        Shape::Text(format) => of_format(*format),
        Shape::Secret(_) => vec![reference("secret")],
        Shape::List(item, max) => {
            let max = max.map(|max| member("maxItems", number(max)));
            let begin = [member("type", text("array")), member("minItems", number(1))];
            begin.into_iter().chain(max).chain([member("items", Json::Object(of_shape(item)))]).collect()
        }
        Shape::OneOrSeveral(item) => {
            let one = || match &**item {
                Shape::Map(options) => referred(options.heading),
                other => Json::Object(of_shape(other)),
            };
            let list = object([("type", text("array")), ("minItems", number(1)), ("items", one())]);
            any_of(vec![one(), list])
        }
        Shape::WordsOr(all, other) => {
            // A map or a list has no place for a variable.
            let variable = matches!(**other, Shape::Map(_) | Shape::List(..) | Shape::OneOrSeveral(_))
                .then(|| referred("variable"));
            let parts = [Some(words(all)), variable, Some(Json::Object(of_shape(other)))];
            any_of(parts.into_iter().flatten().collect())
        }
        Shape::Map(options) => of_map(options),
        Shape::AddressOr(options) => any_of(vec![referred("listen"), Json::Object(of_map(options))]),
        Shape::Named(named) => of_named(named),
        Shape::ByName(value) => vec![
            member("type", text("object")),
            member("minProperties", number(1)),
            member("additionalProperties", Json::Object(of_shape(value))),
        ],
    }
}

/// The maps of options of which there may be one or several: each is defined once.
fn repeated(options: &Options, found: &mut Vec<(String, Json)>) {
    for row in options.rows() {
        if let Shape::WordsOr(_, other) = &row.shape
            && let Shape::OneOrSeveral(item) = &**other
            && let Shape::Map(inner) = &**item
        {
            found.push(member(inner.heading, Json::Object(of_map(inner))));
        } else if let Some(inner) = below(&row.shape) {
            repeated(inner, found);
        }
    }
}

fn of_format(format: Format) -> Vec<(String, Json)> {
    match format {
        Format::Any => vec![reference("text")],
        Format::ListenAddress => vec![reference("listen")],
        Format::Url => vec![reference("url")],
        Format::RedisUrl(_) => vec![reference("redis")],
        Format::PathPrefix => any_of(vec![pattern("^/.*[^/]$"), referred("variable")]),
        Format::Namespace(max) => any_of(vec![
            pattern(&format!("^[a-z0-9_.-]{{1,{max}}}$")),
            object([("type", text("integer"))]),
            referred("variable"),
        ]),
    }
}

fn of_named(named: &NamedMaps) -> Vec<(String, Json)> {
    let least = named.required.then(|| member("minProperties", number(1)));
    let names = named
        .restricted
        .then(|| member("propertyNames", object([("pattern", text(&format!("^[a-z0-9_-]{{1,{MAX_NAME}}}$")))])));
    let inner = member("additionalProperties", Json::Object(of_map(named.options)));
    [Some(member("type", text("object"))), least, names, Some(inner)].into_iter().flatten().collect()
}

fn of_map(options: &Options) -> Vec<(String, Json)> {
    let rows: Vec<Row> = options.rows().collect();
    let required: Vec<&str> = rows.iter().filter(|row| row.default == Fallback::Required).map(|row| row.key).collect();
    let mut members =
        vec![member("type", text("object")), member("additionalProperties", Json::Single("false".to_owned()))];
    if !required.is_empty() {
        members.push(member("required", texts(&required)));
    }
    let mut needs = Vec::new();
    for rule in options.rules {
        match rule {
            Rule::NotBoth(keys) => members.push(member("not", object([("required", texts(keys))]))),
            Rule::ExactlyOne(keys) => {
                let one = |key: &&str| object([("required", texts(&[key]))]);
                members.push(member("oneOf", Json::Array(keys.iter().map(one).collect())));
            }
            Rule::Needs(key, other) => needs.push(member(key, texts(&[other]))),
        }
    }
    if !needs.is_empty() {
        members.push(member("dependentRequired", Json::Object(needs)));
    }
    let properties = rows.iter().map(|row| member(row.key, Json::Object(of_row(row)))).collect();
    members.push(member("properties", Json::Object(properties)));
    members
}

fn of_row(row: &Row) -> Vec<(String, Json)> {
    let begin = member("description", text(&description(row)));
    let default = match &row.default {
        Fallback::Value(value, _) => Some(member("default", default(&row.shape, value))),
        Fallback::Required | Fallback::Words(_) | Fallback::Unset => None,
    };
    std::iter::once(begin).chain(of_shape(&row.shape)).chain(default).collect()
}

/// The meaning, with what is allowed if the schema cannot say it, and the default if it is not a value.
fn description(row: &Row) -> String {
    let is_stated = matches!(row.shape, Shape::Boolean | Shape::Words(_) | Shape::Map(_)) && row.allowed.is_empty();
    let allowed = allowed(row);
    let allowed = (!is_stated && !allowed.is_empty()).then(|| format!(" Allowed: {}.", unlinked(&allowed)));
    let default = match &row.default {
        Fallback::Words(words) => Some(format!(" Default: {}.", unlinked(words))),
        Fallback::Required | Fallback::Value(..) | Fallback::Unset => None,
    };
    [Some(unlinked(row.text)), allowed, default].into_iter().flatten().collect()
}

fn default(shape: &Shape, value: &str) -> Json {
    match shape {
        Shape::Boolean | Shape::Count(..) | Shape::Ratio => Json::Single(value.to_owned()),
        Shape::List(..) => texts(&value.trim_matches(['[', ']']).split(", ").collect::<Vec<_>>()),
        _ => text(value),
    }
}

/// The definitions that options refer to.
fn definitions() -> Json {
    let variable = || referred("variable");
    let either = |one: Json| Json::Object(any_of(vec![one, variable()]));
    let single = |json: &str| Json::Single(json.to_owned());
    let secret = "A reference to a secret. The configuration never contains secrets.";
    let secret = std::iter::once(member("description", text(secret))).chain(of_map(&SECRET)).collect();
    let mut maps = Vec::new();
    repeated(&ROOT, &mut maps);
    let plain = object([
        ("secret", Json::Object(secret)),
        ("listen", Json::Object(any_of(vec![pattern("^unix:/."), referred("address")]))),
        ("address", either(pattern(r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$"))),
        ("url", either(pattern("^[Hh][Tt][Tt][Pp][Ss]?://"))),
        ("redis", either(pattern("^[Rr][Ee][Dd][Ii][Ss][Ss]?://"))),
        ("duration", either(pattern("^([0-9]+(ms|s|m|h|d))+$"))),
        ("size", either(pattern("^[0-9]+(B|KiB|MiB|GiB)$"))),
        (
            "count",
            Json::Object(any_of(vec![
                object([("type", text("integer")), ("minimum", number(0))]),
                pattern("^[0-9]+$"),
                variable(),
            ])),
        ),
        (
            "ratio",
            Json::Object(any_of(vec![
                object([("type", text("number")), ("minimum", number(0)), ("maximum", number(1))]),
                pattern(r"^(0|1|[01]\.[0-9]{1,6})$"),
                variable(),
            ])),
        ),
        (
            "boolean",
            Json::Object(any_of(vec![object([("type", text("boolean"))]), words(&["true", "false"]), variable()])),
        ),
        ("text", object([("type", single(r#"["string", "number", "boolean"]"#))])),
        (
            "variable",
            object([
                ("description", text("`${NAME}`, `${NAME:-default}`, `${NAME:?message}`")),
                ("type", text("string")),
                ("pattern", text(r"\$\{")),
            ]),
        ),
    ]);
    match plain {
        Json::Object(members) => Json::Object(members.into_iter().chain(maps).collect()),
        other => other,
    }
}

#[test]
fn schema() {
    let description = "docs/reference/configuration.md is the reference. Only `sessiongate check` validates what depends \
        on several options, on files or on variables.";
    let begin = [
        member("$schema", text("https://json-schema.org/draft/2020-12/schema")),
        member("title", text("The configuration of sessiongate")),
        member("description", text(description)),
    ];
    let members = begin.into_iter().chain(of_map(&ROOT)).chain([member("$defs", definitions())]);
    generated_file("config/schema.json", &(Json::Object(members.collect()).write(0, 0) + "\n"));
}
