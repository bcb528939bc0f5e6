//! At each limit things are accepted, one past it they are refused.

use in_mem_model::limits::{MAX_DEPTH, MAX_KEY_BYTES, MAX_NAMESPACE_PART_BYTES, MAX_VALUE_BYTES};
use in_mem_model::{Key, KeyBytes, KeyError, Namespace, NamespaceError, RunId, Tag, Value, ValueError};

use crate::any;

/// A tag, and a length of more than two bytes.
const HEADER_BYTES: usize = 6;

#[test]
fn values_by_size() {
    let limit = MAX_VALUE_BYTES;
    let largest = vec![0_u8; limit - HEADER_BYTES];
    assert_eq!(Value::from(&*largest).check(), Ok(()));
    let mut larger = largest;
    larger.push(0);
    let too_large = ValueError::TooLarge { actual: limit + 1, limit };
    assert_eq!(Value::from(larger).check(), Err(too_large.clone()));

    let text = |len| Value::from("x".repeat(len));
    assert_eq!(text(limit - HEADER_BYTES).check(), Ok(()));
    assert_eq!(text(limit - HEADER_BYTES + 1).check(), Err(too_large.clone()));

    // Inside an array of one, which takes two bytes.
    let inside = |len| Value::array([text(len)]);
    assert_eq!(inside(limit - HEADER_BYTES - 2).check(), Ok(()));
    assert_eq!(inside(limit - HEADER_BYTES - 1).check(), Err(too_large));
}

#[test]
fn values_by_depth() {
    assert_eq!(any::nested(MAX_DEPTH).check(), Ok(()));
    assert_eq!(any::nested(MAX_DEPTH).depth(), MAX_DEPTH);
    assert_eq!(any::nested(MAX_DEPTH + 1).check(), Err(ValueError::TooDeep { limit: MAX_DEPTH }));
}

#[test]
fn keys() {
    let run = RunId::from_bytes([0; 16]);
    assert_eq!(Key::new(run, Tag::Kv, vec![b'k'; MAX_KEY_BYTES]).check(), Ok(()));
    let error = KeyBytes::from("é".repeat(MAX_KEY_BYTES)).check().unwrap_err();
    let KeyError::TooLong { start, actual, limit } = &error else { panic!("{error}") };
    assert_eq!((&**start, *actual, *limit), (&*"é".repeat(16), 2 * MAX_KEY_BYTES, MAX_KEY_BYTES));
    assert!(KeyBytes::from(vec![0; MAX_KEY_BYTES + 1]).check().is_err());
}

#[test]
fn namespaces() {
    let part = "n".repeat(MAX_NAMESPACE_PART_BYTES);
    assert!(Namespace::new(&part, &part, &part).is_ok());
    let error = Namespace::for_agent(part + "n").unwrap_err();
    let (actual, limit) = (MAX_NAMESPACE_PART_BYTES + 1, MAX_NAMESPACE_PART_BYTES);
    assert_eq!(error, NamespaceError::TooLong { part: "agent", actual, limit });
}
