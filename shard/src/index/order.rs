//! All keys of the shard in order: for scans, and to validate them. Only the writer looks here.
//!
//! A tree of blocks of up to 256 entries. A new key is appended to its block and the block sorted when somebody scans it
//! or it is split, so that a put costs a search among blocks and not among entries. Runs share blocks: a run of ten keys
//! costs ten pointers.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use smallvec::SmallVec;

use super::key::KeyRef;
use super::limits::ORDER_BLOCK_ENTRIES;
use super::node::Entry;
use in_mem_model::{RunId, Tag};

/// Bytes of a user key that are compared as one word, after the tag.
const PREFIX_BYTES: usize = 15;

/// The start of a key as two numbers that order as the key does.
type Prefix = (u128, u128);

fn prefix(key: &KeyRef<'_>) -> Prefix {
    let mut bytes = [0; 16];
    bytes[0] = key.tag as u8;
    let length = key.user.len().min(PREFIX_BYTES);
    bytes[1..=length].copy_from_slice(&key.user[..length]);
    (u128::from_be_bytes(*key.run.as_bytes()), u128::from_be_bytes(bytes))
}

/// The lower bound of a block, or what is searched for.
#[derive(PartialEq, Eq, Debug)]
struct BlockKey {
    prefix: Prefix,
    user: SmallVec<[u8; 24]>,
}

impl BlockKey {
    fn new(key: &KeyRef<'_>) -> Self {
        Self { prefix: prefix(key), user: SmallVec::from_slice(key.user) }
    }
}

impl Ord for BlockKey {
    fn cmp(&self, other: &Self) -> Ordering {
        // The prefix pads short keys with zeros, so equal prefixes decide nothing.
        self.prefix.cmp(&other.prefix).then_with(|| self.user.cmp(&other.user))
    }
}

impl PartialOrd for BlockKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Default)]
struct Block {
    entries: Vec<*mut Entry>,
    /// How many from the start are in order.
    sorted: usize,
}

/// One end of a range: everything from, or up to, a place in the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<'a> {
    pub(super) run: RunId,
    /// `None`: all tags.
    pub(super) tag: Option<Tag>,
    pub(super) lower: Bound<&'a [u8]>,
    pub(super) upper: Bound<&'a [u8]>,
}

impl Range<'_> {
    /// Where the key lies: before the range, in it, or after it.
    fn place(&self, key: &KeyRef<'_>) -> Ordering {
        let tag = self.tag.map_or(Ordering::Equal, |tag| key.tag.cmp(&tag));
        match key.run.cmp(&self.run).then(tag) {
            Ordering::Equal => {}
            other => return other,
        }
        let above_lower = match self.lower {
            Bound::Included(lower) => key.user >= lower,
            Bound::Excluded(lower) => key.user > lower,
            Bound::Unbounded => true,
        };
        let below_upper = match self.upper {
            Bound::Included(upper) => key.user <= upper,
            Bound::Excluded(upper) => key.user < upper,
            Bound::Unbounded => true,
        };
        match (above_lower, below_upper) {
            (false, _) => Ordering::Less,
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
        }
    }

    fn bounds(&self) -> (BlockKey, BlockKey) {
        let run = u128::from_be_bytes(*self.run.as_bytes());
        let unbounded = |tag: u128| BlockKey { prefix: (run, tag << 120), user: SmallVec::new() };
        let (low_tag, past_tag) = self.tag.map_or((0, 255), |tag| (tag as u128, tag as u128 + 1));
        let at = |user| self.tag.map(|tag| BlockKey::new(&KeyRef { run: self.run, tag, user }));
        let bounded = |bound| match bound {
            Bound::Included(user) | Bound::Excluded(user) => at(user),
            Bound::Unbounded => None,
        };
        let lower = bounded(self.lower).unwrap_or_else(|| unbounded(low_tag));
        let upper = bounded(self.upper).unwrap_or_else(|| unbounded(past_tag));
        (lower, upper)
    }
}

/// The order of all keys of a shard.
pub(super) struct Order {
    blocks: BTreeMap<BlockKey, Block>,
    scratch: Vec<(Prefix, *mut Entry)>,
}

impl Order {
    pub(super) fn new() -> Self {
        let everything = BlockKey { prefix: (0, 0), user: SmallVec::new() };
        Self { blocks: BTreeMap::from([(everything, Block::default())]), scratch: Vec::new() }
    }

    /// Adds an entry that is not there.
    ///
    /// # Safety
    /// `entry` is live until it is removed, and its key is `key`.
    pub(super) unsafe fn insert(&mut self, key: &KeyRef<'_>, entry: *mut Entry) {
        let place = BlockKey::new(key);
        let (_, block) =
            self.blocks.range_mut(..=&place).next_back().expect("the first block starts before every key");
        let in_order = block.sorted == block.entries.len()
            // SAFETY: entries in the order are live.
            && block.entries.last().is_none_or(|&last| unsafe { Entry::key(last) } < *key);
        if block.entries.len() < ORDER_BLOCK_ENTRIES {
            block.sorted += usize::from(in_order);
            block.entries.push(entry);
            return;
        }
        if in_order {
            // Ascending keys, such as events: a new block leaves the old one full.
            self.blocks.insert(place, Block { entries: vec![entry], sorted: 1 });
            return;
        }
        // SAFETY: as above.
        unsafe { block.sort(&mut self.scratch) };
        let mut upper = block.entries.split_off(ORDER_BLOCK_ENTRIES / 2);
        block.sorted = block.entries.len();
        block.entries.reserve_exact(ORDER_BLOCK_ENTRIES - block.entries.len());
        upper.reserve_exact(ORDER_BLOCK_ENTRIES - upper.len());
        // SAFETY: as above.
        let split_at = BlockKey::new(&unsafe { Entry::key(upper[0]) });
        let sorted = upper.len();
        let mut upper = Block { entries: upper, sorted };
        if place < split_at { block } else { &mut upper }.entries.push(entry);
        self.blocks.insert(split_at, upper);
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &KeyRef<'_>, entry: *mut Entry) {
        let place = BlockKey::new(key);
        let (_, block) =
            self.blocks.range_mut(..=&place).next_back().expect("the first block starts before every key");
        let Some(at) = block.entries.iter().position(|&other| other == entry) else {
            debug_assert!(false, "a linked entry is in the order");
            return;
        };
        block.entries.remove(at);
        block.sorted -= usize::from(at < block.sorted);
        if block.entries.len() < ORDER_BLOCK_ENTRIES / 4 {
            self.merge_next(&place);
        }
    }

    /// Merges the block that holds the key with the next, if both are sparse.
    fn merge_next(&mut self, place: &BlockKey) {
        let sparse = |block: &Block| block.entries.len() <= ORDER_BLOCK_ENTRIES / 4;
        // With the next block, or where there is none, with the one before.
        let mut from_here = self.blocks.range(..=place).rev();
        let Some((here, block)) = from_here.next() else { return };
        let upper = match self.blocks.range((Bound::Excluded(here), Bound::Unbounded)).next() {
            Some((next, after)) if sparse(block) && sparse(after) => next,
            _ => match from_here.next() {
                Some((_, before)) if sparse(block) && sparse(before) => here,
                _ => return,
            },
        };
        let upper = BlockKey { prefix: upper.prefix, user: upper.user.clone() };
        let Some(moved) = self.blocks.remove(&upper) else { return };
        if let Some((_, block)) = self.blocks.range_mut(..upper).next_back() {
            if block.sorted == block.entries.len() {
                block.sorted += moved.sorted;
            }
            block.entries.extend_from_slice(&moved.entries);
            block.entries.shrink_to(ORDER_BLOCK_ENTRIES);
        }
    }

    /// Visits the entries of a range in order, until told to stop.
    ///
    /// # Safety
    /// The caller is the writer; entries in the order are live.
    pub(super) unsafe fn visit(
        &mut self,
        range: &Range<'_>,
        backwards: bool,
        mut visit: impl FnMut(*mut Entry) -> std::ops::ControlFlow<()>,
    ) {
        let (low, high) = range.bounds();
        if low > high {
            return;
        }
        // The block that the lower bound falls into starts at or before it.
        let Some(start) = self.blocks.range(..=&low).next_back().map(|(key, _)| key) else { return };
        let start = BlockKey { prefix: start.prefix, user: start.user.clone() };
        let mut blocks = self.blocks.range_mut(start..=high);
        while let Some((_, block)) = if backwards { blocks.next_back() } else { blocks.next() } {
            // SAFETY: entries in the order are live.
            unsafe { block.sort(&mut self.scratch) };
            // SAFETY: as above.
            let place = |entry: &*mut Entry| range.place(&unsafe { Entry::key(*entry) });
            let first = block.entries.partition_point(|entry| place(entry) == Ordering::Less);
            let inside = &block.entries[first..];
            let inside = &inside[..inside.partition_point(|entry| place(entry) == Ordering::Equal)];
            let mut step = |entry: &*mut Entry| visit(*entry);
            let flow = if backwards {
                inside.iter().rev().try_for_each(&mut step)
            } else {
                inside.iter().try_for_each(&mut step)
            };
            if flow.is_break() {
                return;
            }
        }
    }

    /// Bytes of blocks and tree, near enough.
    pub(super) fn bytes(&self) -> usize {
        let entries: usize = self.blocks.values().map(|block| block.entries.capacity()).sum();
        entries * size_of::<*mut Entry>() + self.blocks.len() * (size_of::<BlockKey>() + size_of::<Block>())
    }
}

impl Block {
    /// Puts the entries in order.
    ///
    /// # Safety
    /// They are live.
    unsafe fn sort(&mut self, scratch: &mut Vec<(Prefix, *mut Entry)>) {
        if self.sorted == self.entries.len() {
            return;
        }
        scratch.clear();
        // Every entry is read once; most comparisons are then decided by the prefix.
        // SAFETY: live, says the caller.
        scratch.extend(self.entries.iter().map(|&entry| (prefix(&unsafe { Entry::key(entry) }), entry)));
        scratch.sort_unstable_by(|a, b| {
            // SAFETY: as above.
            a.0.cmp(&b.0).then_with(|| unsafe { Entry::key(a.1).cmp(&Entry::key(b.1)) })
        });
        self.entries.clear();
        self.entries.extend(scratch.iter().map(|&(_, entry)| entry));
        self.sorted = self.entries.len();
    }
}
