//! The log of one shard, from its writer's side.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::LogError;
use crate::failpoint::{Failpoint, hit};
use crate::limits::{DEFAULT_SEGMENT_BYTES, MAX_PAYLOAD_BYTES, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
use crate::lsn::Lsn;
use crate::record::{Entry, HEADER_BYTES, Header, Part, checksum, flags, kind, record_bytes};
use crate::release::{Disposal, ReleaseJob, Released};
use crate::segment::{SEAL_BYTES, SEGMENT_HEADER_BYTES, START_BYTES, SegmentHeader, salt};
use crate::spare::{Spare, SpareJob, make};
use crate::storage::{File, Mapped, Storage};
use crate::sync::{SegmentWrite, SyncJob};

/// The unit that a disk writes or loses as a whole.
const SECTOR_BYTES: usize = 512;

/// How appended bytes travel to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Straight into the mapped segment: a killed process loses nothing, a power cut what was not yet synced.
    Buffered,
    /// Into memory; the sync job writes the batch and syncs it. Nothing is there before its sync has run.
    Strict,
}

/// How a shard's log is kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of a segment's file, between `limits::MIN_SEGMENT_BYTES` and `MAX_SEGMENT_BYTES`, a multiple of 8. May
    /// change between openings. Entries larger than a segment are split.
    pub segment_bytes: u64,
    /// See [`Mode`].
    pub mode: Mode,
    /// Number of the shard; a log of another shard is refused.
    pub shard: u16,
    /// Whether a log is made where there is none. Once a log is known to exist, `false` turns its loss into
    /// [`LogError::Missing`] instead of an empty log.
    pub create: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { segment_bytes: DEFAULT_SEGMENT_BYTES, mode: Mode::Buffered, shard: 0, create: true }
    }
}

impl Config {
    pub(crate) fn validate(&self) -> Result<(), LogError> {
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(8)
        {
            return Err(LogError::Config(format!(
                "segment_bytes is {}; it must be a multiple of 8 from {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}",
                self.segment_bytes
            )));
        }
        Ok(())
    }
}

/// A full segment, no longer appended to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// Its first record.
    pub first_lsn: Lsn,
    /// Its last record.
    pub last_lsn: Lsn,
    /// Offset after its last record, in bytes.
    pub end: u64,
}

/// The segment being appended to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) header: SegmentHeader,
    pub(crate) path: Arc<Path>,
    pub(crate) file: Arc<dyn File>,
    pub(crate) first_lsn: u64,
}

/// One shard's log in one directory, owned by the shard's single writer.
///
/// No thread, no lock, no clock; the same calls give the same bytes. Calls never block on the disk except `append`
/// when a segment is full and no spare was added, and the convenience [`ShardLog::sync`] and [`ShardLog::close`].
#[derive(Debug)]
pub struct ShardLog {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    config: Config,
    seed: u64,
    active: Active,
    map: Option<Box<dyn Mapped>>,
    /// Where the next record goes.
    offset: u64,
    /// No record but the seal may end past this. Zero once poisoned, so that the hot path has one check.
    limit: u64,
    last_lsn: u64,
    last_crc: u32,
    last_kind: u8,
    /// The last record that is not a sync mark.
    last_entry: u64,
    synced: u64,
    /// The highest synced lsn that a record written so far claims.
    claimed: u64,
    /// Buffered: one record being built. Strict: the batch, starting at `unsynced_from` of the active segment.
    buf: Vec<u8>,
    unsynced_from: u64,
    unsynced_bytes: u64,
    /// What segments left since the last `begin_sync` still owe the disk.
    left: Vec<SegmentWrite>,
    in_flight: Option<InFlight>,
    /// Vectors for the next job, so that syncing allocates nothing in the steady state.
    reuse: (Vec<SegmentWrite>, Vec<u8>),
    spares: VecDeque<Spare>,
    spare_token: Arc<()>,
    next_number: u64,
    sealed: VecDeque<SealedSegment>,
    recyclable: Vec<PathBuf>,
    poison: Option<Arc<str>>,
}

#[derive(Debug)]
struct InFlight {
    through: u64,
    token: Arc<()>,
    bytes: u64,
}

/// What recovery found out and the writer goes on from.
#[derive(Debug)]
pub(crate) struct Resume {
    pub(crate) active: Active,
    pub(crate) map: Option<Box<dyn Mapped>>,
    pub(crate) offset: u64,
    pub(crate) last_lsn: u64,
    pub(crate) last_crc: u32,
    pub(crate) last_kind: u8,
    pub(crate) spares: VecDeque<Spare>,
    pub(crate) next_number: u64,
    pub(crate) sealed: VecDeque<SealedSegment>,
}

impl ShardLog {
    pub(crate) fn resume(
        storage: Arc<dyn Storage>,
        dir: &Path,
        config: Config,
        seed: u64,
        resume: Resume,
    ) -> ShardLog {
        let limit = resume.active.header.bytes - SEAL_BYTES;
        ShardLog {
            storage,
            dir: dir.to_path_buf(),
            config,
            seed,
            active: resume.active,
            map: resume.map,
            offset: resume.offset,
            limit,
            last_lsn: resume.last_lsn,
            last_crc: resume.last_crc,
            last_kind: resume.last_kind,
            last_entry: resume.last_lsn,
            synced: resume.last_lsn,
            claimed: if resume.last_kind == kind::CLOSE { resume.last_lsn } else { 0 },
            buf: Vec::new(),
            unsynced_from: resume.offset,
            unsynced_bytes: 0,
            left: Vec::new(),
            in_flight: None,
            reuse: (Vec::new(), Vec::new()),
            spares: resume.spares,
            spare_token: Arc::new(()),
            next_number: resume.next_number,
            sealed: resume.sealed,
            recyclable: Vec::new(),
            poison: None,
        }
    }

    /// Appends one transaction and returns the number of its (committing) record.
    ///
    /// Buffered: on return a killed process loses nothing of it. Strict: nothing of it is on disk before the next
    /// sync. On an error nothing was appended: [`LogError::NoSpace`] if the next segment could not be made (try again
    /// when there is room), [`LogError::Poisoned`] after a failed sync, [`LogError::TooLarge`],
    /// [`LogError::ReservedKind`].
    #[inline]
    pub fn append(&mut self, entry: Entry<'_>) -> Result<Lsn, LogError> {
        if entry.kind == 0 || entry.kind >= kind::FIRST_OWN {
            return Err(LogError::ReservedKind { kind: entry.kind });
        }
        if record_bytes(entry.payload.len()) as u64 + self.offset > self.limit {
            return self.append_slow(entry);
        }
        hit(Failpoint::Append);
        let lsn = self.put(Part::Whole, &entry, &[]);
        hit(Failpoint::Appended);
        Ok(lsn)
    }

    #[cold]
    fn append_slow(&mut self, entry: Entry<'_>) -> Result<Lsn, LogError> {
        self.check_poison()?;
        let bytes = entry.payload.len() as u64;
        if bytes > MAX_PAYLOAD_BYTES {
            return Err(LogError::TooLarge { bytes, limit: MAX_PAYLOAD_BYTES });
        }
        let fresh = fresh_room(self.config.segment_bytes);
        if record_bytes(entry.payload.len()) as u64 <= fresh {
            self.ensure_spares(|spares| !spares.is_empty())?;
            // A spare found by recovery may be smaller than the configured size; then the entry is split.
            if record_bytes(entry.payload.len()) as u64 <= fresh_room(self.spares[0].header.bytes) {
                self.roll();
                return Ok(self.put(Part::Whole, &entry, &[]));
            }
        }
        self.append_split(entry)
    }

    /// Appends a transaction as several records. All segments it needs are made first, so that it is never begun
    /// without being committed.
    fn append_split(&mut self, entry: Entry<'_>) -> Result<Lsn, LogError> {
        let total = (entry.payload.len() as u64).to_le_bytes();
        let here = part_room(self.limit.saturating_sub(self.offset));
        // Room for no more than the length is not begun in.
        let here = if here > total.len() as u64 { here } else { 0 };
        self.ensure_spares(|spares| {
            let room: u64 = std::iter::once(here)
                .chain(spares.iter().map(|s| part_room(fresh_room(s.header.bytes))))
                .sum();
            room >= entry.payload.len() as u64 + total.len() as u64
        })?;
        let mut rest = entry.payload;
        let mut prefix: &[u8] = &total;
        loop {
            let room = part_room(self.limit - self.offset);
            if room <= prefix.len() as u64 {
                self.roll();
                continue;
            }
            let n = (room - prefix.len() as u64).min(rest.len() as u64) as usize;
            let (chunk, after) = rest.split_at(n);
            let begun = prefix.is_empty();
            let part = match (begun, after.is_empty()) {
                (false, _) => Part::Begin,
                (true, false) => Part::Continue,
                (true, true) => Part::Commit,
            };
            let lsn = self.put(part, &Entry { payload: chunk, ..entry }, prefix);
            hit(Failpoint::Split);
            prefix = &[];
            rest = after;
            if part == Part::Commit {
                return Ok(lsn);
            }
        }
    }

    /// Makes spares until there are enough. Where that fails, one more than there were is kept: a large transaction that is
    /// refused must not go on holding all the room that was left, which the next checkpoint needs, nor the open files.
    fn ensure_spares(&mut self, enough: impl Fn(&VecDeque<Spare>) -> bool) -> Result<(), LogError> {
        let before = self.spares.len();
        while !enough(&self.spares) {
            let header = self.new_header();
            let recycle = self.recyclable.pop();
            match make(&*self.storage, &self.dir, header, recycle.as_deref(), self.maps()) {
                Ok(spare) => self.spares.push_back(spare),
                Err(error) => {
                    for spare in self.spares.drain((before + 1).min(self.spares.len())..) {
                        // Where it stays, or comes back in a power cut, recovery takes it for what it is: not begun.
                        let _ = self.storage.remove(&spare.path);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn new_header(&mut self) -> SegmentHeader {
        let number = self.next_number;
        self.next_number += 1;
        SegmentHeader {
            shard: self.config.shard,
            number,
            salt: salt(self.seed, self.config.shard, number),
            bytes: self.config.segment_bytes,
            rewritten: None,
        }
    }

    fn maps(&self) -> bool {
        self.config.mode == Mode::Buffered
    }

    /// Seals the active segment and goes on in the first spare. Cannot fail: the seal's room is reserved and the
    /// spare is durable.
    fn roll(&mut self) {
        let spare = self.spares.pop_front().expect("the caller has made sure of a spare");
        let own =
            |kind| Entry { kind, skippable: false, run: [0; 16], version: 0, timestamp: 0, payload: &[] };
        let next = spare.header.number.to_le_bytes();
        self.put(Part::Whole, &Entry { payload: &next, ..own(kind::SEAL) }, &[]);
        hit(Failpoint::RollSealed);
        let end = self.offset;
        self.owe_active();
        let left = std::mem::replace(
            &mut self.active,
            Active { header: spare.header, path: spare.path, file: spare.file, first_lsn: self.last_lsn + 1 },
        );
        self.map = spare.map;
        self.offset = SEGMENT_HEADER_BYTES;
        self.unsynced_from = SEGMENT_HEADER_BYTES;
        self.limit = spare.header.bytes - SEAL_BYTES;
        self.put_start(left.header.number, end);
        hit(Failpoint::RollStarted);
        self.sealed.push_back(SealedSegment {
            number: left.header.number,
            path: left.path.to_path_buf(),
            first_lsn: Lsn(left.first_lsn),
            last_lsn: Lsn(self.last_lsn - 1),
            end,
        });
    }

    /// Writes the first record of the active segment: where the log comes from.
    pub(crate) fn put_start(&mut self, from_segment: u64, from_end: u64) {
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&from_segment.to_le_bytes());
        payload[8..].copy_from_slice(&from_end.to_le_bytes());
        self.put_own(kind::START, &payload);
    }

    pub(crate) fn put_own(&mut self, kind: u8, payload: &[u8]) -> Lsn {
        let entry = Entry { kind, skippable: false, run: [0; 16], version: 0, timestamp: 0, payload };
        self.put(Part::Whole, &entry, &[])
    }

    /// Writes one record where there is room for it. `prefix` comes before the entry's payload.
    #[inline]
    fn put(&mut self, part: Part, entry: &Entry<'_>, prefix: &[u8]) -> Lsn {
        let lsn = self.last_lsn + 1;
        let len = prefix.len() + entry.payload.len();
        let header = Header {
            crc: 0,
            len: len as u32,
            kind: entry.kind,
            flags: flags(part, entry.skippable),
            shard: self.config.shard,
            salt: self.active.header.salt,
            lsn,
            prev_crc: self.last_crc,
            synced_distance: Header::distance(
                lsn,
                if crate::planted::is_planted("wal_freeze_synced_mark") { 0 } else { self.synced },
            ),
            run: entry.run,
            version: entry.version,
            timestamp: entry.timestamp,
        };
        let mut head = [0; HEADER_BYTES];
        header.write(&mut head);
        let bytes = record_bytes(len);
        let at = self.buf.len();
        self.buf.extend_from_slice(&head);
        self.buf.extend_from_slice(prefix);
        self.buf.extend_from_slice(entry.payload);
        self.buf.resize(at + bytes, 0);
        let crc = checksum(&self.buf[at..]);
        self.buf[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        if let Some(map) = &mut self.map {
            map.store(self.offset, &self.buf);
            self.buf.clear();
        }
        self.offset += bytes as u64;
        self.unsynced_bytes += bytes as u64;
        self.last_lsn = lsn;
        self.last_crc = crc;
        self.last_kind = entry.kind;
        self.claimed = self.synced;
        if entry.kind != kind::MARK {
            self.last_entry = lsn;
        }
        Lsn(lsn)
    }

    /// The last record appended; zero if there is none.
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.last_lsn)
    }

    /// The last record known to be durable.
    pub fn synced_lsn(&self) -> Lsn {
        Lsn(self.synced)
    }

    /// Bytes appended and not known to be durable, those of a sync in flight included.
    pub fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes + self.in_flight.as_ref().map_or(0, |f| f.bytes)
    }

    /// The segment being appended to and the offset of the next record.
    pub fn position(&self) -> crate::record::Position {
        crate::record::Position { segment: self.active.header.number, offset: self.offset }
    }

    /// How the log is kept.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Why the log takes nothing more, if it does not.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.as_deref()
    }

    fn check_poison(&self) -> Result<(), LogError> {
        match &self.poison {
            Some(reason) => Err(LogError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn set_poison(&mut self, reason: String) {
        self.limit = 0;
        self.poison.get_or_insert_with(|| reason.into());
    }

    /// Moves what the active segment owes the disk to `left`.
    fn owe_active(&mut self) {
        if self.offset > self.unsynced_from {
            let bytes = match self.config.mode {
                Mode::Buffered => Vec::new(),
                Mode::Strict => std::mem::replace(&mut self.buf, std::mem::take(&mut self.reuse.1)),
            };
            self.left.push(SegmentWrite {
                file: self.active.file.clone(),
                path: self.active.path.clone(),
                range: self.unsynced_from..self.offset,
                bytes,
            });
            self.unsynced_from = self.offset;
        }
    }

    /// Takes what was appended so far into a job that makes it durable. `None` if there is nothing, or a job is out
    /// already, or the log is poisoned. The log may be appended to meanwhile.
    ///
    /// A job that is dropped instead of given back poisons the log here, since its outcome is then unknown.
    pub fn begin_sync(&mut self) -> Option<SyncJob> {
        if let Some(in_flight) = &self.in_flight {
            if Arc::strong_count(&in_flight.token) == 1 {
                self.set_poison("a sync was given up without an outcome".into());
            }
            return None;
        }
        if self.poison.is_some() || self.unsynced_bytes == 0 {
            return None;
        }
        self.owe_active();
        let writes = std::mem::replace(&mut self.left, std::mem::take(&mut self.reuse.0));
        let token = Arc::new(());
        let bytes = std::mem::take(&mut self.unsynced_bytes);
        self.in_flight = Some(InFlight { through: self.last_lsn, token: token.clone(), bytes });
        Some(SyncJob { writes, outcome: None, token })
    }

    /// Takes a job back and returns through where the log is durable. Runs it first if nobody has. A failed job
    /// poisons the log for ever: its commits have an unknown outcome and are never synced again.
    pub fn finish_sync(&mut self, mut job: SyncJob) -> Result<Lsn, LogError> {
        let Some(in_flight) = self.in_flight.take_if(|f| Arc::ptr_eq(&f.token, &job.token)) else {
            return Err(LogError::Config("finish_sync was given a job of another log".into()));
        };
        if let Err(e) = job.run() {
            // Counted as unsynced for ever.
            self.unsynced_bytes += in_flight.bytes;
            if !crate::planted::is_planted("wal_forgive_failed_sync") {
                self.set_poison(e.to_string());
            }
            return Err(e);
        }
        self.check_poison()?;
        self.synced = if crate::planted::is_planted("wal_synced_runs_ahead") {
            self.last_lsn
        } else {
            in_flight.through
        };
        let mut writes = std::mem::take(&mut job.writes);
        if let Some(write) = writes.first_mut() {
            let mut bytes = std::mem::take(&mut write.bytes);
            bytes.clear();
            self.reuse.1 = bytes;
        }
        writes.clear();
        self.reuse.0 = writes;
        Ok(Lsn(self.synced))
    }

    /// Makes everything appended durable, blocking. A job that is out must have been given back.
    pub fn sync(&mut self) -> Result<Lsn, LogError> {
        self.check_poison()?;
        if let Some(job) = self.begin_sync() {
            return self.finish_sync(job);
        }
        self.check_poison()?;
        if self.in_flight.is_some() {
            return Err(LogError::Config("sync was called while a sync job is out".into()));
        }
        Ok(Lsn(self.synced))
    }

    /// For an idle log: appends a record that vouches for what was synced last, so that later damage to it is told
    /// from a torn tail. Returns whether one was needed; sync afterwards to make it count.
    pub fn mark(&mut self) -> Result<bool, LogError> {
        if self.synced < self.last_entry || self.claimed >= self.last_entry {
            return Ok(false);
        }
        self.check_poison()?;
        self.put_witness(kind::MARK)?;
        Ok(true)
    }

    /// Writes a record that vouches for what was synced, at the start of a sector, after a mark that fills the sector
    /// before: no single lost sector takes both the last group and all that vouches for it.
    fn put_witness(&mut self, kind: u8) -> Result<(), LogError> {
        self.room_for_own(SECTOR_BYTES + HEADER_BYTES)?;
        let fill = (SECTOR_BYTES - (self.offset as usize + HEADER_BYTES) % SECTOR_BYTES) % SECTOR_BYTES;
        self.put_own(kind::MARK, &[0; SECTOR_BYTES][..fill]);
        self.put_own(kind, &[]);
        Ok(())
    }

    /// Makes room for a record of the log's own, rolling over if need be.
    pub(crate) fn room_for_own(&mut self, payload: usize) -> Result<(), LogError> {
        if self.offset + record_bytes(payload) as u64 > self.limit {
            self.ensure_spares(|spares| !spares.is_empty())?;
            self.roll();
        }
        Ok(())
    }

    /// Syncs everything and writes the clean-close footer, which vouches for all before it.
    pub fn close(mut self) -> Result<(), LogError> {
        self.sync()?;
        if self.last_kind == kind::CLOSE {
            return Ok(());
        }
        // Without room for the footer the log is as durable as with it; it only lacks a witness.
        if self.put_witness(kind::CLOSE).is_ok() {
            hit(Failpoint::CloseFooter);
            self.sync()?;
        }
        Ok(())
    }

    /// A job that makes the next segment ahead of need. `None` if a spare is there or on its way.
    pub fn spare_job(&mut self) -> Option<SpareJob> {
        if !self.spares.is_empty() || Arc::strong_count(&self.spare_token) > 1 || self.poison.is_some() {
            return None;
        }
        let header = self.new_header();
        Some(SpareJob {
            storage: self.storage.clone(),
            dir: self.dir.clone(),
            header,
            recycle: self.recyclable.pop(),
            map: self.maps(),
            token: self.spare_token.clone(),
        })
    }

    /// Takes a spare segment for the next rollover.
    pub fn add_spare(&mut self, mut spare: Spare) {
        spare._token = None;
        let newest = self.spares.back().map_or(self.active.header.number, |s| s.header.number);
        if spare.header.number > newest {
            self.spares.push_back(spare);
        } else {
            // The writer could not wait and has gone past its number: only the blocks are still of use.
            self.recyclable.push(spare.path.to_path_buf());
        }
    }

    /// Segments no longer appended to, oldest first.
    pub fn sealed_segments(&self) -> impl ExactSizeIterator<Item = &SealedSegment> {
        self.sealed.iter()
    }

    /// Bytes of the log's records, from the oldest segment kept on; what a checkpoint would allow to release.
    pub fn log_bytes(&self) -> u64 {
        self.sealed.iter().map(|s| s.end.saturating_sub(SEGMENT_HEADER_BYTES)).sum::<u64>() + self.offset
            - SEGMENT_HEADER_BYTES
    }

    /// Lets go of the sealed segments whose records are all before `lsn`, once a durable checkpoint covers them.
    /// `None` if there are none. The job takes them out of the directory.
    ///
    /// A segment is kept until the first record of its successor is durable: that record is what says that nothing
    /// is missing before it.
    pub fn release_before(&mut self, lsn: Lsn, disposal: Disposal) -> Option<ReleaseJob> {
        let mut segments = VecDeque::new();
        while let Some(segment) = self.sealed.front() {
            let undurable = segment.last_lsn.0 + 1 > self.synced;
            if segment.last_lsn >= lsn || undurable || self.poison.is_some() {
                break;
            }
            segments.extend(self.sealed.pop_front());
        }
        (!segments.is_empty()).then(|| ReleaseJob {
            storage: self.storage.clone(),
            dir: self.dir.clone(),
            segments,
            disposal,
            recycled: self.recyclable.len(),
            released: Released::default(),
        })
    }

    /// Seals the active segment and goes on in the next, so that a checkpoint may let go of all that was appended until now. Gives
    /// the number of the segment that it goes on in.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::NoSpace`]; the log goes on as it was.
    pub fn seal_active(&mut self) -> Result<u64, LogError> {
        self.check_poison()?;
        self.ensure_spares(|spares| !spares.is_empty())?;
        self.roll();
        Ok(self.active.header.number)
    }

    /// Gives up the released files that were to be used again: they hold what was in them until they are.
    pub fn take_recyclable(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.recyclable)
    }

    /// Takes back what a [`ReleaseJob`] that failed did not take out: it is the next one's to do.
    pub fn take_back(&mut self, job: ReleaseJob) {
        self.add_released(job.released);
        job.segments.into_iter().rev().for_each(|segment| self.sealed.push_front(segment));
    }

    /// Takes what a [`ReleaseJob`] left for reuse.
    pub fn add_released(&mut self, released: Released) {
        self.recyclable.extend(released.recyclable);
    }
}

/// Bytes for records in a segment that was just begun.
fn fresh_room(segment_bytes: u64) -> u64 {
    segment_bytes - SEGMENT_HEADER_BYTES - START_BYTES - SEAL_BYTES
}

/// Largest payload of a record in `room` bytes.
fn part_room(room: u64) -> u64 {
    (room & !7).saturating_sub(HEADER_BYTES as u64)
}
