//! Where a log ends, and when it is damaged instead: a table of named cases.
//!
//! The reader follows the records of a log until it meets a place where no record can be read: the place X. What is
//! there is described as [`Evidence`], and the first row of [`TABLE`] that applies gives the case and its verdict.
//! End of log is not corruption, and corruption is not end of log: a row that ends the log must be one that a crash
//! can produce without losing anything that was synced.

use std::fmt;

/// What recovery does about a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The log goes on in the segment that says so.
    Continue,
    /// The log ends here and appending goes on at this very place.
    End,
    /// The log ends here; what follows was never synced. It is copied aside and appending goes on in a new segment.
    Torn,
    /// Synced records are damaged or missing: refuse to open.
    Corrupt,
}

macro_rules! cases {
    ($($(#[doc = $reason:literal])+ $case:ident => $verdict:ident, $name:literal;)+) => {
        /// The named cases of the end-of-log table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EndCase {
            $($(#[doc = $reason])+ $case,)+
        }

        impl EndCase {
            /// Every case.
            pub const ALL: &'static [EndCase] = &[$(EndCase::$case),+];

            /// The case's name, as errors print it.
            pub fn name(self) -> &'static str {
                match self { $(EndCase::$case => $name,)+ }
            }

            /// What recovery does.
            pub fn verdict(self) -> Verdict {
                match self { $(EndCase::$case => Verdict::$verdict,)+ }
            }

            /// Why.
            pub fn reason(self) -> &'static str {
                match self { $(EndCase::$case => concat!($($reason),+),)+ }
            }
        }
    };
}

cases! {
    /// A segment's file carries another number in its header than in its name. A crash does not rename files; reading
    /// it under the wrong name would put records in the wrong order.
    Misnamed => Corrupt, "file under another's name";
    /// A segment or record of another shard. Its records would be applied to the wrong runs.
    WrongShard => Corrupt, "wrong shard";
    /// A segment's file has another length than its header says. Segments are written in full before they get their
    /// name and never change length, so someone cut or extended the file.
    WrongLength => Corrupt, "wrong file length";
    /// A segment's header is damaged although the segment was in use: a record names it or it holds records. Headers
    /// are synced before a segment gets its name and never written again.
    HeaderDamaged => Corrupt, "damaged segment header";
    /// The newer segment was begun by a recovery that durably ended the log at this very place, record number and
    /// checksum. Whatever follows here was judged then.
    DeclaredEnd => Continue, "declared end";
    /// A record is intact and of this segment's salt but has the wrong number, the wrong predecessor's checksum or
    /// the wrong place. A crash tears records; it does not renumber them.
    BrokenChain => Corrupt, "gap in record numbers";
    /// Records of one transaction come in an order that no writer produces.
    PartsOutOfOrder => Corrupt, "parts of a transaction out of order";
    /// A segment that another one names is not there. Segments are durable before they are named.
    SegmentMissing => Corrupt, "missing segment";
    /// The log starts after the first record, and no checkpoint covers what is missing.
    StartMissing => Corrupt, "start of the log missing";
    /// A durable checkpoint covers records from here on. Checkpoints are only written of synced records.
    CheckpointPast => Corrupt, "ends before its checkpoint";
    /// A later intact record of the same segment says that the record here was synced.
    LaterRecordVouches => Corrupt, "later record vouches for it";
    /// A record in a later segment says that the record here was synced, so this segment was sealed and whole.
    SealedSegment => Corrupt, "damage in a sealed segment";
    /// The bytes that follow look like records everywhere and are none. No writer produces that; to call it the end
    /// of the log could drop synced records.
    ForgedTail => Corrupt, "forged tail";
    /// Zeroes up to the end of the segment and nothing in any later one; the last record is the clean-close footer.
    CleanClose => End, "clean close";
    /// Zeroes up to the end of the segment and nothing in any later one.
    CleanEnd => End, "clean end";
    /// Intact records of an earlier use of the file, under another salt: the segment was recycled without being
    /// zeroed, and the log ends before them.
    StaleSalt => Torn, "stale records of a recycled segment";
    /// Zeroes here but records later, none of which says that anything from here on was synced: the disk kept later
    /// unsynced sectors and dropped earlier ones.
    LostSectors => Torn, "unsynced sectors lost";
    /// A record that does not check, and nothing later says that it was synced: its write was cut short.
    TornTail => Torn, "torn tail";
}

impl fmt::Display for EndCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why no record can be read at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing but zeroes where the header would be, or no room for one.
    Zeroes,
    /// The length leads out of the segment.
    Length,
    /// The checksum differs.
    Checksum { expected: u32, found: u32 },
    /// Intact, of another salt.
    Salt { expected: u32, found: u32 },
    /// Intact, of another shard.
    Shard { expected: u16, found: u16 },
    /// Intact, with another number.
    Lsn { expected: u64, found: u64 },
    /// Intact, after another record.
    PrevCrc { expected: u32, found: u32 },
    /// Intact, of a kind that cannot be here (a start record in the middle, or none at the start).
    Place { kind: u8 },
}

impl Fault {
    /// What should be there and what is.
    pub(crate) fn describe(&self, lsn: u64) -> (String, String) {
        match *self {
            Fault::Zeroes => (format!("record {lsn}"), "no record".into()),
            Fault::Length => (format!("record {lsn}"), "a length that leads out of the segment".into()),
            Fault::Checksum { expected, found } => {
                (format!("record {lsn} with checksum {expected:08x}"), format!("checksum {found:08x}"))
            }
            Fault::Salt { expected, found } => (format!("salt {expected:08x}"), format!("salt {found:08x}")),
            Fault::Shard { expected, found } => (format!("shard {expected}"), format!("shard {found}")),
            Fault::Lsn { expected, found } => (format!("record {expected}"), format!("record {found}")),
            Fault::PrevCrc { expected, found } => {
                (format!("a record after checksum {expected:08x}"), format!("one after checksum {found:08x}"))
            }
            Fault::Place { kind } => {
                (format!("record {lsn} in its place"), format!("a record of kind {kind:#04x}"))
            }
        }
    }
}

/// What is known about the place where reading stopped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) fault: Option<Fault>,
    /// A later segment's intact start record names this place, record and checksum as where it comes from.
    pub(crate) declared: bool,
    /// A segment that the chain names is not there.
    pub(crate) successor_missing: bool,
    /// A later segment's header is damaged and the segment was in use.
    pub(crate) successor_damaged: bool,
    /// The checkpoint covers the record expected here.
    pub(crate) checkpoint_past: bool,
    /// Intact later records of this segment / of later segments that say that the record expected here was synced.
    pub(crate) witness_here: bool,
    pub(crate) witness_later: bool,
    /// The search for such records was given up.
    pub(crate) forged: bool,
    /// All bytes from here to the end of the segment are zero.
    pub(crate) zero_to_end: bool,
    /// A later segment holds something else than zeroes.
    pub(crate) later_used: bool,
    /// The record before this place is the clean-close footer.
    pub(crate) after_close: bool,
}

type Row = (EndCase, fn(&Evidence) -> bool);

/// First row that applies wins. The last applies always.
pub(crate) const TABLE: &[Row] = &[
    (EndCase::DeclaredEnd, |e| e.declared),
    (EndCase::WrongShard, |e| matches!(e.fault, Some(Fault::Shard { .. }))),
    (EndCase::BrokenChain, |e| {
        matches!(e.fault, Some(Fault::Lsn { .. } | Fault::PrevCrc { .. } | Fault::Place { .. }))
    }),
    (EndCase::SegmentMissing, |e| e.successor_missing),
    (EndCase::HeaderDamaged, |e| e.successor_damaged),
    (EndCase::CheckpointPast, |e| e.checkpoint_past),
    (EndCase::LaterRecordVouches, |e| e.witness_here),
    (EndCase::SealedSegment, |e| e.witness_later),
    (EndCase::ForgedTail, |e| e.forged),
    (EndCase::CleanClose, |e| e.zero_to_end && !e.later_used && e.after_close),
    (EndCase::CleanEnd, |e| e.zero_to_end && !e.later_used),
    (EndCase::StaleSalt, |e| matches!(e.fault, Some(Fault::Salt { .. }))),
    (EndCase::LostSectors, |e| e.fault == Some(Fault::Zeroes)),
    (EndCase::TornTail, |_| true),
];

/// The case that applies.
pub(crate) fn judge(evidence: &Evidence) -> EndCase {
    TABLE.iter().find(|(_, applies)| applies(evidence)).map_or(EndCase::TornTail, |(case, _)| *case)
}
