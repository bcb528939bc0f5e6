//! Values have one order, and equality and hashes agree with it.

use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};

use in_mem_model::{Value, value};
use proptest::prelude::*;

use crate::any;

proptest! {
    #[test]
    fn order_is_total(a in any::value(), b in any::value(), c in any::value()) {
        prop_assert_eq!(a.cmp(&a), Ordering::Equal);
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
        let mut sorted = [&a, &b, &c];
        sorted.sort();
        prop_assert!(sorted[0] <= sorted[1] && sorted[1] <= sorted[2] && sorted[0] <= sorted[2]);
    }

    #[test]
    fn equal_values_hash_alike(a in any::value()) {
        let hash = RandomState::new();
        let b = Value::parse_json(&a.to_string()).unwrap();
        prop_assert_eq!(hash.hash_one(&a), hash.hash_one(&b));
    }
}

#[test]
fn the_order_is_as_documented() {
    let sorted = [
        value!(null),
        value!(false),
        value!(true),
        value!(i64::MIN),
        value!(1),
        value!(f64::NEG_INFINITY),
        value!(-0.0),
        value!(0.0),
        value!(1.0),
        value!(f64::INFINITY),
        value!(f64::NAN),
        value!(""),
        value!("a"),
        value!("é"),
        value!(vec![0_u8]),
        value!([]),
        value!([null]),
        value!([null, null]),
        value!({}),
        value!({ "a": 1 }),
        value!({ "a": 2 }),
        value!({ "b": 0 }),
    ];
    assert!(sorted.is_sorted_by(|a, b| a < b));
    let other_nan = Value::Float(f64::from_bits(0xfff8_0000_0000_0001));
    assert_eq!(other_nan, value!(f64::NAN));
    assert_eq!(other_nan.digest(), value!(f64::NAN).digest());
    let hash = RandomState::new();
    assert_eq!(hash.hash_one(&other_nan), hash.hash_one(value!(f64::NAN)));
}
