//! What makes a run the same run when it is imported again.

use serde_json::Value;

/// Says what the hash is for, so that it can never be one that other code computes over the same text.
const RUN_ID_CONTEXT: &str = "in-mem 2025 imported run id v1";

/// A version 8 UUID over the source id.
pub(super) fn run_id(source_id: &str) -> [u8; 16] {
    let hash = blake3::derive_key(RUN_ID_CONTEXT, source_id.as_bytes());
    let mut id = [0u8; 16];
    id.copy_from_slice(&hash[..16]);
    id[6] = (id[6] & 0x0f) | 0x80;
    id[8] = (id[8] & 0x3f) | 0x80;
    id
}

/// BLAKE3 over a value's canonical JSON: keys sorted, no white space. Hex.
///
/// The keys are sorted here and not left to the map, whose order depends on a feature that any other crate can switch on.
pub(super) fn digest(value: &Value) -> String {
    let mut hasher = blake3::Hasher::new();
    absorb(value, &mut hasher);
    hasher.finalize().to_hex().to_string()
}

fn absorb(value: &Value, hasher: &mut blake3::Hasher) {
    match value {
        Value::Array(items) => {
            hasher.update(b"[");
            for item in items {
                absorb(item, hasher);
                hasher.update(b",");
            }
            hasher.update(b"]");
        }
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_unstable();
            hasher.update(b"{");
            for key in keys {
                absorb_scalar(&Value::String(key.clone()), hasher);
                hasher.update(b":");
                absorb(&fields[key.as_str()], hasher);
                hasher.update(b",");
            }
            hasher.update(b"}");
        }
        scalar => absorb_scalar(scalar, hasher),
    }
}

fn absorb_scalar(value: &Value, hasher: &mut blake3::Hasher) {
    hasher.update(value.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_a_version_8_uuid_and_depends_on_every_byte() {
        let a = run_id("tau-bench/task-00/trial-0");
        assert_eq!(a, run_id("tau-bench/task-00/trial-0"));
        assert_ne!(a, run_id("tau-bench/task-00/trial-1"));
        assert_eq!(a[6] >> 4, 8);
        assert_eq!(a[8] >> 6, 0b10);
    }

    #[test]
    fn the_digest_ignores_white_space_and_key_order_and_nothing_else() {
        let of = |text: &str| digest(&serde_json::from_str(text).unwrap());
        assert_eq!(of(r#"{"a":1,"b":[true,null]}"#), of("{ \"b\": [true, null],\n \"a\": 1 }"));
        assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":"1"}"#));
        assert_ne!(of(r#"[[1],2]"#), of(r#"[[1,2]]"#));
        assert_ne!(of(r#"{"a":1.0}"#), of(r#"{"a":1}"#));
    }
}
