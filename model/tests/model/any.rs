//! Any value, key or id, for property tests.

use std::sync::Arc;

use in_mem_model::{Object, Value};
use proptest::prelude::*;

/// Names that collide with the tagged forms of JSON on purpose, among others.
fn name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        3 => "[a-c]{0,2}",
        1 => "\\PC{0,8}",
        2 => "[$]{1,3}(bytes|float|uint|x)",
    ]
    .prop_map(Into::into)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "\\PC{0,12}",
        1 => any::<String>(),
        1 => Just("AQ==".to_owned()),
        1 => prop_oneof![Just("NaN"), Just("Infinity"), Just("-Infinity")].prop_map(str::to_owned),
        1 => (i64::MAX as u64 - 1..).prop_map(|int| int.to_string()),
    ]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => any::<u64>().prop_map(f64::from_bits),
        2 => any::<i32>().prop_map(f64::from),
        1 => prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324]),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![0, 1, -1, 250, 251, -125, -126, i64::MIN, i64::MAX]).prop_map(Value::Int),
        any::<u64>().prop_map(Value::from),
        float().prop_map(Value::from),
        text().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::from),
    ]
}

/// Any value, small.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name(), inner.clone()), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            (name(), inner).prop_map(|field| Value::Object(Object::from([field]))),
        ]
    })
}

/// So many arrays in one another.
pub(crate) fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| Value::array([inner]))
}
