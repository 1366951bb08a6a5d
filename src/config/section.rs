//! Reads options out of the tree. All errors are collected, and options that were not read are unknown.

use super::error::{ConfigError, Location, Problem, listed, path_below};
use super::options::declare::Opt;
use super::options::kind::{Or, Parse};
use super::options::table::Declared;
use super::tree::{Member, Node, NodeKind};
use super::variables::Text;
use super::{Environment, FindingId};

/// Collects errors and warnings, and gives access to the environment.
pub(super) struct Context<'l> {
    pub file: &'l str,
    pub environment: &'l dyn Environment,
    /// The path of an option that stands in the wrong map, by the path of that map and its key.
    pub elsewhere: fn(&str, &str) -> Option<String>,
    pub faults: Vec<ConfigError>,
    pub warnings: Vec<ConfigError>,
    /// Whether a forward proxy comes from the environment.
    pub uses_proxy_variables: bool,
}

impl<'l> Context<'l> {
    /// Before anything is read.
    pub fn new(
        file: &'l str,
        environment: &'l dyn Environment,
        elsewhere: fn(&str, &str) -> Option<String>,
    ) -> Context<'l> {
        Context { file, environment, elsewhere, faults: Vec::new(), warnings: Vec::new(), uses_proxy_variables: false }
    }
}

/// A value with its location.
#[derive(Clone)]
pub(super) struct Entry<'t> {
    pub location: Location,
    node: &'t Node,
}

/// A parsed value with its location.
#[derive(Debug, Clone)]
pub(super) struct Spanned<T> {
    pub location: Location,
    pub value: T,
}

impl<T> Spanned<T> {
    /// Values without their locations.
    pub fn values(spanned: Vec<Spanned<T>>) -> Vec<T> {
        spanned.into_iter().map(|spanned| spanned.value).collect()
    }
}

/// A map of options. An option is known once it was read.
pub(super) struct Section<'t, 'c, 'l> {
    pub location: Location,
    pub context: &'c mut Context<'l>,
    members: &'t [Member],
    known: Vec<&'static str>,
}

impl Context<'_> {
    /// Adds an error.
    pub fn reject(&mut self, location: &Location, problem: Problem) {
        self.faults.push(problem.at(self.file, location));
    }

    /// Adds a warning. Each kind of warning has an ID of its own.
    pub fn warn(&mut self, location: &Location, id: FindingId, problem: Problem) {
        self.warnings.push(problem.id(id).at(self.file, location));
    }
}

impl<'l> Context<'l> {
    /// Reads a map of options, and rejects the options that `read` did not read. `None` if the value is not a map.
    pub fn read_map<'t, T>(
        &mut self,
        entry: &Entry<'t>,
        read: impl FnOnce(&mut Section<'t, '_, 'l>) -> T,
    ) -> Option<T> {
        let members = entry.members(self)?;
        let mut section = Section { location: entry.location.clone(), context: self, members, known: Vec::new() };
        let value = read(&mut section);
        section.reject_unknown();
        Some(value)
    }
}

impl<'t> Entry<'t> {
    /// The whole text.
    pub fn root(node: &'t Node) -> Entry<'t> {
        Entry { location: Location { path: String::new(), place: node.place }, node }
    }

    fn member(parent: &Location, member: &'t Member) -> Entry<'t> {
        let single = matches!(member.value.kind, NodeKind::Scalar { .. }) && !member.value.is_null();
        let place = if single { member.value.place } else { member.place };
        Entry { location: Location { path: path_below(&parent.path, &member.key), place }, node: &member.value }
    }

    /// Whether the value is a single one: not a map, a list or null.
    pub fn is_single(&self) -> bool {
        matches!(self.node.kind, NodeKind::Scalar { .. }) && !self.node.is_null()
    }

    /// The value as text, with its references resolved.
    pub fn text(&self, context: &mut Context) -> Option<Text> {
        let NodeKind::Scalar { text, .. } = &self.node.kind else {
            context.reject(&self.location, wrong_type(format!("expected a single value, found {}", self.node.name())));
            return None;
        };
        if self.node.is_null() {
            context.reject(&self.location, wrong_type("has no value"));
            return None;
        }
        match Text::resolve(text, context.environment) {
            Ok(text) => Some(text),
            Err(problems) => {
                problems.into_iter().for_each(|problem| context.reject(&self.location, problem));
                None
            }
        }
    }

    /// The parsed value.
    pub fn read<T>(&self, context: &mut Context, parse: impl FnOnce(&Text) -> Result<T, Problem>) -> Option<T> {
        let parsed = parse(&self.text(context)?);
        parsed.map_err(|problem| context.reject(&self.location, problem)).ok()
    }

    /// The items of a list. An empty list is an error, and `allowed` its hint.
    pub fn items(&self, context: &mut Context, allowed: &str) -> Vec<Entry<'t>> {
        let NodeKind::Sequence(items) = &self.node.kind else {
            context.reject(&self.location, wrong_type(format!("expected a list, found {}", self.node.name())));
            return Vec::new();
        };
        if items.is_empty() {
            context.reject(
                &self.location,
                Problem::new("is an empty list").id(FindingId::MissingOption).expected(allowed),
            );
        }
        let entry = |(index, node): (usize, &'t Node)| Entry {
            location: Location { path: format!("{}[{index}]", self.location.path), place: node.place },
            node,
        };
        items.iter().enumerate().map(entry).collect()
    }

    /// The parsed items of a list.
    pub fn read_items<T>(&self, context: &mut Context, parse: impl Fn(&Text) -> Result<T, Problem>) -> Vec<Spanned<T>> {
        let entries = self.items(context, "add an item, or remove the key").into_iter();
        entries
            .filter_map(|entry| Some(Spanned { value: entry.read(context, &parse)?, location: entry.location }))
            .collect()
    }

    /// The parsed value, or the parsed items of a list.
    pub fn one_or_several<T>(
        &self,
        context: &mut Context,
        parse: impl Fn(&Text) -> Result<T, Problem>,
    ) -> Vec<Spanned<T>> {
        if self.is_single() {
            let value = self.read(context, parse);
            return value.map(|value| Spanned { location: self.location.clone(), value }).into_iter().collect();
        }
        self.read_items(context, parse)
    }

    /// The items of a list, or the value itself.
    pub fn each(self, context: &mut Context) -> Vec<Entry<'t>> {
        match self.node.kind {
            NodeKind::Sequence(_) => self.items(context, "add an item, or remove the key"),
            NodeKind::Scalar { .. } | NodeKind::Map(_) => vec![self],
        }
    }

    fn members(&self, context: &mut Context) -> Option<&'t [Member]> {
        if let NodeKind::Map(members) = &self.node.kind {
            return Some(members);
        }
        let problem = wrong_type(format!("expected a map of options, found {}", self.node.name()));
        context.reject(&self.location, problem);
        None
    }

    /// The entries of a map with user-defined keys. `None` if the value is not a map.
    pub fn named(&self, context: &mut Context) -> Option<Vec<(&'t str, Entry<'t>)>> {
        let members = self.members(context)?;
        let entry = |member: &'t Member| (member.key.as_str(), Entry::member(&self.location, member));
        Some(members.iter().map(entry).collect())
    }
}

impl<'t, 'l> Section<'t, '_, 'l> {
    /// An option's value, if set.
    pub fn entry(&mut self, option: &dyn Declared) -> Option<Entry<'t>> {
        let key = option.key();
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let member = self.members.iter().find(|member| member.key == key)?;
        Some(Entry::member(&self.location, member))
    }

    /// Whether an option is set.
    pub fn has(&self, option: &dyn Declared) -> bool {
        self.members.iter().any(|member| member.key == option.key())
    }

    /// Whether no option is set.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where those of the options are that are set.
    pub fn places(&self, options: &[&'static dyn Declared]) -> Vec<(&'static str, Location)> {
        let set = options.iter().filter(|option| self.has(**option));
        set.map(|option| (option.key(), self.location_of(*option))).collect()
    }

    /// The location of an option, or of the map that lacks it.
    pub fn location_of(&self, option: &dyn Declared) -> Location {
        let key = option.key();
        let member = self.members.iter().find(|member| member.key == key);
        let missing = || Location { path: path_below(&self.location.path, key), place: self.location.place };
        member.map_or_else(missing, |member| Entry::member(&self.location, member).location)
    }

    /// An option's value, or its default. The row says what is valid.
    pub fn get<K: Parse + Sync>(&mut self, option: &Opt<Or<K>>) -> K::Value
    where
        K::Value: Sync,
    {
        let Or { kind, default } = &option.kind;
        self.parse(option, |text| kind.parse(text)).unwrap_or(*default)
    }

    /// An option's value, if set. The row says what is valid.
    pub fn find<K: Parse + Sync>(&mut self, option: &Opt<K>) -> Option<K::Value> {
        self.parse(option, |text| option.kind.parse(text))
    }

    /// An option's parsed value, if set.
    pub fn parse<T>(&mut self, option: &dyn Declared, parse: impl FnOnce(&Text) -> Result<T, Problem>) -> Option<T> {
        self.entry(option)?.read(self.context, parse)
    }

    /// An option's value; an error if it is not set. `allowed` describes it.
    pub fn required(&mut self, option: &dyn Declared, allowed: &str) -> Option<Entry<'t>> {
        let entry = self.entry(option);
        if entry.is_none() {
            let location = self.location_of(option);
            self.context.reject(&location, Problem::new("is missing").id(FindingId::MissingOption).expected(allowed));
        }
        entry
    }

    /// The parsed items of an option that is a list, if set.
    pub fn list<T>(
        &mut self,
        option: &dyn Declared,
        parse: impl Fn(&Text) -> Result<T, Problem>,
    ) -> Option<Vec<Spanned<T>>> {
        let entry = self.entry(option)?;
        Some(entry.read_items(self.context, parse))
    }

    /// The parsed values of a required option that is a single value or a list.
    pub fn one_or_several<T>(
        &mut self,
        option: &dyn Declared,
        allowed: &str,
        parse: impl Fn(&Text) -> Result<T, Problem>,
    ) -> Vec<Spanned<T>> {
        let entry = self.required(option, allowed);
        entry.map_or_else(Vec::new, |entry| entry.one_or_several(self.context, parse))
    }

    /// Reads a nested map of options. If it is not set, all its options have their defaults.
    pub fn subsection<T>(&mut self, option: &dyn Declared, read: impl FnOnce(&mut Section<'t, '_, 'l>) -> T) -> T {
        let entry = self.entry(option);
        let location = self.location_of(option);
        let members = entry.and_then(|entry| entry.members(self.context)).unwrap_or_default();
        let mut section = Section { location, context: &mut *self.context, members, known: Vec::new() };
        let value = read(&mut section);
        section.reject_unknown();
        value
    }

    /// Reads a nested map of options, if set.
    pub fn optional_subsection<T>(
        &mut self,
        option: &dyn Declared,
        read: impl FnOnce(&mut Section<'t, '_, 'l>) -> T,
    ) -> Option<T> {
        let entry = self.entry(option)?;
        self.context.read_map(&entry, read)
    }

    /// Rejects the options that were not read. The hint is a similar option of this map, or the same of another map.
    fn reject_unknown(self) {
        for member in self.members.iter().filter(|member| !self.known.contains(&member.key.as_str())) {
            let location = Location { path: path_below(&self.location.path, &member.key), place: member.place };
            let allowed = format!("allowed: {}", listed(self.known.iter().copied()));
            let problem = Problem::new("unknown key").id(FindingId::UnknownOption).expected(allowed);
            let problem = problem.like(&member.key, self.known.iter().copied());
            let problem = problem.or_suggest(|| (self.context.elsewhere)(&self.location.path, &member.key));
            self.context.reject(&location, problem);
        }
    }
}

fn wrong_type(found: impl Into<String>) -> Problem {
    Problem::new(found).id(FindingId::WrongType)
}
