//! Values as literals.

/// A [`Value`](crate::Value) written as JSON, with any Rust expression that is `Into<Value>` in it.
///
/// Names are literals or expressions in parentheses that are `Into<Arc<str>>`.
///
/// ```
/// # use in_mem_model::{value, Value};
/// let tries = 3;
/// let task = value!({ "tool": "search", "args": ["flights", null, true], "tries": tries + 1, ("x".to_owned()): -0.5 });
/// assert_eq!(task["tries"], Value::Int(4));
/// ```
#[macro_export]
macro_rules! value {
    (null) => { $crate::Value::Null };
    ([ $($items:tt)* ]) => { $crate::value_items!([] $($items)*) };
    ({ $($fields:tt)* }) => { $crate::value_fields!([] $($fields)*) };
    ($other:expr) => { $crate::Value::from($other) };
}

/// Munches the items of an array literal: `[finished items] rest`.
#[doc(hidden)]
#[macro_export]
macro_rules! value_items {
    ([$($done:expr,)*]) => { $crate::private::array([$($done),*]) };
    ([$($done:expr,)*] null $(, $($rest:tt)*)?) => {
        $crate::value_items!([$($done,)* $crate::Value::Null,] $($($rest)*)?)
    };
    ([$($done:expr,)*] [$($inner:tt)*] $(, $($rest:tt)*)?) => {
        $crate::value_items!([$($done,)* $crate::value!([$($inner)*]),] $($($rest)*)?)
    };
    ([$($done:expr,)*] {$($inner:tt)*} $(, $($rest:tt)*)?) => {
        $crate::value_items!([$($done,)* $crate::value!({$($inner)*}),] $($($rest)*)?)
    };
    ([$($done:expr,)*] $item:expr $(, $($rest:tt)*)?) => {
        $crate::value_items!([$($done,)* $crate::Value::from($item),] $($($rest)*)?)
    };
}

/// Munches the fields of an object literal: `[finished fields] rest`.
#[doc(hidden)]
#[macro_export]
macro_rules! value_fields {
    ([$($done:expr,)*]) => { $crate::private::object([$($done),*]) };
    ([$($done:expr,)*] $name:tt : null $(, $($rest:tt)*)?) => {
        $crate::value_fields!([$($done,)* ($crate::private::name($name), $crate::Value::Null),] $($($rest)*)?)
    };
    ([$($done:expr,)*] $name:tt : [$($inner:tt)*] $(, $($rest:tt)*)?) => {
        $crate::value_fields!([$($done,)* ($crate::private::name($name), $crate::value!([$($inner)*])),] $($($rest)*)?)
    };
    ([$($done:expr,)*] $name:tt : {$($inner:tt)*} $(, $($rest:tt)*)?) => {
        $crate::value_fields!([$($done,)* ($crate::private::name($name), $crate::value!({$($inner)*})),] $($($rest)*)?)
    };
    ([$($done:expr,)*] $name:tt : $value:expr $(, $($rest:tt)*)?) => {
        $crate::value_fields!([$($done,)* ($crate::private::name($name), $crate::Value::from($value)),] $($($rest)*)?)
    };
}

/// What the macro's expansion calls; nothing here is for direct use.
#[doc(hidden)]
pub mod private {
    use std::sync::Arc;

    use crate::{Object, Value};

    pub fn name(name: impl Into<Arc<str>>) -> Arc<str> {
        name.into()
    }

    pub fn array<const N: usize>(items: [Value; N]) -> Value {
        Value::Array(items.into())
    }

    pub fn object<const N: usize>(fields: [(Arc<str>, Value); N]) -> Value {
        Value::Object(Object::from_fields(fields.into()))
    }
}
