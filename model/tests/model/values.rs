//! Making values, looking into them, and what they cost.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use in_mem_model::{Kind, Object, RunId, Timestamp, Value, Version, VersionedValue, value};

#[test]
fn usual_types_become_values() {
    assert_eq!(Value::from(-1_i8), Value::Int(-1));
    assert_eq!(Value::from(7_u8), Value::Int(7));
    assert_eq!(Value::from(7_usize), Value::Int(7));
    assert_eq!(Value::from(0.5_f32), Value::Float(0.5));
    assert_eq!(Value::from('x'), value!("x"));
    assert_eq!(Value::from(None::<i32>), Value::Null);
    assert_eq!(Value::from(Some("a")), value!("a"));
    assert_eq!(Value::from(vec![1_u8, 2]).kind(), Kind::Bytes);
    assert_eq!(Value::from(b"ab").kind(), Kind::Bytes);
    assert_eq!(Value::from(vec![1_u16, 2]), value!([1, 2]));
    assert_eq!(Value::from(["a", "b"]), value!(["a", "b"]));
    assert_eq!(Value::from(vec![Some(1), None]), value!([1, null]));
    assert_eq!(Value::from(vec![vec![1_u8]])[0].kind(), Kind::Bytes);
    assert_eq!(Value::from(BTreeMap::from([("k", 1)])), value!({ "k": 1 }));
    assert_eq!(Value::from(HashMap::from([("k".to_owned(), vec![1, 2])])), value!({ "k": [1, 2] }));
    assert_eq!(Value::from(serde_json::json!({ "k": [1, null] })), value!({ "k": [1, null] }));
    assert_eq!((0..3).collect::<Value>(), value!([0, 1, 2]));
    let id = RunId::from_bytes([1; 16]);
    assert_eq!(Value::from(id).as_str(), Some(&*id.to_string()));
    assert_eq!(Value::from(Timestamp(5)), Value::Int(5));
}

#[test]
fn unsigned_integers_are_never_rounded() {
    for int in [0, 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        assert_eq!(Value::from(int).as_u64(), Some(int));
    }
    assert_eq!(Value::from(i64::MAX as u64).kind(), Kind::Int);
    assert_eq!(Value::from(u64::MAX), value!({ "$uint": "18446744073709551615" }));
    assert_eq!(value!(-1).as_u64(), None);
    assert_eq!(value!({ "$uint": "5" }).as_u64(), None);
}

#[test]
fn looking_into_values_never_panics() {
    let doc = value!({ "a/b": [10, { "~": true }], "n": null });
    assert_eq!(doc["a/b"][0], value!(10));
    assert_eq!(doc["missing"]["deeper"][7], Value::Null);
    assert_eq!(doc.pointer("/a~1b/1/~0"), Some(&value!(true)));
    assert_eq!(doc.pointer(""), Some(&doc));
    for wrong in ["/a~1b/01", "/a~1b/+1", "/a~1b/2", "/n/x", "n", "/"] {
        assert_eq!(doc.pointer(wrong), None, "{wrong}");
    }
    assert_eq!(doc.depth(), 3);
}

#[test]
fn objects_are_sorted_and_the_later_of_equal_names_stays() {
    let object: Object = [("b", 1), ("a", 2), ("b", 3), ("b", 4)].into();
    assert_eq!(object.iter().collect::<Vec<_>>(), [("a", &value!(2)), ("b", &value!(4))]);
    let other = object.with("aa", 9).with("b", 5).without("a").without("none");
    assert_eq!(Value::from(other), value!({ "aa": 9, "b": 5 }));
    assert_eq!(object.len(), 2);
    assert!(Object::new().is_empty() && Object::default().get("a").is_none());
}

#[test]
fn literals_take_expressions_everywhere() {
    let (name, list) = ("computed".to_owned(), vec![1, 2]);
    let value = value!({ (name): list.len() as u32 * 2, "list": list, "neg": -1, "call": i64::from(3_u8), "t": [[], {},], });
    assert_eq!(value.to_string(), r#"{"call":3,"computed":4,"list":[1,2],"neg":-1,"t":[[],{}]}"#);
}

#[test]
fn a_clone_shares_its_contents() {
    let text: Arc<str> = "shared".into();
    let value = Value::from(text.clone());
    let copies = vec![value; 10];
    assert_eq!(Arc::strong_count(&text), 11);
    drop(copies);
    assert_eq!(Arc::strong_count(&text), 1);
    assert_eq!(size_of::<Value>(), 24);
}

#[test]
fn heap_bytes_follow_the_contents() {
    assert_eq!(value!(5).heap_bytes(), 0);
    assert_eq!(Value::from(vec![0_u8; 100]).heap_bytes(), 120);
    assert_eq!(value!([1, 2]).heap_bytes(), 16 + 2 * 24);
    assert_eq!(value!({ "a": "bc" }).heap_bytes(), 16 + 40 + 24 + 24);
}

#[test]
fn a_value_is_gone_from_its_end_on() {
    let mut stored = VersionedValue {
        value: value!(1),
        version: Version(7),
        timestamp: Timestamp(10),
        expires_at: Some(Timestamp(20)),
    };
    assert!(!stored.is_expired(Timestamp(19)) && stored.is_expired(Timestamp(20)));
    let text = serde_json::to_string(&stored).unwrap();
    assert_eq!(text, r#"{"value":1,"version":7,"timestamp":10,"expires_at":20}"#);
    assert_eq!(serde_json::from_str::<VersionedValue>(&text).unwrap(), stored);
    stored.expires_at = None;
    assert!(!stored.is_expired(Timestamp::MAX));
    assert!(Version::ZERO < Version::ZERO.next() && Version::MAX.next() == Version::MAX);
}
