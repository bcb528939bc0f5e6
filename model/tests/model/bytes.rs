//! The codec: one encoding a value, one value an encoding, and no input that harms.

use in_mem_model::codec::{
    Cursor, decode_value, encode_value, encoded_len, put_bytes, put_signed, put_str, put_u8, put_varint,
};
use in_mem_model::limits::MAX_DEPTH;
use in_mem_model::{DecodeError, Value, value};
use proptest::prelude::*;

use crate::any;

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_value(value, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn every_value_comes_back(value in any::value(), after in any::<[u8; 3]>()) {
        let mut bytes = encoded(&value);
        prop_assert_eq!(bytes.len(), encoded_len(&value));
        let len = bytes.len();
        bytes.extend(after);
        prop_assert_eq!(decode_value(&bytes), Ok((value, len)));
    }

    #[test]
    fn equal_values_and_no_others_have_equal_bytes(a in any::value(), b in any::value()) {
        prop_assert_eq!(a == b, encoded(&a) == encoded(&b));
        prop_assert_eq!(a == b, a.digest() == b.digest());
    }

    #[test]
    fn what_decodes_is_the_encoding_of_what_it_decodes_to(bytes in prop::collection::vec(0_u8..12, 0..40)) {
        if let Ok((value, len)) = decode_value(&bytes) {
            prop_assert_eq!(encoded(&value), &bytes[..len]);
        }
    }

    #[test]
    fn damage_is_an_error_or_another_canonical_value(
        value in any::value(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = encoded(&value);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok((other, len)) = decode_value(&bytes) {
            prop_assert_eq!(encoded(&other), &bytes[..len]);
        }
    }

    #[test]
    fn every_cut_is_an_error(value in any::value()) {
        let bytes = encoded(&value);
        for len in 0..bytes.len() {
            prop_assert!(decode_value(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn fields_come_back_in_the_order_written(
        byte in any::<u8>(), int in any::<u64>(), signed in any::<i64>(), bytes in any::<Vec<u8>>(),
        text in any::<String>(), fixed in any::<[u8; 7]>(), value in any::value(),
    ) {
        let mut out = Vec::new();
        put_u8(byte, &mut out);
        put_varint(int, &mut out);
        put_signed(signed, &mut out);
        put_bytes(&bytes, &mut out);
        put_str(&text, &mut out);
        out.extend(fixed);
        encode_value(&value, &mut out);

        let mut cursor = Cursor::new(&out);
        prop_assert_eq!(cursor.u8(), Ok(byte));
        prop_assert_eq!(cursor.varint(), Ok(int));
        prop_assert_eq!(cursor.signed(), Ok(signed));
        prop_assert_eq!(cursor.bytes(), Ok(&*bytes));
        prop_assert_eq!(cursor.str(), Ok(&*text));
        prop_assert_eq!(cursor.array(), Ok(fixed));
        prop_assert!(cursor.finish().is_err());
        prop_assert_eq!(cursor.value(), Ok(value));
        prop_assert!(cursor.is_empty());
        prop_assert_eq!(cursor.finish(), Ok(()));
    }
}

/// The file format: these bytes are in logs and checkpoints, whichever library writes them.
#[test]
fn bytes_are_fixed() {
    let cases: &[(Value, &[u8])] = &[
        (value!(null), &[0]),
        (value!(false), &[1]),
        (value!(true), &[2]),
        (value!(0), &[3, 0]),
        (value!(-1), &[3, 1]),
        (value!(125), &[3, 250]),
        (value!(-126), &[3, 251, 251, 0]),
        (value!(40_000), &[3, 252, 0x80, 0x38, 1, 0]),
        (value!(i64::MIN), &[3, 253, 255, 255, 255, 255, 255, 255, 255, 255]),
        (value!(1.5), &[4, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f]),
        (value!(-0.0), &[4, 0, 0, 0, 0, 0, 0, 0, 0x80]),
        (value!(f64::from_bits(0xfff0_0000_0000_0001)), &[4, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f]),
        (value!("é"), &[5, 2, 0xc3, 0xa9]),
        (value!(vec![9_u8, 8]), &[6, 2, 9, 8]),
        (value!([null, [true]]), &[7, 2, 0, 7, 1, 2]),
        (value!({ "b": 1, "a": {} }), &[8, 2, 1, b'a', 8, 0, 1, b'b', 3, 2]),
    ];
    for (value, bytes) in cases {
        assert_eq!(encoded(value), *bytes, "{value}");
        assert_eq!(decode_value(bytes), Ok((value.clone(), bytes.len())));
    }
}

#[test]
fn a_hundred_bytes_take_at_most_two_more() {
    assert_eq!(encoded_len(&Value::from(vec![7_u8; 100])), 102);
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    for tag in 5..=8 {
        for claimed in [1, 1 << 20, 1 << 60, u64::MAX] {
            let mut bytes = vec![tag];
            put_varint(claimed, &mut bytes);
            assert!(matches!(decode_value(&bytes), Err(DecodeError::Truncated { .. })), "{bytes:?}");
        }
    }
    // Each level claims as many items as there are bytes left.
    let mut bytes = Vec::new();
    for _ in 0..MAX_DEPTH {
        bytes.push(7);
        put_varint(1 << 40, &mut bytes);
    }
    assert!(matches!(decode_value(&bytes), Err(DecodeError::Truncated { .. })));
}

#[test]
fn nesting_is_refused_one_level_past_the_limit() {
    let deepest = any::nested(MAX_DEPTH);
    assert_eq!(decode_value(&encoded(&deepest)).unwrap().0, deepest);
    let too_deep = decode_value(&encoded(&any::nested(MAX_DEPTH + 1)));
    assert_eq!(too_deep, Err(DecodeError::TooDeep { offset: 2 * MAX_DEPTH, limit: MAX_DEPTH }));
    let bottomless = [7_u8, 1].repeat(1 << 20);
    assert_eq!(
        decode_value(&bottomless),
        Err(DecodeError::TooDeep { offset: 2 * MAX_DEPTH, limit: MAX_DEPTH })
    );
}

#[test]
fn other_encodings_of_a_value_are_refused_with_their_place() {
    let not_canonical: &[(&[u8], usize)] = &[
        (&[3, 251, 1, 0], 1),                       // 1 in three bytes
        (&[6, 252, 1, 0, 0, 0, 9], 1),              // a length in five bytes
        (&[4, 1, 0, 0, 0, 0, 0, 0xf8, 0x7f], 0),    // another NaN
        (&[8, 2, 1, b'b', 0, 1, b'a', 0], 5),       // fields out of order
        (&[8, 2, 1, b'a', 0, 1, b'a', 0], 5),       // a field twice
        (&[7, 1, 8, 2, 1, b'a', 0, 1, b'a', 0], 7), // the same inside
    ];
    for (bytes, place) in not_canonical {
        match decode_value(bytes) {
            Err(DecodeError::NotCanonical { offset, .. }) => assert_eq!(offset, *place, "{bytes:?}"),
            other => panic!("{bytes:?} gave {other:?}"),
        }
    }
    assert_eq!(
        decode_value(&[9]),
        Err(DecodeError::Unexpected { offset: 0, expected: "the tag of a value", found: 9 })
    );
    assert_eq!(
        decode_value(&[7, 255]),
        Err(DecodeError::Unexpected { offset: 1, expected: "an unsigned integer", found: 255 })
    );
    assert_eq!(decode_value(&[5, 3, b'a', 0xff, b'b']), Err(DecodeError::Utf8 { offset: 3 }));
    assert_eq!(decode_value(&[8, 1, 1, 0xff, 0]), Err(DecodeError::Utf8 { offset: 3 }));
    assert!(matches!(decode_value(&[]), Err(DecodeError::Truncated { offset: 0, .. })));
}

#[test]
fn a_cursor_stays_where_the_fault_begins() {
    let mut cursor = Cursor::new(&[1, 5, 3, b'a', 0xff, b'b']);
    assert_eq!(cursor.u8(), Ok(1));
    assert!(cursor.value().is_err());
    assert_eq!((cursor.offset(), cursor.remaining()), (1, 5));
    assert!(cursor.array::<6>().is_err());
    assert_eq!(cursor.finish(), Err(DecodeError::Trailing { offset: 1, remaining: 5 }));
}
