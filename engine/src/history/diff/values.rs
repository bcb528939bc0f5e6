//! How values differ, part by part.

use in_mem_model::Value;
use serde::{Deserialize, Serialize};

/// How one part of a value differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueDiff {
    /// Where in the value, such as `.steps[2].name`; empty: the value itself.
    pub path: String,
    /// What is there in the first; `None`: nothing.
    pub a: Option<Value>,
    /// What is there in the second; `None`: nothing.
    pub b: Option<Value>,
}

/// Where two values differ, part by part: fields by name, items by place.
pub fn diff_values(a: &Value, b: &Value) -> Vec<ValueDiff> {
    let mut parts = Vec::new();
    walk(&mut String::new(), Some(a), Some(b), &mut parts);
    parts
}

/// Adds where two values at a path differ.
pub(super) fn walk(path: &mut String, a: Option<&Value>, b: Option<&Value>, parts: &mut Vec<ValueDiff>) {
    if a == b {
        return;
    }
    let len = path.len();
    match (a, b) {
        (Some(Value::Object(x)), Some(Value::Object(y))) => {
            let (mut x, mut y) = (x.iter().peekable(), y.iter().peekable());
            loop {
                let (name, a, b) = match (x.peek(), y.peek()) {
                    (None, None) => break,
                    (Some((n, a)), None) => (*n, Some(*a), None),
                    (None, Some((n, b))) => (*n, None, Some(*b)),
                    (Some((n, a)), Some((m, b))) => match n.cmp(m) {
                        std::cmp::Ordering::Less => (*n, Some(*a), None),
                        std::cmp::Ordering::Greater => (*m, None, Some(*b)),
                        std::cmp::Ordering::Equal => (*n, Some(*a), Some(*b)),
                    },
                };
                if a.is_some() {
                    x.next();
                }
                if b.is_some() {
                    y.next();
                }
                path.push('.');
                path.push_str(name);
                walk(path, a, b, parts);
                path.truncate(len);
            }
        }
        (Some(Value::Array(x)), Some(Value::Array(y))) => {
            for place in 0..x.len().max(y.len()) {
                path.push_str(&format!("[{place}]"));
                walk(path, x.get(place), y.get(place), parts);
                path.truncate(len);
            }
        }
        _ => parts.push(ValueDiff { path: path.clone(), a: a.cloned(), b: b.cloned() }),
    }
}
