//! By which fields a request searches, filters or sorts a list: what comes out tells something of them.

use super::{DecodedBody, Dialect, Filters, Route};
use crate::wire::message::{Object, Value};

/// A condition or an order of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchTerm {
    /// What it does, in the caller's own terms: "filtering by `userAgentQuery`".
    pub text: String,
    /// The field of a session that it depends on, empty for none. `None` if that is unknown.
    pub field: Option<&'static [&'static str]>,
}

impl SearchTerm {
    fn filter(name: &str, field: Option<&'static [&'static str]>) -> SearchTerm {
        SearchTerm { text: format!("filtering by `{}`", name.escape_debug()), field }
    }
}

impl Dialect {
    /// By what a request for a list searches, filters and sorts it. `query` is its canonical query.
    pub fn search_terms(&self, route: &Route, body: &DecodedBody, query: Option<&str>) -> Vec<SearchTerm> {
        let parameters =
            query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
        let of_parameter = |name: &str| self.names.search_parameters.iter().find(|(own, _)| *own == name);
        let mut terms: Vec<SearchTerm> =
            parameters.filter_map(of_parameter).map(|(name, field)| SearchTerm::filter(name, Some(field))).collect();
        if route.names_user() {
            terms.push(SearchTerm { text: "filtering by the user in the path".into(), field: Some(self.names.user) });
        }
        if let (Some(filters), DecodedBody::Message(parsed)) = (&self.names.filters, body) {
            collect(filters, parsed.root(), &mut terms);
        }
        terms
    }
}

/// Collects the terms of a message. What is unknown may be one, too.
fn collect(filters: &Filters, root: &Object, terms: &mut Vec<SearchTerm>) {
    let unknown =
        |object: &Object| object.unknown.iter().map(|name| SearchTerm::filter(name, None)).collect::<Vec<_>>();
    terms.extend(unknown(root));
    for item in &root.items {
        match &item.value {
            Value::Messages(elements) if item.field.name == filters.field => {
                for element in elements {
                    terms.extend(unknown(&element.object));
                    for filter in &element.object.items {
                        let field = filters.fields.iter().find(|(own, _)| *own == filter.field.name);
                        terms.push(SearchTerm::filter(&filter.spelling, field.map(|(_, field)| *field)));
                    }
                }
            }
            // Unspecified: the provider's own order.
            Value::Enum(0) => {}
            Value::Enum(column) if item.field.name == filters.sorting => {
                let field = filters.columns.iter().find(|(own, _)| own == column);
                let text = format!("sorting by `{}`", item.spelling);
                terms.push(SearchTerm { text, field: field.map(|(_, field)| *field) });
            }
            Value::Message(page) => terms.extend(unknown(page)),
            _ => terms.push(SearchTerm::filter(&item.spelling, None)),
        }
    }
}
