//! The validation rules of protoc-gen-validate, with its error texts.

use super::object::{Codec, Object, Value};
use crate::wire::schema::{Constraint, Field, FieldType};

/// A violation of the provider's validation rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintViolation {
    /// The field's path in the caller's own spelling.
    pub path: String,
    /// The provider's text for this violation.
    pub text: String,
}

/// All violations, in the order of the fields.
pub(super) fn constraint_violations(object: &Object, codec: Codec) -> Vec<ConstraintViolation> {
    let mut all = Vec::new();
    for field in object.schema.fields {
        let item = object.item(field.name);
        let spelling = item.map_or(
            match codec {
                Codec::Proto => field.name,
                Codec::Json => field.json,
            },
            |item| &item.spelling,
        );
        // Made for violations only: most requests have none.
        let begins = || format!("invalid {}.{}: ", object.schema.name, go_name(field.name));
        let chosen = object.schema.oneofs.iter().any(|oneof| oneof.members.contains(&field.number));
        let value = item.map(|item| &item.value);
        if let Some(reason) = checked(field, value).filter(|_| item.is_some() || !chosen) {
            all.push(ConstraintViolation { path: spelling.to_owned(), text: begins() + &reason });
        }
        if let Some(Value::Message(inner)) = value {
            all.extend(constraint_violations(inner, codec).into_iter().map(|inner| ConstraintViolation {
                path: format!("{spelling}.{}", inner.path),
                text: format!("{}embedded message failed validation | caused by: {}", begins(), inner.text),
            }));
        }
    }
    for oneof in object.schema.oneofs.iter().filter(|oneof| oneof.required) {
        if !object.items.iter().any(|item| oneof.members.contains(&item.field.number)) {
            let names = object.schema.fields.iter().filter(|field| oneof.members.contains(&field.number));
            let names: Vec<&str> =
                names.map(|field| if codec == Codec::Json { field.json } else { field.name }).collect();
            let text = format!("invalid {}.{}: value is required", object.schema.name, oneof.name);
            all.push(ConstraintViolation { path: names.join("|"), text });
        }
    }
    all
}

/// The violation of a field's rule.
fn checked(field: &Field, value: Option<&Value>) -> Option<String> {
    let length = || match value {
        Some(Value::Text(text)) => text.chars().count(),
        _ => 0,
    };
    match field.constraint {
        Constraint::None => None,
        Constraint::Runes { min, max } => out_of(length(), min, max),
        Constraint::OptionalRunes { min, max } => value.and_then(|_| out_of(length(), min, max)),
        Constraint::ExactRunes(exact) => (length() != exact).then(|| format!("value length must be {exact} runes")),
        Constraint::MinRunes(min) => (length() < min).then(|| format!("value length must be at least {min} runes")),
        Constraint::Positive => match value {
            Some(Value::Duration(span))
                if span.seconds < 0 || span.nanos < 0 || (span.seconds, span.nanos) == (0, 0) =>
            {
                Some("value must be greater than 0s".to_owned())
            }
            _ => None,
        },
        Constraint::Required => value.is_none().then(|| "value is required".to_owned()),
        Constraint::Defined => {
            let number = match value {
                Some(Value::Enum(number)) => *number,
                _ => 0,
            };
            let known = matches!(field.kind, FieldType::Enum(names) if names.iter().any(|(own, _)| *own == number));
            match number {
                0 => Some("value must not be in list [0]".to_owned()),
                _ if !known => Some("value must be one of the defined enum values".to_owned()),
                _ => None,
            }
        }
    }
}

fn out_of(length: usize, min: usize, max: usize) -> Option<String> {
    if (min..=max).contains(&length) {
        return None;
    }
    Some(match min {
        0 => format!("value length must be at most {max} runes"),
        _ => format!("value length must be between {min} and {max} runes, inclusive"),
    })
}

/// A field's name in Go: `OtpSms` for `otp_sms`.
fn go_name(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>()
    };
    name.split('_').map(word).collect()
}
