//! Paths in reports that are written down: a path need not be UTF-8, and a report of a damaged database must not fail for that.

use std::path::Path;

use serde::Serializer;

/// The path as text; what is no UTF-8 in it is shown as `�`.
pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
