use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Document {
    Document::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn edited(text: &str, changes: &[Change]) -> String {
    let document = parse(text);
    String::from_utf8(document.edited(document.root(), changes).to_vec()).unwrap()
}

fn rejection(text: &str) -> String {
    Document::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_err().to_string()
}

#[test]
fn ambiguous_json_is_rejected() {
    assert_eq!(rejection(r#"{"a":1,"\u0061":2}"#), "found a duplicate key at byte 7");
    for keys in [2, 15, 16, 17, 18, 100] {
        let distinct: Vec<String> = (1..keys).map(|key| format!(r#""{key:03}":0"#)).collect();
        Document::parse(Bytes::from(format!("{{{}}}", distinct.join(",")))).unwrap();
        for twice in [1, keys / 2, keys - 1].map(|key| key.max(1)) {
            let document = format!(r#"{{{},"{twice:03}":0}}"#, distinct.join(","));
            assert_eq!(rejection(&document), format!("found a duplicate key at byte {}", (keys - 1) * 8 + 1));
        }
    }
    assert_eq!(rejection(r#"{"a":{"b":1,"b":2}}"#), "found a duplicate key at byte 12");
    // Keys of one length and with the same ends.
    Document::parse(Bytes::from_static(br#"{"a1b":0,"a2b":0,"":0,"a":0,"aa":0}"#)).unwrap();
    assert_eq!(rejection(r#"{"a1b":0,"a2b":0,"a1b":0}"#), "found a duplicate key at byte 17");
    assert_eq!(rejection(r#"{"":0,"a":0,"":0}"#), "found a duplicate key at byte 12");
    assert_eq!(rejection("\u{feff}{}"), "found a byte order mark at byte 0");
    assert_eq!(rejection(r#"{} {}"#), "expected the end of the document, found `{` at byte 3");
    assert_eq!(rejection(r#"["\ud800"]"#), "found an invalid escape in a string at byte 1");
    assert_eq!(rejection("9007199254740992"), "found a number that parsers read differently at byte 0");
    assert_eq!(rejection("1e400"), "found a number that parsers read differently at byte 0");
    assert_eq!(rejection("{\"a\":1}\0"), "expected the end of the document, found `\\u{0}` at byte 7");
    for (text, at) in [("[\n\"a\nb\"]", 4), ("[\"\\\"\u{1f}\"]", 4), ("[\"\t", 2), ("[\"a\\\\\0", 5)] {
        assert_eq!(rejection(text), format!("found a control character in a string at byte {at}"), "{text:?}");
    }
    assert_eq!(rejection("[\n\"a"), "found an unterminated string at byte 2");
    assert_eq!(rejection(""), "expected a value, found the end at byte 0");
    assert_eq!(rejection(&"[".repeat(33)), "found more than 32 levels of nesting at byte 32");
    assert_eq!(rejection(r#"{"a":01}"#), "found an invalid number at byte 5");
}

#[test]
fn unedited_documents_keep_their_bytes() {
    let text = " {\"a\" : \"\\u003cb\" ,\t\"z\":1.50}\n";
    assert_eq!(edited(text, &[]), text);
}

#[test]
fn only_edited_members_change() {
    let text = r#"{ "A" : 1.50 , "b":"\u0078" , "c" : [1, 2] }"#;
    let changes = [Change::Key(0, "a".into()), Change::Text(0, "1.50".into())];
    assert_eq!(edited(text, &changes), r#"{ "a" : "1.50" , "b":"\u0078" , "c" : [1, 2] }"#);
    assert_eq!(edited(text, &[Change::Remove(0)]), r#"{ "b":"\u0078" , "c" : [1, 2] }"#);
    assert_eq!(edited(text, &[Change::Remove(1)]), r#"{ "A" : 1.50 , "c" : [1, 2] }"#);
    assert_eq!(edited(text, &[Change::Remove(2)]), r#"{ "A" : 1.50 , "b":"\u0078" }"#);
    assert_eq!(edited(text, &[Change::Remove(0), Change::Remove(2)]), r#"{ "b":"\u0078" }"#);
    assert_eq!(edited(r#"{"a":1}"#, &[Change::Remove(0), Change::Add("k\"".into(), "v".into())]), r#"{"k\"":"v"}"#);
    assert_eq!(edited("{ }", &[Change::Add("k".into(), "v".into())]), r#"{"k":"v" }"#);
}

#[test]
fn removed_items_leave_no_trace() {
    let without = |text: &str, gone: &[usize]| {
        let document = parse(text);
        String::from_utf8(document.without(document.root(), gone).to_vec()).unwrap()
    };
    let text = r#"[ {"a":1} , "b" ,[ ], 4.0 ]"#;
    assert_eq!(without(text, &[]), text);
    assert_eq!(without(text, &[0]), r#"[ "b" ,[ ], 4.0 ]"#);
    assert_eq!(without(text, &[1]), r#"[ {"a":1} ,[ ], 4.0 ]"#);
    assert_eq!(without(text, &[3]), r#"[ {"a":1} , "b" ,[ ] ]"#);
    assert_eq!(without(text, &[0, 1, 3]), "[ [ ] ]");
    assert_eq!(without(text, &[1, 2, 3]), r#"[ {"a":1} ]"#);
    assert_eq!(without(text, &[0, 1, 2, 3]), "[  ]");
    assert_eq!(without(text, &[9]), text);
    assert_eq!(without(r#"{"a":1}"#, &[0]), r#"{"a":1}"#, "no array");
}

#[test]
fn token_limits_are_exact() {
    let text = Bytes::from(format!("[{}]", vec!["1"; MAX_TOKENS].join(",")));
    assert_eq!(Document::parse(text.clone()).unwrap_err().what, "found more than 10000 keys and values");
    assert!(Document::parse_up_to(MAX_TOKENS + 1, text).is_ok());
}

/// JSONTestSuite: documents that must be rejected (`n_`) are, and documents that must be accepted (`y_`) are. Documents
/// that a parser may accept or reject (`i_`) are rejected.
#[test]
fn json_test_suite() {
    let mut cases = 0;
    for line in include_str!("../../../tests/corpora/json/parsing.jsonl").lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = case["name"].as_str().unwrap();
        let source = match case["text"].as_str() {
            Some(text) => text.repeat(case["times"].as_u64().unwrap_or(1) as usize).into_bytes(),
            None => {
                let digits = case["hex"].as_str().unwrap();
                (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
            }
        };
        let source = Bytes::from(source);
        let accepted = Document::parse(source.clone()).is_ok();
        // The suite accepts duplicate keys; the gateway must not.
        let twice = name.starts_with("y_object_duplicated_key");
        assert_eq!(accepted, name.starts_with("y_") && !twice, "{name}");
        if accepted {
            assert!(serde_json::from_slice::<serde_json::Value>(&source).is_ok(), "{name}");
        }
        cases += 1;
    }
    assert_eq!(cases, 318);
}

fn literal() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i32>().prop_map(|n| n.to_string()),
        any::<String>().prop_map(|s| quoted(&s)),
        Just(r#""\u00e9\n\ud83d\ude00""#.to_owned()),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::btree_map("[a-d]{1,2}", inner, 0..4).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(k, v)| format!("{} : {v}", quoted(k))).collect();
                format!("{{ {} }}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn accepted_text_reads_as_serde_json_reads_it(text in literal()) {
        let document = parse(&text);
        prop_assert_eq!(plain(&document, document.root()), serde_json::from_str::<serde_json::Value>(&text).unwrap());
    }

    #[test]
    fn any_bytes_are_rejected_or_read_as_serde_json_reads_them(source in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(document) = Document::parse(Bytes::from(source.clone())) {
            prop_assert_eq!(plain(&document, document.root()), serde_json::from_slice::<serde_json::Value>(&source).unwrap());
        }
    }

    #[test]
    fn edits_change_what_they_name_and_nothing_else(
        members in prop::collection::btree_map("[a-z]{1,3}", literal(), 1..6),
        picks in prop::collection::vec((0usize..6, 0u8..3, any::<String>()), 0..4),
        added in prop::option::of(any::<String>()),
    ) {
        let text = format!("{{{}}}", members.iter().map(|(k, v)| format!(" {}:{v} ", quoted(k))).collect::<Vec<_>>().join(","));
        let mut expected: Vec<(String, Option<serde_json::Value>)> =
            members.iter().map(|(k, v)| (k.clone(), serde_json::from_str(v).ok())).collect();
        let mut changes = Vec::new();
        let mut touched = std::collections::HashSet::new();
        for (index, what, text) in picks {
            let index = index % members.len();
            if !touched.insert(index) { continue; }
            match what {
                0 => { expected[index].1 = None; changes.push(Change::Remove(index)); }
                1 => { expected[index].1 = Some(text.clone().into()); changes.push(Change::Text(index, text)); }
                _ => { let key = format!("K{index}"); expected[index].0 = key.clone(); changes.push(Change::Key(index, key)); }
            }
        }
        if let Some(text) = added {
            expected.push(("ADDED".into(), Some(text.clone().into())));
            changes.push(Change::Add("ADDED".into(), text));
        }
        let expected: serde_json::Map<String, serde_json::Value> =
            expected.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
        let after: serde_json::Value = serde_json::from_str(&edited(&text, &changes)).unwrap();
        prop_assert_eq!(after, serde_json::Value::Object(expected));
    }
}

fn plain(document: &Document, node: &Node) -> serde_json::Value {
    match &node.kind {
        Kind::Null => serde_json::Value::Null,
        Kind::Bool(b) => (*b).into(),
        Kind::Number => serde_json::from_str(document.spelling(node)).unwrap(),
        Kind::Text(text) => text.as_str().into(),
        Kind::Array(items) => items.iter().map(|item| plain(document, item)).collect(),
        Kind::Object(members) => {
            serde_json::Value::Object(members.iter().map(|m| (m.key.to_string(), plain(document, &m.value))).collect())
        }
    }
}
