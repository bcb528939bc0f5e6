//! The data model of in-mem: what a run, a key and a value are, how they are ordered, limited and written as bytes.
//!
//! Everything above this crate speaks these types; nothing here knows about shards, logs or files.
//!
//! ```
//! use in_mem_model::{value, Value};
//!
//! let plan = value!({ "goal": "book a flight", "steps": ["search", "pay"], "budget": 420.5 });
//! assert_eq!(plan["steps"][0].as_str(), Some("search"));
//! assert_eq!(Value::from_json(&plan.to_json())?, plan);
//! # Ok::<(), in_mem_model::ValueError>(())
//! ```
//!
//! - [`RunId`], [`Namespace`]: which run, and for whom it ran.
//! - [`Key`], [`KeyBytes`], [`Tag`]: where something lives inside a run.
//! - [`Value`], [`Object`]: what lives there. [`Version`], [`Timestamp`], [`VersionedValue`]: since when.
//! - [`codec`]: values as canonical bytes. [`limits`]: every bound, in one place.

pub mod codec;
mod de;
mod error;
mod from_typed;
pub mod hex;
mod json;
mod key;
pub mod limits;
mod literal;
mod namespace;
mod object;
mod run_id;
mod ser;
mod tag;
mod timestamp;
mod to_typed;
mod value;
mod value_from;
mod version;
mod versioned;

pub use codec::DecodeError;
pub use error::{
    KeyError, NamespaceError, ParseRunIdError, ParseTagError, ParseTimestampError, SerdeError, ValueError,
};
pub use key::{Key, KeyBytes};
#[doc(hidden)]
pub use literal::private;
pub use namespace::Namespace;
pub use object::Object;
pub use run_id::RunId;
pub use tag::Tag;
pub use timestamp::Timestamp;
pub use value::{Kind, Value};
pub use value_from::Element;
pub use version::Version;
pub use versioned::VersionedValue;
