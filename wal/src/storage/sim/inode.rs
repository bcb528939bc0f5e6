//! The bytes of a file on the simulated disk: what reads as written, and what of it is on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{SECTOR_BYTES, SimRng};

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// Shared with the images of this disk until one of them writes.
    pub(super) data: Arc<Vec<u8>>,
    /// Sectors written since the last sync, with what is on disk.
    dirty: BTreeMap<u64, Vec<u8>>,
    /// Sectors whose sync failed, with what is on disk.
    lost: BTreeMap<u64, Vec<u8>>,
    synced_len: u64,
}

impl Inode {
    /// A file that is on the disk as it reads.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        let synced_len = bytes.len() as u64;
        Inode { data: Arc::new(bytes), synced_len, ..Inode::default() }
    }

    fn sector(&self, sector: u64) -> Vec<u8> {
        let start = ((sector * SECTOR_BYTES) as usize).min(self.data.len());
        let end = (start + SECTOR_BYTES as usize).min(self.data.len());
        let mut bytes = self.data[start..end].to_vec();
        bytes.resize(SECTOR_BYTES as usize, 0);
        bytes
    }

    fn touch(&mut self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        for sector in offset / SECTOR_BYTES..=(offset + len - 1) / SECTOR_BYTES {
            if !self.dirty.contains_key(&sector) {
                let on_disk = self.lost.remove(&sector).unwrap_or_else(|| self.sector(sector));
                self.dirty.insert(sector, on_disk);
            }
        }
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.touch(offset, bytes.len() as u64);
        let end = offset as usize + bytes.len();
        let data = Arc::make_mut(&mut self.data);
        if end > data.len() {
            data.resize(end, 0);
        }
        data[offset as usize..end].copy_from_slice(bytes);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let now = self.data.len() as u64;
        if len < now {
            self.touch(len, now - len);
        }
        Arc::make_mut(&mut self.data).resize(len as usize, 0);
    }

    /// Only what was asked for: whoever names too short a range finds out.
    pub(super) fn sync(&mut self, offset: u64, bytes: u64) {
        let sectors = offset / SECTOR_BYTES..offset.saturating_add(bytes).div_ceil(SECTOR_BYTES);
        self.dirty.retain(|sector, _| !sectors.contains(sector));
        self.synced_len = self.data.len() as u64;
    }

    pub(super) fn fail_sync(&mut self, rng: &mut SimRng) {
        for (sector, on_disk) in std::mem::take(&mut self.dirty) {
            if rng.below(2) == 0 {
                self.lost.insert(sector, on_disk);
            }
        }
    }

    /// What a power cut leaves.
    pub(super) fn crash(&self, rng: &mut SimRng) -> Inode {
        let len = if rng.below(2) == 0 { self.synced_len } else { self.data.len() as u64 };
        let mut data = self.data.to_vec();
        data.resize(data.len().max(self.synced_len as usize).next_multiple_of(SECTOR_BYTES as usize), 0);
        let mut put = |sector: u64, bytes: &[u8]| {
            let start = (sector * SECTOR_BYTES) as usize;
            if start + bytes.len() > data.len() {
                data.resize(start + bytes.len(), 0);
            }
            data[start..start + bytes.len()].copy_from_slice(bytes);
        };
        for (&sector, on_disk) in &self.dirty {
            match rng.below(3) {
                0 => {}
                1 => put(sector, on_disk),
                _ => {
                    let mut torn = self.sector(sector);
                    let at = rng.below(SECTOR_BYTES) as usize;
                    torn[at..].copy_from_slice(&on_disk[at..]);
                    put(sector, &torn);
                }
            }
        }
        for (&sector, on_disk) in &self.lost {
            put(sector, on_disk);
        }
        data.resize(len as usize, 0);
        Inode { data: Arc::new(data), dirty: BTreeMap::new(), lost: BTreeMap::new(), synced_len: len }
    }
}
