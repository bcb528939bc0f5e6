//! Fields by name.

use std::fmt;
use std::ops::Index;
use std::sync::{Arc, LazyLock};

use crate::Value;
use crate::value::shared_bytes;

/// Fields by name, sorted by name, each name once. A clone shares the contents.
///
/// Built from pairs by `collect()`, [`From`], or [`value!`](crate::value!); of two fields with one name the later stays.
/// Looking up a field is a binary search.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object(Arc<[(Arc<str>, Value)]>);

impl Object {
    /// The object without fields. Costs no allocation.
    #[must_use]
    pub fn new() -> Self {
        static EMPTY: LazyLock<Object> = LazyLock::new(|| Object(Arc::new([])));
        EMPTY.clone()
    }

    /// From fields that are known to be sorted by name, each name once.
    pub(crate) fn from_sorted(fields: impl Iterator<Item = (Arc<str>, Value)>) -> Self {
        let fields: Arc<[_]> = fields.collect();
        debug_assert!(fields.is_sorted_by(|a, b| a.0 < b.0), "fields must be sorted by name, each name once");
        Self(fields)
    }

    /// From fields in any order; of two with one name the later stays.
    pub(crate) fn from_fields(mut fields: Vec<(Arc<str>, Value)>) -> Self {
        if fields.is_empty() {
            return Self::new();
        }
        if !fields.is_sorted_by(|a, b| a.0 < b.0) {
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            // The sort is stable, so the last of equals is the later one: it takes the place of those before it.
            fields.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    std::mem::swap(later, earlier);
                }
                same
            });
        }
        Self(fields.into())
    }

    /// The field of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let place = self.0.binary_search_by(|field| (*field.0).cmp(name)).ok()?;
        Some(&self.0[place].1)
    }

    /// Whether there is a field of that name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// The names, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// The values, by name.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The fields as they are kept.
    pub(crate) fn fields(&self) -> &[(Arc<str>, Value)] {
        &self.0
    }

    /// The same object with the field set. Copies the list of fields, not their contents.
    #[must_use]
    pub fn with(&self, name: impl Into<Arc<str>>, value: impl Into<Value>) -> Self {
        let (name, value) = (name.into(), value.into());
        let mut fields = self.0.to_vec();
        match fields.binary_search_by(|field| field.0.cmp(&name)) {
            Ok(place) => fields[place].1 = value,
            Err(place) => fields.insert(place, (name, value)),
        }
        Self(fields.into())
    }

    /// The same object without the field. Copies the list of fields, not their contents.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        if !self.contains_key(name) {
            return self.clone();
        }
        self.0.iter().filter(|field| &*field.0 != name).cloned().collect()
    }

    /// About how many bytes the contents take on the heap, see [`Value::heap_bytes`].
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let contents = |(name, value): &(Arc<str>, Value)| shared_bytes(name.len()) + value.heap_bytes();
        shared_bytes(size_of_val::<[_]>(&self.0)) + self.0.iter().map(contents).sum::<usize>()
    }
}

impl Default for Object {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Index<&str> for Object {
    type Output = Value;

    /// The field of that name, or null where there is none.
    fn index(&self, name: &str) -> &Value {
        static NULL: Value = Value::Null;
        self.get(name).unwrap_or(&NULL)
    }
}

impl<K: Into<Arc<str>>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        Self::from_fields(fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<K: Into<Arc<str>>, V: Into<Value>, const N: usize> From<[(K, V); N]> for Object {
    fn from(fields: [(K, V); N]) -> Self {
        fields.into_iter().collect()
    }
}

/// Names and values of an [`Object`], by name.
#[derive(Debug, Clone)]
pub struct Iter<'a>(std::slice::Iter<'a, (Arc<str>, Value)>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (&**name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Object {
    type Item = (&'a str, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl serde::Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::Object(self.clone()).serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match <Value as serde::Deserialize>::deserialize(deserializer)? {
            Value::Object(object) => Ok(object),
            other => Err(serde::de::Error::custom(format!("an object expected, found {}", other.kind()))),
        }
    }
}
