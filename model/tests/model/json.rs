//! JSON says every value, and every JSON is a value.

use in_mem_model::limits::MAX_DEPTH;
use in_mem_model::{Object, Value, ValueError, value};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::any;

proptest! {
    #[test]
    fn every_value_comes_back_from_json(value in any::value()) {
        let json = value.to_json();
        prop_assert_eq!(Value::from_json(&json), Ok(value.clone()));
        prop_assert_eq!(Value::from(json), value);
    }

    #[test]
    fn every_value_comes_back_from_text(value in any::value()) {
        let text = value.to_string();
        prop_assert_eq!(&Value::parse_json(&text).unwrap(), &value);
        prop_assert_eq!(&text, &serde_json::to_string(&value).unwrap());
        prop_assert_eq!(text, value.to_json().to_string());
    }

    #[test]
    fn every_json_comes_back(value in any::value()) {
        // Any JSON, made by reading the text of any value as if it were foreign, with tags of all sorts in it.
        let json: Json = serde_json::from_str(&value.to_string()).unwrap();
        prop_assert_eq!(Value::from_json(&json).unwrap().to_json(), json);
    }

    #[test]
    fn integers_are_exact(int in any::<u64>()) {
        let value = Value::from_json(&json!(int)).unwrap();
        prop_assert_eq!(value.as_u64(), Some(int));
        prop_assert_eq!(&value, &Value::from(int));
        prop_assert_eq!(value.to_json(), json!(int));
    }
}

#[test]
fn forms_are_as_documented() {
    let cases = [
        (Value::from(&[0xde, 0xad, 0xbe, 0xef]), json!({ "$bytes": "3q2+7w==" })),
        (value!(f64::NAN), json!({ "$float": "NaN" })),
        (value!(f64::NEG_INFINITY), json!({ "$float": "-Infinity" })),
        (value!(u64::MAX), json!(u64::MAX)),
        (value!({ "$bytes": "3q2+7w==" }), json!({ "$$bytes": "3q2+7w==" })),
        (value!({ "$$float": "NaN" }), json!({ "$$$float": "NaN" })),
        (value!({ "$$uint": "18446744073709551615" }), json!({ "$uint": "18446744073709551615" })),
        (value!(1), json!(1)),
        (value!(1.0), json!(1.0)),
    ];
    for (value, json) in cases {
        assert_eq!(value.to_json(), json);
        assert_eq!(Value::from_json(&json).unwrap(), value);
    }
    assert_eq!(value!([1, 1.0, -0.0, 1e300]).to_string(), "[1,1.0,-0.0,1e+300]");
}

#[test]
fn what_only_resembles_a_tagged_form_is_an_object() {
    let lookalikes = [
        json!({ "$bytes": 5 }),
        json!({ "$bytes": "not base64" }),
        json!({ "$bytes": "AR==" }), // bits set that no bytes use
        json!({ "$float": "1.0" }),
        json!({ "$uint": "12" }),
        json!({ "$uint": "018446744073709551615" }),
        json!({ "$ref": "AQ==" }),
        json!({ "$bytes": "AQ==", "x": 1 }),
        json!({ "bytes": "AQ==" }),
    ];
    for json in lookalikes {
        let value = Value::from_json(&json).unwrap();
        assert!(value.as_object().is_some_and(|object| object.len() == json.as_object().unwrap().len()));
        assert_eq!(value.to_json(), json);
    }
}

#[test]
fn nesting_is_refused_one_level_past_the_limit() {
    let nested = |levels| (0..levels).fold(json!({ "$bytes": "AQ==" }), |inner, _| json!([inner]));
    let deepest = Value::from_json(&nested(MAX_DEPTH)).unwrap();
    assert_eq!(deepest.depth(), MAX_DEPTH);
    assert_eq!(Value::parse_json(&nested(MAX_DEPTH).to_string()).unwrap(), deepest);

    let too_deep = ValueError::TooDeep { limit: MAX_DEPTH };
    assert_eq!(Value::from_json(&nested(MAX_DEPTH + 1)), Err(too_deep.clone()));
    assert_eq!(Value::from_json(&nested(5_000)), Err(too_deep.clone()));
    assert_eq!(Value::from(nested(5_000)).check(), Err(too_deep.clone()));
    let text = nested(MAX_DEPTH + 1).to_string();
    assert!(Value::parse_json(&text).unwrap_err().to_string().contains(&too_deep.to_string()));
    let objects = (0..=MAX_DEPTH).fold(Value::Null, |inner, _| Value::from(Object::from([("a", inner)])));
    assert!(Value::parse_json(&objects.to_string()).is_err());
}

#[test]
fn numbers_out_of_range_are_errors() {
    assert!(Value::parse_json("1e400").is_err());
    assert_eq!(Value::parse_json("1e308").unwrap(), value!(1e308));
    // Integers that 64 bits cannot hold are floats, as everywhere in JSON.
    assert_eq!(Value::parse_json("18446744073709551616").unwrap(), value!(18_446_744_073_709_551_616.0));
    assert!(Value::try_from(u128::MAX).is_err());
    assert!(Value::try_from(i128::from(i64::MIN) - 1).is_err());
    assert_eq!(Value::try_from(u128::from(u64::MAX)), Ok(value!(u64::MAX)));
}

#[test]
fn of_two_fields_with_one_name_the_later_stays() {
    assert_eq!(Value::parse_json(r#"{"a":1,"b":0,"a":2,"a":3}"#).unwrap(), value!({ "a": 3, "b": 0 }));
}
