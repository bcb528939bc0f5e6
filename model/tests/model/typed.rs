//! Rust types to values and back.

use std::collections::{BTreeMap, HashMap};

use in_mem_model::limits::MAX_DEPTH;
use in_mem_model::{KeyBytes, Kind, RunId, SerdeError, Value, ValueError, value};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_test::{Compact, Configure, Token, assert_de_tokens_error, assert_tokens};

use crate::any;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Step {
    Idle,
    Wait(u32),
    Move(i64, f64),
    Call { tool: String, args: Value },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Plan {
    id: RunId,
    goal: String,
    seed: u64,
    cost: Option<f64>,
    steps: Vec<Step>,
    notes: HashMap<String, String>,
    by_turn: BTreeMap<u32, (char, i8)>,
    unit: (),
    #[serde(default)]
    absent: bool,
}

fn plan(seed: u64, args: Value) -> Plan {
    Plan {
        id: RunId::from_bytes([7; 16]),
        goal: "book a flight".into(),
        seed,
        cost: Some(f64::INFINITY),
        steps: vec![
            Step::Idle,
            Step::Wait(3),
            Step::Move(-1, -0.0),
            Step::Call { tool: "search".into(), args },
        ],
        notes: [("k".into(), "v".into())].into(),
        by_turn: [(3, ('x', -4)), (20, ('é', 5))].into(),
        unit: (),
        absent: true,
    }
}

proptest! {
    #[test]
    fn types_come_back(seed in any::<u64>(), args in any::value()) {
        let plan = plan(seed, args);
        let value = Value::from_serialize(&plan).unwrap();
        prop_assert_eq!(value.deserialize::<Plan>().unwrap(), plan);
    }

    #[test]
    fn a_value_is_its_own_type(value in any::value()) {
        prop_assert_eq!(&Value::from_serialize(&value).unwrap(), &value);
        prop_assert_eq!(&value.deserialize::<Value>().unwrap(), &value);
    }

    #[test]
    fn the_form_is_that_of_json(value in any::value()) {
        let json = value.to_json();
        prop_assert_eq!(&Value::from_serialize(&json).unwrap(), &value);
        prop_assert_eq!(value.deserialize::<serde_json::Value>().unwrap(), json);
    }
}

#[test]
fn maps_that_look_like_tagged_forms_come_back() {
    for (name, text) in
        [("$bytes", "AQ=="), ("$$bytes", "AQ=="), ("$float", "NaN"), ("$uint", "18446744073709551615")]
    {
        let map = HashMap::from([(name.to_owned(), text.to_owned())]);
        let value = Value::from_serialize(&map).unwrap();
        assert_eq!(value.deserialize::<HashMap<String, String>>().unwrap(), map);
    }
}

#[test]
fn bytes_stay_bytes_and_nan_stays_nan() {
    struct Raw<'a>(&'a [u8]);
    impl Serialize for Raw<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
    assert_eq!(Value::from_serialize(&Raw(b"ab")).unwrap(), Value::from(b"ab"));
    assert_eq!(Value::from(b"ab").deserialize::<Vec<u8>>().unwrap(), b"ab");
    assert_eq!(Value::from_serialize(&f64::NAN).unwrap(), value!(f64::NAN));
    assert!(value!(f64::NAN).deserialize::<f64>().unwrap().is_nan());
    assert_eq!(value!(3).deserialize::<f64>().unwrap(), 3.0);
}

#[test]
fn another_type_is_an_error_that_says_so() {
    assert_eq!(
        Value::from(b"text").deserialize::<String>(),
        Err(SerdeError::WrongType { found: Kind::Bytes, expected: "text" })
    );
    let error = value!("three").deserialize::<u32>().unwrap_err().to_string();
    assert!(error.contains("three") && error.contains("u32"), "{error}");
    assert!(value!(300).deserialize::<u8>().is_err());
    assert!(value!(1.5).deserialize::<i64>().is_err());
    assert!(value!({ "Wait": "x" }).deserialize::<Step>().is_err());
    assert!(value!({ "Wait": 1, "Idle": 2 }).deserialize::<Step>().is_err());
    assert!(value!("Wait").deserialize::<Step>().is_err());
    assert!(value!("Jump").deserialize::<Step>().is_err());
    assert!(value!([1, 2, 3]).deserialize::<(i32, i32)>().is_err());
}

#[test]
fn what_a_value_cannot_hold_is_refused() {
    let pairs = HashMap::from([((1, 2), 3)]);
    assert_eq!(Value::from_serialize(&pairs), Err(SerdeError::KeyNotText { found: "a tuple" }));
    let error = Value::from_serialize(&u128::MAX).unwrap_err();
    assert_eq!(error, ValueError::IntegerOutOfRange(u128::MAX.to_string()).into());
}

#[test]
fn nesting_is_refused_one_level_past_the_limit() {
    #[derive(Serialize)]
    enum Nest {
        End,
        More(Box<Nest>),
        Tuple(Box<Nest>, ()),
    }
    let nest = |levels| (0..levels).fold(Nest::End, |inner, _| Nest::More(Box::new(inner)));
    assert_eq!(Value::from_serialize(&nest(MAX_DEPTH)).unwrap().depth(), MAX_DEPTH);
    let too_deep = SerdeError::from(ValueError::TooDeep { limit: MAX_DEPTH });
    assert_eq!(Value::from_serialize(&nest(MAX_DEPTH + 1)), Err(too_deep.clone()));
    // A variant of several takes two levels, one for its name and one for the list.
    let tuples = |levels| (0..levels).fold(Nest::End, |inner, _| Nest::Tuple(Box::new(inner), ()));
    assert_eq!(Value::from_serialize(&tuples(MAX_DEPTH / 2)).unwrap().depth(), MAX_DEPTH);
    assert_eq!(Value::from_serialize(&tuples(MAX_DEPTH / 2 + 1)), Err(too_deep.clone()));
    // Bytes are no level, whichever way they come.
    let bytes = |levels| (0..levels).fold(Value::from(b"x"), |inner, _| value!([inner]));
    assert_eq!(Value::from_serialize(&bytes(MAX_DEPTH)).unwrap(), bytes(MAX_DEPTH));
    assert_eq!(Value::from_serialize(&bytes(MAX_DEPTH + 1)), Err(too_deep));
}

#[test]
fn formats_for_machines_get_the_encoded_bytes() {
    let value = value!({ "a": [1, null] });
    let bytes: &[u8] = &[8, 1, 1, b'a', 7, 2, 3, 2, 0];
    assert_tokens(&value.compact(), &[Token::Bytes(bytes)]);
    assert_de_tokens_error::<Compact<Value>>(
        &[Token::Bytes(&[0, 0])],
        "at byte 1: the end expected, but 1 bytes follow",
    );
    assert_tokens(&RunId::from_bytes([7; 16]).compact(), &[Token::Bytes(&[7; 16])]);
    assert_de_tokens_error::<Compact<RunId>>(
        &[Token::Bytes(&[7; 15])],
        "invalid length 15, expected a UUID as text or 16 bytes",
    );
    assert_tokens(&KeyBytes::from("k").compact(), &[Token::Bytes(b"k")]);
}
