//! Every bound on what may be stored, in one place. One past a limit is a typed error and changes nothing.
//!
//! There is no lower bound: a key, a cell's name, a span's id, an event's kind, a stream's and a run's name may be empty.

/// Longest user key, in bytes.
///
/// Keys live in the index and are copied into every record; what is longer is a value in disguise.
pub const MAX_KEY_BYTES: usize = 16 * 1024;

/// Largest value, in bytes as [`codec`](crate::codec) writes it (32 MiB).
pub const MAX_VALUE_BYTES: usize = 32 * 1024 * 1024;

/// Deepest nesting of arrays and objects in a value, in levels. A scalar has depth 0, `[]` depth 1.
///
/// JSON readers commonly stop at 128 levels. 100 leaves room for the tagged forms of [`Value::to_json`](crate::Value::to_json)
/// and for an envelope around the value, so that everything stored can be printed and read again.
pub const MAX_DEPTH: usize = 100;

/// Longest tenant, app or agent of a [`Namespace`](crate::Namespace), in bytes.
pub const MAX_NAMESPACE_PART_BYTES: usize = 128;

/// Longest name of a run, in bytes.
pub const MAX_RUN_NAME_BYTES: usize = 256;

/// Most labels (key and value pairs a run can be found by) on one run.
pub const MAX_LABELS_PER_RUN: usize = 64;

/// Longest value of a run's label, in bytes.
pub const MAX_LABEL_VALUE_BYTES: usize = 1024;

/// Longest kind of an event, in bytes.
pub const MAX_EVENT_KIND_BYTES: usize = 128;

/// Longest name of a span, in bytes.
pub const MAX_SPAN_NAME_BYTES: usize = 256;

/// Most operations in one transaction: writes, plus keys and ranges read. Whatever makes one commit of many writes is one: several
/// puts, events or spans at once, a commit of a bundle. Only a fork of the past takes back as much as was changed since.
pub const MAX_TRANSACTION_OPS: usize = 65_536;

/// Largest write set of one transaction, in encoded bytes of keys, values and events (64 MiB). A write that
/// the transaction itself overwrites does not count.
pub const MAX_TRANSACTION_BYTES: usize = 64 * 1024 * 1024;

// One value under the longest key must fit a transaction, or the largest value could never be written.
const _: () = assert!(MAX_KEY_BYTES + MAX_VALUE_BYTES < MAX_TRANSACTION_BYTES);

/// Most changes that a watch may hold back for its reader. Room for all of them is taken when the watch begins.
pub const MAX_WATCH_CAPACITY: usize = 1 << 20;
