//! Keys: their order, their text, their neighbours.

use std::collections::HashMap;

use in_mem_model::{Key, KeyBytes, RunId, Tag};
use proptest::prelude::*;

proptest! {
    #[test]
    fn keys_come_back_from_json_whatever_their_bytes(bytes in any::<Vec<u8>>()) {
        let key = KeyBytes::from(bytes);
        let text = serde_json::to_string(&key).unwrap();
        prop_assert_eq!(serde_json::from_str::<KeyBytes>(&text).unwrap(), key);
    }

    #[test]
    fn keys_are_ordered_by_run_then_tag_then_bytes(
        a in (any::<[u8; 16]>(), 1_u8..6, any::<Vec<u8>>()), b in (any::<[u8; 16]>(), 1_u8..6, any::<Vec<u8>>()),
    ) {
        let key = |(run, tag, user): &(_, _, Vec<u8>)| {
            Key::new(RunId::from_bytes(*run), Tag::try_from(*tag).unwrap(), user.as_slice())
        };
        prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
    }

    #[test]
    fn the_end_of_a_prefix_is_the_first_key_past_it(
        prefix in prop::collection::vec(250_u8.., 0..4), other in prop::collection::vec(249_u8.., 0..6),
    ) {
        let other_is_past = other > prefix && !other.starts_with(&prefix);
        match KeyBytes::from(prefix.as_slice()).prefix_end() {
            Some(end) => prop_assert_eq!(other.as_slice() >= &*end, other_is_past),
            None => prop_assert!(!other_is_past),
        }
    }
}

#[test]
fn a_map_of_keys_is_asked_with_slices() {
    let map = HashMap::from([(KeyBytes::from("short"), 1), (KeyBytes::from("long".repeat(20)), 2)]);
    assert_eq!(map.get(b"short".as_slice()), Some(&1));
    assert_eq!(map.get("long".repeat(20).as_bytes()), Some(&2));
}

#[test]
fn forty_bytes_take_no_allocation() {
    assert_eq!(KeyBytes::from(vec![1; 40]).heap_bytes(), 0);
    assert!(KeyBytes::from(vec![1; 41]).heap_bytes() >= 41);
}

#[test]
fn keys_print_as_one_line_of_text() {
    assert_eq!(KeyBytes::from("plan/é").to_string(), "plan/é");
    assert_eq!(KeyBytes::from(b"a\n\xff\x00").to_string(), r"a\n\xff\u{0}");
    let key = Key::new(RunId::from_bytes([0; 16]), Tag::State, "step");
    assert_eq!(key.to_string(), "00000000-0000-0000-0000-000000000000/state/step");
    let json = r#"{"run":"00000000-0000-0000-0000-000000000000","tag":"state","user":"step"}"#;
    assert_eq!(serde_json::to_string(&key).unwrap(), json);
    assert_eq!(serde_json::from_str::<Key>(json).unwrap(), key);
}

#[test]
fn a_key_in_json_is_text_or_tagged_bytes_and_nothing_else() {
    assert_eq!(serde_json::from_str::<KeyBytes>(r#"{"$bytes":"/w=="}"#).unwrap(), KeyBytes::from([0xff]));
    for wrong in ["5", "null", "{}", r#"{"$bytes":"/w=="#, r#"{"$bytes":"!"}"#, r#"{"x":"/w=="}"#] {
        assert!(serde_json::from_str::<KeyBytes>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn tags_are_fixed_numbers_and_names() {
    for (tag, number, name) in [
        (Tag::Kv, 1, "kv"),
        (Tag::Event, 2, "event"),
        (Tag::State, 3, "state"),
        (Tag::Trace, 4, "trace"),
        (Tag::Run, 5, "run"),
    ] {
        assert_eq!((tag.as_u8(), tag.name()), (number, name));
        assert_eq!(Tag::try_from(number), Ok(tag));
        assert_eq!(name.to_uppercase().parse(), Ok(tag));
    }
    assert!(Tag::try_from(0).is_err() && Tag::try_from(6).is_err() && "x".parse::<Tag>().is_err());
}
