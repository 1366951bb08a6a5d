//! Patterns for the names in a client certificate.

use crate::policy::KeyPattern;
use std::net::IpAddr;

/// Types of alternative names, as they are written before a name and before a pattern.
const TYPES: [&str; 4] = ["DNS:", "URI:", "email:", "IP:"];

/// A pattern for alternative names of one type.
#[derive(Debug, Clone)]
pub struct AlternativeNamePattern {
    kind: &'static str,
    pattern: KeyPattern,
}

impl AlternativeNamePattern {
    /// Compiles a pattern after its type: `DNS:*.acme.example`, `URI:/spiffe:.*/`.
    pub fn parse(source: &str) -> Result<AlternativeNamePattern, String> {
        let typed = TYPES.into_iter().find_map(|kind| Some((kind, source.strip_prefix(kind)?)));
        let (kind, rest) = typed.ok_or("has no type of name; expected `DNS:…`, `URI:…`, `email:…` or `IP:…`")?;
        let is_expression = rest.starts_with('/') && rest.ends_with('/');
        let pattern = match (kind, rest.parse::<IpAddr>()) {
            ("IP:", Ok(address)) => KeyPattern::parse(&address.to_string())?,
            ("DNS:" | "IP:", _) if !is_expression => KeyPattern::parse(&rest.to_ascii_lowercase())?,
            _ => KeyPattern::parse(rest)?,
        };
        Ok(AlternativeNamePattern { kind, pattern })
    }

    /// Whether this name, with its type, matches.
    pub fn matches(&self, name: &str) -> bool {
        name.strip_prefix(self.kind).is_some_and(|name| self.pattern.matches(name))
    }

    /// Whether every name that `other` matches certainly matches this.
    pub fn covers(&self, other: &AlternativeNamePattern) -> bool {
        self.kind == other.kind && self.pattern.covers(&other.pattern)
    }
}

/// A pattern for subjects, as RFC 4514 writes them: attribute by attribute, or a regular expression for all of it.
#[derive(Debug, Clone)]
pub struct SubjectPattern {
    source: String,
    matcher: SubjectMatcher,
}

#[derive(Debug, Clone)]
enum SubjectMatcher {
    Expression(KeyPattern),
    /// Attributes with the separators before them.
    Attributes(Vec<(char, KeyPattern)>),
}

impl SubjectPattern {
    /// Compiles a pattern. Within an attribute, `*` matches any characters. In place of an attribute it matches one, and
    /// at the begin or the end one or more.
    pub fn parse(source: &str) -> Result<SubjectPattern, String> {
        let matcher = if source.len() > 1 && source.starts_with('/') && source.ends_with('/') {
            SubjectMatcher::Expression(KeyPattern::parse(source)?)
        } else {
            let compiled = attributes(source).into_iter().map(|(separator, attribute)| {
                if attribute != "*" && (!attribute.contains('=') || attribute.starts_with([' ', '/'])) {
                    return Err("is no subject as RFC 4514 writes it; expected `TYPE=value`, with `,` and no space \
                        between attributes"
                        .to_owned());
                }
                Ok((separator, KeyPattern::parse(attribute)?))
            });
            SubjectMatcher::Attributes(compiled.collect::<Result<_, String>>()?)
        };
        Ok(SubjectPattern { source: source.to_owned(), matcher })
    }

    /// Whether this subject matches.
    pub fn matches(&self, subject: &str) -> bool {
        let own = match &self.matcher {
            SubjectMatcher::Expression(pattern) => return pattern.matches(subject),
            SubjectMatcher::Attributes(own) => own.as_slice(),
        };
        let found = attributes(subject);
        if subject.is_empty() || found.len() < own.len() {
            return false;
        }
        let fits = |own: &[(char, KeyPattern)], found: &[(char, &str)]| {
            own.iter().zip(found).all(|(own, found)| own.0 == found.0 && own.1.matches(found.1))
        };
        let more = found.len() - own.len();
        match own {
            [(_, first), .., (_, last)] if more > 0 && is_any(first) && is_any(last) => {
                let middle = own.get(1..own.len() - 1).unwrap_or_default();
                (0..=more).any(|skipped| {
                    let from = found.get(skipped + 1..).unwrap_or_default();
                    let separator = from.get(middle.len()).map(|found| found.0);
                    fits(middle, from) && separator == own.last().map(|own| own.0)
                })
            }
            [(_, first), rest @ ..] if is_any(first) => fits(rest, found.get(more + 1..).unwrap_or_default()),
            [.., (_, last)] if more == 0 || is_any(last) => fits(own, &found),
            _ => false,
        }
    }

    /// Whether every subject that `other` matches certainly matches this.
    pub fn covers(&self, other: &SubjectPattern) -> bool {
        let is_covered = match (&self.matcher, &other.matcher) {
            (SubjectMatcher::Expression(own), SubjectMatcher::Expression(other)) => own.covers(other),
            (SubjectMatcher::Attributes(_), SubjectMatcher::Expression(_)) => false,
            (_, SubjectMatcher::Attributes(all)) => {
                all.iter().all(|(_, pattern)| pattern.exact().is_some()) && self.matches(&other.source)
            }
        };
        self.source == "*" || self.source == other.source || is_covered
    }
}

fn is_any(pattern: &KeyPattern) -> bool {
    pattern.source() == "*"
}

/// The attributes of a name, with the separators before them: a comma before the first.
fn attributes(name: &str) -> Vec<(char, &str)> {
    let (mut found, mut separator, mut from, mut is_escaped) = (Vec::new(), ',', 0, false);
    for (at, c) in name.char_indices() {
        if !is_escaped && matches!(c, ',' | '+') {
            found.push((separator, name.get(from..at).unwrap_or_default()));
            (separator, from) = (c, at + 1);
        }
        is_escaped = !is_escaped && c == '\\';
    }
    found.push((separator, name.get(from..).unwrap_or_default()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_compared_attribute_by_attribute() {
        for (pattern, matching, other) in [
            ("CN=a", &["CN=a"][..], &["CN=a,O=b", "CN=aa", "O=a", ""][..]),
            ("CN=*", &["CN=", "CN=a", "CN=a\\,O=b"], &["CN=a,O=b", "CN=a+O=b"]),
            ("*,O=Acme", &["CN=a,O=Acme", "CN=a+UID=7,C=DE,O=Acme"], &["CN=evil\\,O=Acme", "O=Acme", "CN=a+O=Acme"]),
            (
                "CN=ops,*",
                &["CN=ops,O=b", "CN=ops,O=b,C=DE"],
                &["CN=ops", "CN=ops+O=b", "CN=ops\\,O=b", "O=Evil,CN=ops"],
            ),
            ("CN=a,*,C=DE", &["CN=a,O=b,C=DE"], &["CN=a,C=DE", "CN=a,O=b,OU=c,C=DE"]),
            (
                "*,O=b,*",
                &["CN=a,O=b,C=c", "X=x,CN=a,O=b,C=c,D=d"],
                &["O=b,C=c", "CN=a,O=b", "CN=a\\,O=b,C=c", "CN=a,O=b+C=c"],
            ),
            ("*", &["CN=a", "CN=a,O=b"], &[""]),
            ("CN=a\\, b*", &["CN=a\\, b", "CN=a\\, b\\, c"], &["CN=a, b", "CN=a\\, c"]),
            ("CN=a\\\\,O=b", &["CN=a\\\\,O=b"], &["CN=a\\,O=b"]),
            ("/CN=a(,.*)?/", &["CN=a", "CN=a,O=b"], &["CN=ab"]),
        ] {
            let compiled = SubjectPattern::parse(pattern).unwrap();
            matching.iter().for_each(|text| assert!(compiled.matches(text), "{pattern} {text}"));
            other.iter().for_each(|text| assert!(!compiled.matches(text), "{pattern} {text}"));
        }
        for unusable in ["", "a", "CN=a, O=b", "CN=a,", "/CN=a", "/(/"] {
            assert!(SubjectPattern::parse(unusable).is_err(), "{unusable}");
        }
    }

    #[test]
    fn alternative_names_have_a_type() {
        for (pattern, matching, other) in [
            (
                "DNS:*.Acme.example",
                &["DNS:x.acme.example"][..],
                &["URI:https://x.acme.example", "email:a@x.acme.example"][..],
            ),
            ("URI:spiffe://acme/*", &["URI:spiffe://acme/a"], &["DNS:spiffe://acme/a", "URI:x spiffe://acme/a"]),
            ("URI:/spiffe:.*/", &["URI:spiffe:a"], &["URI:xspiffe:a", "DNS:spiffe:a"]),
            ("email:*@acme.example", &["email:a@acme.example"], &["URI:x@acme.example"]),
            ("IP:FD00:0::1", &["IP:fd00::1"], &["DNS:fd00::1"]),
            ("IP:10.1.*", &["IP:10.1.2.3"], &["DNS:10.1.2.3"]),
        ] {
            let compiled = AlternativeNamePattern::parse(pattern).unwrap();
            matching.iter().for_each(|text| assert!(compiled.matches(text), "{pattern} {text}"));
            other.iter().for_each(|text| assert!(!compiled.matches(text), "{pattern} {text}"));
        }
        for unusable in ["", "*", "a.example", "spiffe://a", "dns:a", "DNS:", "/DNS:a/", "URI:/(/"] {
            assert!(AlternativeNamePattern::parse(unusable).is_err(), "{unusable}");
        }
    }

    #[test]
    fn patterns_cover_others() {
        let subject =
            |own: &str, other: &str| SubjectPattern::parse(own).unwrap().covers(&SubjectPattern::parse(other).unwrap());
        assert!(subject("*", "CN=a,*") && subject("CN=*,O=b", "CN=a,O=b") && subject("/x/", "/x/"));
        assert!(!subject("CN=*", "CN=a*") && !subject("*,O=b", "CN=a") && !subject("CN=a", "/CN=a/"));
        let name = |own: &str, other: &str| {
            AlternativeNamePattern::parse(own).unwrap().covers(&AlternativeNamePattern::parse(other).unwrap())
        };
        assert!(name("DNS:*", "DNS:a") && !name("DNS:*", "URI:a"));
    }
}
