//! Every limit of the log, in one place. Units come last in the names.

/// Smallest segment: the header's page and one page of records.
pub const MIN_SEGMENT_BYTES: u64 = 8 << 10;

/// Largest segment. Recovery holds one segment of a shard in memory, so this also bounds what a hostile file costs.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// Size of a segment unless configured: at a million 200-byte commits a second it lasts 80 ms, which is the time
/// the job that prepares the next one has.
pub const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;

/// Largest payload of one entry; a transaction that is larger has to be refused above.
pub const MAX_PAYLOAD_BYTES: u64 = 1 << 30;

/// Released segments kept under a temporary name so that the next spare need not allocate.
pub const MAX_RECYCLED_SEGMENTS: usize = 2;

/// How much the search for intact records after a bad byte may checksum, as a multiple of the bytes searched.
/// Sound logs stay far below 2; only bytes forged to look like record headers everywhere reach it, and then the
/// answer is "corrupt", never "end of log".
pub const SCAN_BUDGET_FACTOR: u64 = 64;

/// Zeroes written at a time when a segment is prepared.
pub const ZERO_CHUNK_BYTES: usize = 1 << 20;

/// Entry bytes after which a checkpoint block is closed.
pub const CHECKPOINT_BLOCK_BYTES: usize = 64 << 10;

/// Largest single entry of a checkpoint.
pub const MAX_CHECKPOINT_ENTRY_BYTES: usize = 1 << 30;

/// Largest manifest that is read.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 10;

/// Least and most that a sync of a mapped segment makes ready for the stores to come.
pub const PREFAULT_MIN_BYTES: u64 = 64 << 10;
/// See [`PREFAULT_MIN_BYTES`].
pub const PREFAULT_MAX_BYTES: u64 = 4 << 20;
