//! What can be wrong with a key, a value, an id or a name that somebody hands in.

use std::fmt;

use crate::Kind;

/// A value that cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Arrays and objects are nested deeper than [`MAX_DEPTH`](crate::limits::MAX_DEPTH).
    #[error(
        "the value nests arrays and objects more than {limit} levels deep; flatten it or store parts under keys of their own"
    )]
    TooDeep {
        /// The deepest nesting that is accepted, in levels.
        limit: usize,
    },
    /// The encoded value is larger than [`MAX_VALUE_BYTES`](crate::limits::MAX_VALUE_BYTES).
    #[error(
        "the value takes {actual} bytes encoded, more than the {limit} bytes allowed; split it over several keys"
    )]
    TooLarge {
        /// Encoded size, in bytes.
        actual: usize,
        /// The largest size that is accepted, in bytes.
        limit: usize,
    },
    /// An integer outside `i64::MIN ..= u64::MAX`.
    #[error("the integer {0} does not fit 64 bits; store it as a string")]
    IntegerOutOfRange(String),
}

/// A Rust type that could not be turned into a [`Value`](crate::Value), or back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SerdeError {
    /// A map whose keys are not strings, numbers, characters or booleans.
    #[error(
        "a map key must be a string, a character, a number or a boolean, found {found}; use a list of pairs instead"
    )]
    KeyNotText {
        /// What the key was.
        found: &'static str,
    },
    /// The value breaks a limit.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The stored value has another shape than the Rust type asked for.
    #[error("found {found} where {expected} was expected; read the value as it is or ask for another type")]
    WrongType {
        /// What is stored.
        found: Kind,
        /// What was asked for.
        expected: &'static str,
    },
    /// What the type's own `Serialize` or `Deserialize` says.
    #[error("{0}")]
    Custom(String),
}

impl serde::ser::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

impl serde::de::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// A key that cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key is longer than [`MAX_KEY_BYTES`](crate::limits::MAX_KEY_BYTES).
    #[error(
        "the key {start}... is {actual} bytes long, more than the {limit} allowed; shorten it or hash its tail"
    )]
    TooLong {
        /// How the key begins, made printable.
        start: String,
        /// Its length, in bytes.
        actual: usize,
        /// The greatest length that is accepted, in bytes.
        limit: usize,
    },
}

/// A part of a [`Namespace`](crate::Namespace) that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// The part is empty.
    #[error("the namespace's {part} is empty; leave it out to get `default`")]
    Empty {
        /// `tenant`, `app` or `agent`.
        part: &'static str,
    },
    /// The part is longer than [`MAX_NAMESPACE_PART_BYTES`](crate::limits::MAX_NAMESPACE_PART_BYTES).
    #[error("the namespace's {part} is {actual} bytes long, more than the {limit} allowed; shorten it")]
    TooLong {
        /// `tenant`, `app` or `agent`.
        part: &'static str,
        /// Its length, in bytes.
        actual: usize,
        /// The greatest length that is accepted, in bytes.
        limit: usize,
    },
    /// The part contains a character that would make the written form ambiguous.
    #[error("the namespace's {part} contains {found:?}; slashes and control characters are not allowed")]
    Character {
        /// `tenant`, `app` or `agent`.
        part: &'static str,
        /// The first such character.
        found: char,
    },
    /// The text has more than three parts.
    #[error("the namespace {text:?} has more than three parts; write tenant/app/agent, app/agent or agent")]
    TooManyParts {
        /// What was given.
        text: String,
    },
}

/// Text that is not a run id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a run id ({reason}); a run id is a UUID such as 0198c0de-7c0a-7b5e-8f3a-4d5e6f708192"
)]
pub struct ParseRunIdError {
    /// How the text begins, at most 64 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A number or name that is not a [`Tag`](crate::Tag).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a type tag; the tags are kv (1), event (2), state (3), trace (4) and run (5)")]
pub struct ParseTagError(pub String);

/// Text that is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time ({reason}); write it as in 2025-06-30T12:00:00.123456Z, with a zone")]
pub struct ParseTimestampError {
    /// How the text begins, at most 64 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Cuts text that goes into an error message, so that hostile input cannot flood a log.
pub(crate) fn excerpt(text: &str) -> String {
    const EXCERPT_CHARS: usize = 64;
    text.chars().take(EXCERPT_CHARS).collect()
}
