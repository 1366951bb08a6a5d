//! References to secrets and certificates. Their values are never in the configuration itself.

use super::FindingId;
use super::environment::{NotUtf8, text_of};
use super::error::{Location, Problem};
use super::options::declare::Opt;
use super::options::kind::SecretOf;
use super::options::secrets as rows;
use super::options::table::Declared;
use super::section::{Context, Entry, Section};
use super::value;
use super::variables::is_name;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use std::path::PathBuf;

/// The forms of a reference to a secret.
pub(super) const FORMS: &str = "expected `{ file: path }` or `{ env: NAME }`";

/// A secret, if the option is set.
pub(super) fn secret(section: &mut Section, option: &Opt<SecretOf>) -> Option<SecretSlice<u8>> {
    let entry = section.entry(option)?;
    referenced_secret(section.context, &entry, option.kind.min)
}

/// A secret that is UTF-8 text, if the option is set.
pub(super) fn text(section: &mut Section, option: &Opt<SecretOf>) -> Option<SecretString> {
    let entry = section.entry(option)?;
    let found = referenced_secret(section.context, &entry, option.kind.min)?;
    let text = std::str::from_utf8(found.expose_secret()).map(SecretString::from);
    text.map_err(|_| {
        section.context.reject(&entry.location, Problem::new("the secret is not valid UTF-8").id(FindingId::Secret))
    })
    .ok()
}

/// The secret that an entry refers to, of at least `least` bytes.
pub(super) fn referenced_secret(context: &mut Context, entry: &Entry, least: usize) -> Option<SecretSlice<u8>> {
    if entry.is_single() {
        let problem = Problem::new("the configuration must not contain secrets").id(FindingId::Secret).expected(FORMS);
        context.reject(&entry.location, problem);
        return None;
    }
    let found = context.read_map(entry, referred)??;
    let length = found.expose_secret().len();
    if length == 0 && least == 1 {
        context.reject(&entry.location, Problem::new("the secret is empty").id(FindingId::Secret));
        return None;
    }
    if length < least {
        let problem = Problem::new(format!("the secret has {length} bytes"))
            .id(FindingId::Secret)
            .expected(format!("at least {least} are required"));
        context.reject(&entry.location, problem);
        return None;
    }
    Some(found)
}

fn referred(section: &mut Section) -> Option<SecretSlice<u8>> {
    let file = section.entry(&rows::FILE);
    let env = section.entry(&rows::ENV);
    match (file, env) {
        (Some(file), None) => {
            let (_, bytes) = contents(section.context, &file)?;
            Some(SecretSlice::from(without_line_end(bytes)))
        }
        (None, Some(env)) => {
            let environment = section.context.environment;
            let value = env.read(section.context, |text| {
                // The text may be the secret itself, so no message repeats it.
                let wrong = |what: &str| Problem::new(what).id(FindingId::Variable);
                let name = Some(text.as_str()).filter(|name| is_name(name));
                let name = name.ok_or_else(|| wrong("the text is not a valid name of an environment variable"))?;
                let value = text_of(environment, name).map_err(|NotUtf8| wrong("the variable is not valid UTF-8"))?;
                value.ok_or_else(|| wrong("the environment has no variable of this name"))
            })?;
            Some(SecretSlice::from(value.into_bytes()))
        }
        (None, None) => missing(section, "neither `file` nor `env` is set"),
        (Some(_), Some(_)) => missing(section, "`file` and `env` cannot be combined"),
    }
}

fn missing<T>(section: &mut Section, found: &str) -> Option<T> {
    let location = section.location.clone();
    section.context.reject(&location, Problem::new(found).id(FindingId::Secret).expected(FORMS));
    None
}

/// The location, path and contents of a file, if the option is set. The contents may be secret.
pub(super) fn file(section: &mut Section, option: &dyn Declared) -> Option<(Location, PathBuf, SecretSlice<u8>)> {
    let entry = section.entry(option)?;
    let (path, bytes) = contents(section.context, &entry)?;
    Some((entry.location, path, SecretSlice::from(bytes)))
}

/// The path and the contents of the file that an entry names.
fn contents(context: &mut Context, entry: &Entry) -> Option<(PathBuf, Vec<u8>)> {
    let (path, shown) = entry.read(context, |text| Ok((value::path(text)?, text.shown().to_owned())))?;
    let problem = |error| Problem::new(format!("{error}: {shown}")).id(FindingId::File);
    let found = context.environment.file(&path);
    found.map(|bytes| (path, bytes)).map_err(|error| context.reject(&entry.location, problem(error))).ok()
}

/// Removes the line end that editors and `echo` add to a file.
fn without_line_end(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}
