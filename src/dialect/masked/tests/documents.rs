//! Documents without a schema, of any content.

use super::*;

const NAMES: [&str; 6] = ["device", "last_ip", "clients", "user_id", "session_metadata", "other"];
const KEYS: [&str; 3] = ["cart_a", "team_a", "last_ip"];

/// Fills documents, with every text only once.
struct Filler {
    bits: u64,
    texts: Vec<(Vec<String>, String)>,
}

impl Filler {
    fn pick(&mut self, count: u64) -> u64 {
        self.bits = self.bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.bits >> 33) % count
    }

    fn value(&mut self, path: &[String], depth: u32) -> Value {
        let depth = depth.saturating_sub(1);
        match self.pick(if depth == 0 { 5 } else { 9 }) {
            0 => Value::Null,
            1 => json!(5),
            2..5 => {
                let text = format!("<{}>", 100_000 + self.texts.len());
                self.texts.push((path.to_vec(), text.clone()));
                json!(text)
            }
            5 | 6 => (0..self.pick(3)).map(|_| self.value(path, depth)).collect(),
            _ => self.object(path, depth),
        }
    }

    fn object(&mut self, path: &[String], depth: u32) -> Value {
        let names = if path == ["session_metadata"] { &KEYS[..] } else { &NAMES[..] };
        let mut members = serde_json::Map::new();
        for name in names {
            if self.pick(2) == 0 {
                let path = [path, &[(*name).to_owned()]].concat();
                members.insert((*name).to_owned(), self.value(&path, depth));
            }
        }
        Value::Object(members)
    }

    /// A session, which has an ID and otherwise anything.
    fn session(&mut self) -> Value {
        let mut session = self.object(&[], 4);
        session["id"] = json!("s1");
        session
    }
}

fn is_hidden(path: &[String], masks: &Masks) -> bool {
    let begins = |hidden: &Vec<String>| path.starts_with(hidden);
    let denied = matches!(path, [name, key, ..] if name == "session_metadata" && !masks.shows_key(key));
    // Metadata that is not an object has no keys to look at.
    let shapeless = masks.hides_keys() && matches!(path, [name] if name == "session_metadata");
    denied || shapeless || masks.masked().iter().chain(masks.dropped()).any(begins)
}

proptest! {
    #[test]
    fn hidden_texts_are_in_no_byte_of_a_document(
        bits in any::<u64>(),
        picks in prop::collection::vec(
            (prop::collection::vec(prop::sample::select(&NAMES[..]), 1..3), any::<bool>()),
            0..4,
        ),
        keys in prop::option::of(prop::sample::select(vec!["cart_*", "last_ip", "none"])),
        lists in any::<bool>(),
    ) {
        let of = |wanted: bool| {
            let mine = picks.iter().filter(|(_, masked)| *masked == wanted);
            mine.map(|(path, _)| AUTH0.field_path(&path.join("."))).collect::<Vec<_>>()
        };
        let keys = keys.map(|key| KeyPatterns(vec![KeyPattern::parse(key).unwrap()]));
        let Some(masks) = Masks::new(of(true), of(false), keys) else { return Ok(()) };
        let mut filler = Filler { bits, texts: Vec::new() };
        let (operation, document) = if lists {
            (Operation::ListSessions, json!({"sessions": [filler.session(), filler.session()], "next": "n"}))
        } else {
            (Operation::ReadSession, filler.session())
        };
        let shown = left(&AUTH0, operation, &document, &masks).unwrap().to_string();
        for (path, text) in &filler.texts {
            let is_partly = masks.masked().iter().chain(masks.dropped()).any(|hidden| hidden.starts_with(path));
            if is_hidden(path, &masks) {
                prop_assert!(!shown.contains(text), "{:?} {:?} {}", path, masks, shown);
            } else if !is_partly {
                prop_assert!(shown.contains(text), "{:?} {:?} {} {}", path, masks, document, shown);
            }
        }
        for key in ["cart_a", "team_a"].iter().filter(|key| !masks.shows_key(key)) {
            prop_assert!(!shown.contains(key), "{} {:?} {}", key, masks, shown);
        }
    }
}
