//! The manifest: what a database directory is, in one small file replaced atomically.
//!
//! Layout: `DIR/MANIFEST`, `DIR/LOCK`, `DIR/gen-NNNN/shard-NNNN/`. A change of the number of shards writes a whole new
//! generation beside the old one; replacing the manifest is the moment at which it counts.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `INMEMMAN` |
//! | 8 | 2 | format version |
//! | 10 | 2 | shard count |
//! | 12 | 4 | crc32 of the whole file with this field zero |
//! | 16 | 8 | generation |
//! | 24 | 8 | salt seed |
//! | 32 | 2 + n | routing hash's name: length, UTF-8 |
//! | .. | 2 | number of properties, each: length (2), key, length (2), value, UTF-8, sorted by key |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::LogError;
use crate::failpoint::{Failpoint, hit};
use crate::limits::MAX_MANIFEST_BYTES;
use crate::segment::FORMAT_VERSION;
use crate::storage::{OpenMode, Storage, read_all, write_atomically};

/// Name of the manifest's file.
pub const MANIFEST_NAME: &str = "MANIFEST";

const MAGIC: [u8; 8] = *b"INMEMMAN";

/// What a database directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Number of shards of this generation.
    pub shard_count: u16,
    /// Name of the hash that sends runs to shards.
    pub routing_hash: String,
    /// Which `gen-NNNN` directory counts.
    pub generation: u64,
    /// Seed of all segment salts.
    pub salt_seed: u64,
    /// Further facts of the layers above, as text.
    pub properties: BTreeMap<String, String>,
}

impl Manifest {
    fn encode(&self) -> Result<Vec<u8>, LogError> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.shard_count.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.salt_seed.to_le_bytes());
        let too_long = || LogError::Config("a manifest field is longer than 65,535 bytes".into());
        let text = |out: &mut Vec<u8>, s: &str| -> Result<(), LogError> {
            out.extend_from_slice(&u16::try_from(s.len()).map_err(|_| too_long())?.to_le_bytes());
            out.extend_from_slice(s.as_bytes());
            Ok(())
        };
        text(&mut out, &self.routing_hash)?;
        let count = u16::try_from(self.properties.len()).map_err(|_| too_long())?;
        out.extend_from_slice(&count.to_le_bytes());
        for (key, value) in &self.properties {
            text(&mut out, key)?;
            text(&mut out, value)?;
        }
        if out.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(LogError::TooLarge { bytes: out.len() as u64, limit: MAX_MANIFEST_BYTES });
        }
        let crc = crc32fast::hash(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        Ok(out)
    }

    /// Replaces the manifest of `dir`, durably: a crash leaves the old or the new one.
    pub fn write(&self, storage: &dyn Storage, dir: &Path) -> Result<(), LogError> {
        let path = dir.join(MANIFEST_NAME);
        hit(Failpoint::ManifestBegin);
        write_atomically(storage, &path, &self.encode()?).map_err(LogError::room("write", &path))?;
        hit(Failpoint::ManifestWritten);
        Ok(())
    }

    /// Reads the manifest of `dir`; `None` if there is none.
    pub fn read(storage: &dyn Storage, dir: &Path) -> Result<Option<Manifest>, LogError> {
        let path = dir.join(MANIFEST_NAME);
        if !storage.exists(&path).map_err(LogError::io("look for", &path))? {
            return Ok(None);
        }
        let file = storage.open(&path, OpenMode::Read).map_err(LogError::io("open", &path))?;
        let bytes = read_all(&*file, MAX_MANIFEST_BYTES).map_err(LogError::io("read", &path))?;
        decode(&bytes, &path).map(Some)
    }

    /// Directory of a generation.
    pub fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
        dir.join(format!("gen-{generation:04}"))
    }

    /// Directory of a shard of a generation.
    pub fn shard_dir(dir: &Path, generation: u64, shard: u16) -> PathBuf {
        Self::generation_dir(dir, generation).join(format!("shard-{shard:04}"))
    }
}

fn decode(bytes: &[u8], path: &Path) -> Result<Manifest, LogError> {
    let damaged = |offset: usize, expected: &str, found: String| {
        LogError::damaged(path, offset as u64, expected, found)
    };
    let head: &[u8; 32] = bytes
        .get(..32)
        .and_then(|h| h.try_into().ok())
        .ok_or_else(|| damaged(0, "at least 32 bytes", format!("{} bytes", bytes.len())))?;
    if head[..8] != MAGIC {
        return Err(damaged(0, "a manifest of in-mem", "something else".into()));
    }
    let version = u16::from_le_bytes([head[8], head[9]]);
    if version > FORMAT_VERSION {
        return Err(LogError::NewerFormat { file: path.into(), found: version, supported: FORMAT_VERSION });
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&[0; 4]);
    hasher.update(&bytes[16..]);
    let (crc, found) = (hasher.finalize(), u32::from_le_bytes([head[12], head[13], head[14], head[15]]));
    if crc != found {
        return Err(damaged(12, &format!("checksum {crc:08x}"), format!("{found:08x}")));
    }
    let mut at = 32;
    let number = |at: &mut usize| -> Option<u16> {
        let n = bytes.get(*at..*at + 2)?;
        *at += 2;
        Some(u16::from_le_bytes([n[0], n[1]]))
    };
    let text = |at: &mut usize| -> Option<String> {
        let len = usize::from(number(at)?);
        let text = bytes.get(*at..*at + len)?;
        *at += len;
        String::from_utf8(text.to_vec()).ok()
    };
    let fields = (|| {
        let routing_hash = text(&mut at)?;
        let mut properties = BTreeMap::new();
        for _ in 0..number(&mut at)? {
            let key = text(&mut at)?;
            properties.insert(key, text(&mut at)?);
        }
        Some((routing_hash, properties))
    })();
    let Some((routing_hash, properties)) = fields.filter(|_| at == bytes.len()) else {
        return Err(damaged(at, "fields as the format describes them", "others".into()));
    };
    let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    Ok(Manifest {
        shard_count: u16::from_le_bytes([head[10], head[11]]),
        routing_hash,
        generation: word(16),
        salt_seed: word(24),
        properties,
    })
}
