//! What bounds the demo: with these it ends within seconds on any tree.

/// Directories the agent lists.
pub const MAX_DIRS: usize = 80;
/// Files the agent reads.
pub const MAX_READS: usize = 180;
/// Manifests among these that are read before anything else.
pub const MAX_MANIFESTS: usize = 40;
/// Readmes among these that are read before code.
pub const MAX_READMES: usize = 10;
/// Searches for who uses a public name.
pub const MAX_NAME_SEARCHES: usize = 60;
/// Searches for who uses a package of the tree.
pub const MAX_PACKAGE_SEARCHES: usize = 20;
/// Depth of directories below the root that are listed.
pub const MAX_DEPTH_DIRS: usize = 12;
/// Entries of one directory that are noted; those after them by name are counted only.
pub const MAX_LIST_ENTRIES: usize = 1_000;
/// Entries of one directory that are looked at.
pub const MAX_LIST_SCAN_ENTRIES: usize = 20_000;
/// A file larger than this is not read, in bytes.
pub const MAX_FILE_BYTES: u64 = 512 * 1024;
/// Bytes one search goes through before it stops and says so.
pub const MAX_SEARCH_BYTES: u64 = 8 * 1024 * 1024;
/// Places one search notes; further ones are counted only.
pub const MAX_SEARCH_PLACES: usize = 20;
/// Public names noted for one file.
pub const MAX_NAMES_PER_FILE: usize = 100;
/// Characters of a line that a note keeps.
pub const MAX_LINE_CHARS: usize = 120;
/// Length of a path below the root that the agent goes along with, in bytes: a path is part of a note's key.
pub const MAX_PATH_BYTES: usize = 480;
