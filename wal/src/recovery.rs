//! Opening a log: reading it, ending a torn tail durably, and going on.
//!
//! Recovery may be interrupted anywhere and run again. Its steps are ordered so that each leaves a log that reads the
//! same: what follows a torn tail is set aside newest first, each step made durable before the next, and the end
//! itself is declared by one record, the start record of the segment in which the log goes on.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::end_of_log::{EndCase, Verdict};
use crate::error::{ApplyError, LogError};
use crate::failpoint::{Failpoint, hit};
use crate::found::{Found, survey};
use crate::limits::PREFAULT_MAX_BYTES;
use crate::log::{Active, Config, Mode, Resume, SealedSegment, ShardLog};
use crate::lsn::Lsn;
use crate::record::{RecordView, kind};
use crate::scan::{Link, Walk, is_zero, offset_after, tail_copy, walk};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, salt, zero};
use crate::spare::{Spare, make};
use crate::storage::{File, Mapped, OpenMode, Storage, write_atomically};

/// What recovery found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the log was made anew.
    pub created: bool,
    /// How the log ended.
    pub end: EndCase,
    /// The last record found, the log's own included.
    pub last_lsn: Lsn,
    /// Transactions handed out.
    pub applied: u64,
    /// Transactions read and not handed out, since the checkpoint covers them.
    pub skipped: u64,
    /// Segments that are part of the log.
    pub segments: u64,
    /// Bytes of log read.
    pub bytes: u64,
    /// Whether the log ended inside a transaction of several records, which was discarded whole.
    pub discarded_incomplete: bool,
    /// What was cut off, if the end was torn.
    pub torn: Option<TornTail>,
}

/// A tail that was never synced and did not survive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The segment in which the log ends.
    pub file: PathBuf,
    /// Offset at which it ends, in bytes.
    pub offset: u64,
    /// Copy of what followed there.
    pub copy: PathBuf,
    /// Bytes of that copy.
    pub bytes: u64,
    /// Intact records found after the end. They were never synced and come after something that is lost, so they
    /// are not part of the log.
    pub dropped_records: u64,
    /// Later segments, renamed.
    pub set_aside: Vec<PathBuf>,
}

impl ShardLog {
    /// Opens the log in `dir`, making it if there is none and `config.create` says so, and hands every transaction
    /// after `from` to `apply`, in order. `from` is what a durable checkpoint covers through; everything through it must
    /// have been synced when the checkpoint was made.
    ///
    /// On return everything recovered is durable. Salts come from `seed`, which belongs to the database and never
    /// changes. Errors: [`LogError::Corrupt`] where going on would lose synced records, [`LogError::NewerFormat`],
    /// [`LogError::UnknownKind`], [`LogError::Missing`], [`LogError::Apply`], [`LogError::Io`], [`LogError::NoSpace`].
    /// A refused log is not modified.
    ///
    /// The same in two steps, for who opens several logs and must change none where one is refused: [`ShardLog::read`], then
    /// [`ReadLog::go_on`].
    pub fn recover(
        storage: Arc<dyn Storage>,
        dir: &Path,
        config: Config,
        seed: u64,
        from: Option<Lsn>,
        apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
    ) -> Result<(ShardLog, RecoveryReport), LogError> {
        Self::read(storage, dir, config, seed, from, apply)?.go_on()
    }

    /// The first half of [`ShardLog::recover`]: hands every transaction to `apply` and finds out whether the log can be opened.
    /// Changes nothing, but that it makes the directory where `config.create` says so.
    ///
    /// # Errors
    /// As [`ShardLog::recover`].
    pub fn read(
        storage: Arc<dyn Storage>,
        dir: &Path,
        config: Config,
        seed: u64,
        from: Option<Lsn>,
        apply: &mut dyn FnMut(RecordView<'_>) -> Result<(), ApplyError>,
    ) -> Result<ReadLog, LogError> {
        config.validate()?;
        if config.create {
            storage.create_dir_all(dir).map_err(LogError::io("create", dir))?;
        } else if !storage.exists(dir).map_err(LogError::io("look for", dir))? {
            return Err(LogError::Missing { dir: dir.to_path_buf() });
        }
        let from = from.unwrap_or(Lsn::ZERO);
        let segments = survey(&*storage, dir, config.shard, OpenMode::ReadWrite)?;
        if segments.is_empty() && (from > Lsn::ZERO || !config.create) {
            return Err(LogError::Missing { dir: dir.to_path_buf() });
        }
        let walked = walk(&*storage, segments, config.shard, from, apply)?;
        hit(Failpoint::RecoverRead);
        Ok(ReadLog { storage, dir: dir.to_path_buf(), config, seed, walked })
    }
}

/// A log that was read and can be opened, and that nothing was done to yet.
#[derive(Debug)]
pub struct ReadLog {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    config: Config,
    seed: u64,
    walked: Walk,
}

impl ReadLog {
    /// The second half of [`ShardLog::recover`]: ends what is torn, makes everything that was read durable, and goes on.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::NoSpace`]; doing both halves again does the rest.
    pub fn go_on(self) -> Result<(ShardLog, RecoveryReport), LogError> {
        let ReadLog { storage, dir, config, seed, walked } = self;
        let dir = &*dir;
        // Only now, when the log is known to be openable, is anything changed.
        if !walked.segments.is_empty() && !crate::planted::is_planted("wal_open_without_dir_sync") {
            // Whoever named what is here may have been killed before the names were durable. What is built on them must not
            // outlive them: records in a segment, the removal of what a checkpoint takes the place of.
            storage.sync_dir(dir).map_err(LogError::io("sync the directory", dir))?;
        }
        let repair = Repair { storage: &*storage, dir, config: &config, seed };
        repair.remove_leftovers()?;
        hit(Failpoint::RecoverLeftovers);
        let (resume, report, declare) = repair.run(walked)?;
        let mut log = ShardLog::resume(storage, dir, config, seed, resume);
        if let Some((segment, end)) = declare {
            log.put_start(segment, end);
            hit(Failpoint::RecoverDeclared);
        }
        if report.discarded_incomplete {
            log.room_for_own(0)?;
            log.put_own(kind::ABORT, &[]);
        }
        log.sync()?;
        hit(Failpoint::RecoverDone);
        Ok((log, report))
    }
}

struct Repair<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    config: &'a Config,
    seed: u64,
}

/// The place named by the start record that has yet to be written.
type Declare = Option<(u64, u64)>;

impl Repair<'_> {
    /// Removes what an interrupted preparation or release left under a temporary name.
    fn remove_leftovers(&self) -> Result<(), LogError> {
        for name in self.storage.read_dir(self.dir).map_err(LogError::io("list", self.dir))? {
            if name.ends_with(".tmp") {
                let path = self.dir.join(name);
                self.storage.remove(&path).map_err(LogError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// The highest number that any file here was made for, files set aside included: no number, and so no salt, is
    /// used twice.
    fn newest_number(&self) -> Result<u64, LogError> {
        let names = self.storage.read_dir(self.dir).map_err(LogError::io("list", self.dir))?;
        let numbers = names.iter().filter_map(|n| u64::from_str_radix(n.get(..16)?, 16).ok());
        Ok(numbers.max().unwrap_or(0))
    }

    /// Removes the indexes of the segment in which the log ends and of later ones: made when that was sealed, they may list
    /// what a power cut took, and will not list what is appended now.
    fn forget_indexes(&self, from: u64) -> Result<(), LogError> {
        if crate::planted::is_planted("wal_keep_stale_indexes") {
            return Ok(());
        }
        let names = self.storage.read_dir(self.dir).map_err(LogError::io("list", self.dir))?;
        let mut removed = false;
        for name in names.iter().filter(|name| name.ends_with(".idx")) {
            if u64::from_str_radix(name.get(..16).unwrap_or_default(), 16).is_ok_and(|number| number >= from)
            {
                let path = self.dir.join(name);
                self.storage.remove(&path).map_err(LogError::io("remove", &path))?;
                removed = true;
            }
        }
        if removed {
            self.storage.sync_dir(self.dir).map_err(LogError::io("sync the directory", self.dir))?;
        }
        Ok(())
    }

    fn header(&self, number: u64) -> SegmentHeader {
        SegmentHeader {
            shard: self.config.shard,
            number,
            salt: salt(self.seed, self.config.shard, number),
            bytes: self.config.segment_bytes,
            rewritten: None,
        }
    }

    fn new_segment(&self, number: u64) -> Result<Spare, LogError> {
        make(self.storage, self.dir, self.header(number), None, self.config.mode == Mode::Buffered)
    }

    fn run(&self, mut w: Walk) -> Result<(Resume, RecoveryReport, Declare), LogError> {
        let mut report = RecoveryReport {
            created: w.segments.is_empty(),
            end: w.case,
            last_lsn: Lsn(w.last_lsn),
            applied: w.applied,
            skipped: w.skipped,
            segments: w.chain.len() as u64,
            bytes: w.bytes,
            discarded_incomplete: w.incomplete,
            torn: None,
        };
        let newest = self.newest_number()?;
        let Some(&last) = w.chain.last() else {
            let resume = self.fresh(&w, newest + 1, Vec::new())?;
            return Ok((resume, report, Some((0, 0))));
        };
        self.harden(&w)?;
        hit(Failpoint::RecoverHardened);
        let here = w.segments[last.index].number;
        self.forget_indexes(here)?;
        if w.case.verdict() == Verdict::Torn && !crate::planted::is_planted("wal_write_over_torn_tail") {
            report.torn = Some(self.cut(&mut w, last)?);
            hit(Failpoint::RecoverCut);
            let sealed = sealed(&w, &w.chain);
            let resume = self.fresh(&w, newest + 1, sealed)?;
            return Ok((resume, report, Some((here, last.end))));
        }
        let (spares, next_number) = self.keep_spares(&w, here, newest)?;
        let segment = &w.segments[last.index];
        let header = segment.header.map_err(|_| LogError::Missing { dir: self.dir.to_path_buf() })?;
        let file = segment.open(self.storage, OpenMode::ReadWrite)?;
        let map = self.map(segment, &*file, header, last.end)?;
        // Only what may be written soon: every page made ready is written out once more.
        file.prefault(last.end, PREFAULT_MAX_BYTES);
        let resume = Resume {
            active: Active { header, path: segment.path.clone(), file, first_lsn: last.first_lsn },
            map,
            offset: last.end,
            last_lsn: w.last_lsn,
            last_crc: w.last_crc,
            last_kind: w.last_kind,
            spares,
            next_number,
            sealed: sealed(&w, &w.chain[..w.chain.len() - 1]).into(),
        };
        // The log ends before this segment's first record: it still has to say where it comes from.
        let declare = (last.end == SEGMENT_HEADER_BYTES).then(|| {
            let before = w.chain.len().checked_sub(2).map(|i| w.chain[i]);
            before.map_or((0, 0), |link| (w.segments[link.index].number, link.end))
        });
        Ok((resume, report, declare))
    }

    /// A state that goes on in a new segment.
    fn fresh(&self, w: &Walk, number: u64, sealed: Vec<SealedSegment>) -> Result<Resume, LogError> {
        let spare = self.new_segment(number)?;
        Ok(Resume {
            active: Active {
                header: spare.header,
                path: spare.path,
                file: spare.file,
                first_lsn: w.last_lsn + 1,
            },
            map: spare.map,
            offset: SEGMENT_HEADER_BYTES,
            last_lsn: w.last_lsn,
            last_crc: w.last_crc,
            last_kind: w.last_kind,
            spares: VecDeque::new(),
            next_number: number + 1,
            sealed: sealed.into(),
        })
    }

    /// Writes again, and syncs, every record that nothing vouches for.
    ///
    /// A sync alone would not do: after a failed sync the system may hold pages in memory that it takes for clean and
    /// that are not on disk. Writing the same bytes makes them dirty again.
    fn harden(&self, w: &Walk) -> Result<(), LogError> {
        if crate::planted::is_planted("wal_skip_harden") {
            return Ok(());
        }
        let mut buf = Vec::new();
        for link in w.chain.iter().filter(|l| l.last_lsn > w.vouched && l.last_lsn >= l.first_lsn) {
            let segment = &w.segments[link.index];
            segment.load(self.storage, &mut buf)?;
            let at = offset_after(&buf, link.end, w.vouched);
            let file = segment.open(self.storage, OpenMode::ReadWrite)?;
            file.write_at(at, &buf[at as usize..link.end as usize])
                .and_then(|()| file.sync_data())
                .map_err(LogError::io("make durable", &segment.path))?;
        }
        Ok(())
    }

    /// Keeps a copy of what follows the end and sets later segments aside.
    fn cut(&self, w: &mut Walk, last: Link) -> Result<TornTail, LogError> {
        let segment = &w.segments[last.index];
        let mut buf = Vec::new();
        segment.load(self.storage, &mut buf)?;
        let tail = &buf[last.end as usize..];
        let used = tail.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1);
        let copy = tail_copy(self.dir, segment.number, last.end);
        write_atomically(self.storage, &copy, &tail[..used])
            .map_err(LogError::room("copy the torn tail to", &copy))?;
        hit(Failpoint::RecoverTailCopied);
        let mut torn = TornTail {
            file: segment.path.to_path_buf(),
            offset: last.end,
            copy,
            bytes: used as u64,
            dropped_records: w.dropped,
            set_aside: Vec::new(),
        };
        let here = segment.number;
        // Newest first, each made durable: a crash must not leave a gap that looks like a missing segment.
        for later in w.segments.iter().rev().filter(|s| s.number > here) {
            later.load(self.storage, &mut buf)?;
            if is_zero(&buf[SEGMENT_HEADER_BYTES as usize..]) {
                self.storage.remove(&later.path).map_err(LogError::io("remove", &later.path))?;
                hit(Failpoint::RecoverLaterRemoved);
            } else {
                let aside = later.path.with_added_extension("torn");
                self.storage.rename(&later.path, &aside).map_err(LogError::io("set aside", &later.path))?;
                hit(Failpoint::RecoverLaterAside);
                torn.set_aside.push(aside);
            }
            self.storage.sync_dir(self.dir).map_err(LogError::io("sync the directory", self.dir))?;
        }
        Ok(torn)
    }

    /// After a clean end: later segments are unused. Those of use are kept as spares, the others removed, and so are
    /// unused ones that the log has gone past.
    fn keep_spares(&self, w: &Walk, here: u64, newest: u64) -> Result<(VecDeque<Spare>, u64), LogError> {
        let mut spares = VecDeque::new();
        let in_chain = |i: usize| w.chain.iter().any(|l| l.index == i);
        let oldest = w.chain.first().map_or(0, |l| w.segments[l.index].number);
        for (_, segment) in w
            .segments
            .iter()
            .enumerate()
            .filter(|(i, s)| s.number > oldest && s.start.is_none() && !in_chain(*i))
        {
            match segment.header {
                Ok(header) if segment.number > here && header.bytes == self.config.segment_bytes => {
                    spares.push_back(self.spare_of(segment, header)?);
                }
                _ => self.storage.remove(&segment.path).map_err(LogError::io("remove", &segment.path))?,
            }
        }
        Ok((spares, newest + 1))
    }

    /// Maps a segment that is written on from `end`, behind which it holds nothing.
    fn map(
        &self,
        segment: &Found,
        file: &dyn File,
        header: SegmentHeader,
        end: u64,
    ) -> Result<Option<Box<dyn Mapped>>, LogError> {
        if self.config.mode == Mode::Strict {
            return Ok(None);
        }
        if file.has_holes().map_err(LogError::io("measure", &segment.path))? {
            // A copy of the database may have left its zeroes out: a store there would have to find room, and end the process
            // where there is none.
            zero(file, end, header.bytes)
                .and_then(|()| file.sync_data())
                .map_err(LogError::room("fill", &segment.path))?;
        }
        Ok(Some(file.map(header.bytes).map_err(LogError::io("map", &segment.path))?))
    }

    fn spare_of(&self, segment: &Found, header: SegmentHeader) -> Result<Spare, LogError> {
        let file = segment.open(self.storage, OpenMode::ReadWrite)?;
        let map = self.map(segment, &*file, header, SEGMENT_HEADER_BYTES)?;
        Ok(Spare { header, path: segment.path.clone(), file, map, _token: None })
    }
}

fn sealed(w: &Walk, links: &[Link]) -> Vec<SealedSegment> {
    links
        .iter()
        .map(|l| SealedSegment {
            number: w.segments[l.index].number,
            path: w.segments[l.index].path.to_path_buf(),
            first_lsn: Lsn(l.first_lsn),
            last_lsn: Lsn(l.last_lsn),
            end: l.end,
        })
        .collect()
}
