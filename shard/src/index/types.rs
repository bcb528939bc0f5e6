//! Stand-ins for `in-mem-model` until it has landed; same names, same shapes.
#![allow(missing_docs, missing_debug_implementations)]

use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RunId([u8; 16]);

impl RunId {
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Tag {
    Kv = 1,
    Event = 2,
    State = 3,
    Trace = 4,
    Run = 5,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Version(pub u64);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub i64);

#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    Array(Arc<[Value]>),
}

#[derive(Clone, PartialEq, Debug)]
pub struct VersionedValue {
    pub value: Value,
    pub version: Version,
    pub timestamp: Timestamp,
    pub expires_at: Option<Timestamp>,
}
