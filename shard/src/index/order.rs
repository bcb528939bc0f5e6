//! All keys of the shard in order: for scans, and to validate them. Only the writer looks here.
//!
//! A tree of blocks of up to 256 entries. A new key is appended to its block and the block sorted when somebody scans it
//! or it is split, so that a put costs a search among blocks and not among entries. Keys that only ascend, such as events,
//! cost not even that: the block that took the last of them is remembered. Runs share blocks: a run of ten keys costs ten
//! pointers. While a shard is loaded nothing is searched at all: its keys are sorted once, when all are there.

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

/// One more than the greatest type tag.
const TAGS: usize = Tag::Run as usize + 1;

/// When more waits to be sorted than this part of what is sorted already, all is sorted anew.
const SETTLE_ALL_PARTS: usize = 4;

/// How many words of keys are sorted by, one after the other, before whole keys are compared.
const SORT_WORDS: usize = 64;

const LOWEST: &str = "the first block starts before every key";

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
#[derive(Clone, PartialEq, Eq, Debug)]
struct BlockKey {
    prefix: Prefix,
    user: SmallVec<[u8; 24]>,
}

impl BlockKey {
    fn new(key: &KeyRef<'_>) -> Self {
        Self { prefix: prefix(key), user: SmallVec::from_slice(key.user) }
    }

    /// Before every key.
    fn lowest() -> Self {
        Self { prefix: (0, 0), user: SmallVec::new() }
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

impl BlockKey {
    /// How the bound compares with a key whose prefix is known.
    fn cmp_key(&self, prefix: &Prefix, key: &KeyRef<'_>) -> Ordering {
        self.prefix.cmp(prefix).then_with(|| self.user[..].cmp(key.user))
    }
}

#[derive(Default)]
struct Block {
    entries: Vec<*mut Entry>,
    /// How many from the start are in order.
    sorted: usize,
}

/// The block that took the last key of a tag, where that was behind all that it held.
struct Recent {
    block: usize,
    lower: BlockKey,
    /// The next block's; `None`: it is the last.
    upper: Option<BlockKey>,
}

impl Recent {
    fn holds(&self, prefix: &Prefix, key: &KeyRef<'_>) -> bool {
        self.lower.cmp_key(prefix, key) != Ordering::Greater
            && self.upper.as_ref().is_none_or(|upper| upper.cmp_key(prefix, key) == Ordering::Greater)
    }
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
    /// Lower bounds of the blocks, with their places in `blocks`.
    places: BTreeMap<BlockKey, usize>,
    blocks: Vec<Block>,
    /// Places in `blocks` that no bound names.
    free: Vec<usize>,
    /// By tag.
    recent: [Option<Recent>; TAGS],
    /// Entries that were added while the shard is loaded, and are in no block yet.
    loaded: Vec<*mut Entry>,
    is_loading: bool,
    scratch: Vec<(Prefix, *mut Entry)>,
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            places: BTreeMap::from([(BlockKey::lowest(), 0)]),
            blocks: vec![Block::default()],
            free: Vec::new(),
            recent: Default::default(),
            loaded: Vec::new(),
            is_loading: false,
            scratch: Vec::new(),
        }
    }

    /// Entries that are added from now on wait to be sorted together, until [`Order::end_loading`] or the first who looks.
    pub(super) fn begin_loading(&mut self) {
        self.is_loading = true;
    }

    /// # Safety
    /// Entries in the order are live.
    pub(super) unsafe fn end_loading(&mut self) {
        self.is_loading = false;
        // SAFETY: passed on.
        unsafe { self.settle() };
    }

    /// Puts the entries that wait into blocks.
    ///
    /// # Safety
    /// Entries in the order are live.
    unsafe fn settle(&mut self) {
        if self.loaded.is_empty() {
            return;
        }
        let loaded = std::mem::take(&mut self.loaded);
        let there: usize = self.blocks.iter().map(|block| block.entries.len()).sum();
        if loaded.len() < there / SETTLE_ALL_PARTS {
            for entry in loaded {
                // SAFETY: live, says the caller, until it is removed.
                unsafe { self.insert_sorted(&Entry::key(entry), entry) };
            }
            return;
        }
        let old = self.blocks.iter().flat_map(|block| &block.entries);
        let mut all: Vec<_> = old.chain(&loaded).map(|&entry| (0, entry)).collect();
        // SAFETY: live, says the caller.
        unsafe { sort_from(&mut all, 0) };
        self.recent = Default::default();
        self.free.clear();
        self.blocks.clear();
        let mut places = Vec::with_capacity(all.len() / ORDER_BLOCK_ENTRIES + 1);
        for chunk in all.chunks(ORDER_BLOCK_ENTRIES) {
            let lower = if self.blocks.is_empty() {
                BlockKey::lowest()
            } else {
                // SAFETY: as above.
                BlockKey::new(&unsafe { Entry::key(chunk[0].1) })
            };
            places.push((lower, self.blocks.len()));
            let entries: Vec<_> = chunk.iter().map(|&(_, entry)| entry).collect();
            self.blocks.push(Block { sorted: entries.len(), entries });
        }
        self.places = places.into_iter().collect();
    }

    /// Adds an entry that is not there.
    ///
    /// # Safety
    /// `entry` is live until it is removed, and its key is `key`.
    pub(super) unsafe fn insert(&mut self, key: &KeyRef<'_>, entry: *mut Entry) {
        if self.is_loading {
            self.loaded.push(entry);
        } else {
            // SAFETY: passed on.
            unsafe { self.insert_sorted(key, entry) };
        }
    }

    /// # Safety
    /// As for [`Order::insert`].
    unsafe fn insert_sorted(&mut self, key: &KeyRef<'_>, entry: *mut Entry) {
        let prefix = prefix(key);
        let recent = self.recent[key.tag as usize].as_ref().filter(|recent| recent.holds(&prefix, key));
        let is_recent = recent.is_some();
        let here = match recent {
            Some(recent) => recent.block,
            None => self.block_of(&BlockKey::new(key)),
        };
        let block = &mut self.blocks[here];
        let in_order = block.sorted == block.entries.len()
            // SAFETY: entries in the order are live.
            && block.entries.last().is_none_or(|&last| unsafe { Entry::key(last) } < *key);
        if block.entries.len() < ORDER_BLOCK_ENTRIES {
            block.sorted += usize::from(in_order);
            block.entries.push(entry);
            if in_order && !is_recent {
                self.remember(key);
            }
            return;
        }
        if in_order {
            // Ascending keys, such as events: a new block leaves the old one full.
            let mut entries = Vec::with_capacity(ORDER_BLOCK_ENTRIES);
            entries.push(entry);
            self.add_block(BlockKey::new(key), Block { entries, sorted: 1 });
            self.remember(key);
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
        let is_below = split_at.cmp_key(&prefix, key) == Ordering::Greater;
        if is_below { block } else { &mut upper }.entries.push(entry);
        self.add_block(split_at, upper);
    }

    /// Remembers the block that holds the key as the one that takes the next of its tag.
    fn remember(&mut self, key: &KeyRef<'_>) {
        let place = BlockKey::new(key);
        let (lower, &block) = self.places.range(..=&place).next_back().expect(LOWEST);
        let upper = self.places.range((Bound::Excluded(&place), Bound::Unbounded)).next();
        let (lower, upper) = (lower.clone(), upper.map(|(upper, _)| upper.clone()));
        self.recent[key.tag as usize] = Some(Recent { block, lower, upper });
    }

    /// The place in `blocks` of the block that such a key belongs to.
    fn block_of(&self, place: &BlockKey) -> usize {
        *self.places.range(..=place).next_back().expect(LOWEST).1
    }

    fn add_block(&mut self, lower: BlockKey, block: Block) {
        let place = self.free.pop().unwrap_or(self.blocks.len());
        match self.blocks.get_mut(place) {
            Some(free) => *free = block,
            None => self.blocks.push(block),
        }
        self.places.insert(lower, place);
        // What is remembered may end where the new block begins.
        self.recent = Default::default();
    }

    /// Takes an entry out.
    ///
    /// # Safety
    /// Entries in the order are live.
    pub(super) unsafe fn remove(&mut self, key: &KeyRef<'_>, entry: *mut Entry) {
        // SAFETY: passed on.
        unsafe { self.settle() };
        let place = BlockKey::new(key);
        let here = self.block_of(&place);
        let block = &mut self.blocks[here];
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
        let sparse = |&place: &usize| self.blocks[place].entries.len() <= ORDER_BLOCK_ENTRIES / 4;
        // With the next block, or where there is none, with the one before.
        let mut from_here = self.places.range(..=place).rev();
        let Some((here, block)) = from_here.next() else { return };
        let upper = match self.places.range((Bound::Excluded(here), Bound::Unbounded)).next() {
            Some((next, after)) if sparse(block) && sparse(after) => next,
            _ => match from_here.next() {
                Some((_, before)) if sparse(block) && sparse(before) => here,
                _ => return,
            },
        };
        let upper = upper.clone();
        let Some(from) = self.places.remove(&upper) else { return };
        let moved = std::mem::take(&mut self.blocks[from]);
        self.free.push(from);
        self.recent = Default::default();
        if let Some((_, &place)) = self.places.range(..upper).next_back() {
            let block = &mut self.blocks[place];
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
        // SAFETY: entries in the order are live.
        unsafe { self.settle() };
        let (low, high) = range.bounds();
        if low > high {
            return;
        }
        // The block that the lower bound falls into starts at or before it.
        let Some(start) = self.places.range(..=&low).next_back().map(|(key, _)| key) else { return };
        let mut places = self.places.range((Bound::Included(start), Bound::Included(&high)));
        while let Some((_, &place)) = if backwards { places.next_back() } else { places.next() } {
            let block = &mut self.blocks[place];
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
        let entries: usize = self.blocks.iter().map(|block| block.entries.capacity()).sum();
        (entries + self.loaded.capacity()) * size_of::<*mut Entry>()
            + self.blocks.len() * (size_of::<BlockKey>() + size_of::<Block>())
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

/// Eight bytes of run, tag and user key written one behind the other, as a number that orders as they do, and whether the key
/// ends with them: what is missing counts as zeros.
fn word(key: &KeyRef<'_>, number: usize) -> (u64, bool) {
    let run = key.run.as_bytes();
    let mut bytes = [0; 8];
    let (to, from) = match number {
        0 => (&mut bytes[..], &run[..8]),
        1 => (&mut bytes[..], &run[8..]),
        2 => {
            bytes[0] = key.tag as u8;
            (&mut bytes[1..], key.user)
        }
        _ => (&mut bytes[..], key.user.get(7 + 8 * (number - 3)..).unwrap_or_default()),
    };
    let length = from.len().min(to.len());
    let ends = number >= 2 && from.len() <= to.len();
    to[..length].copy_from_slice(&from[..length]);
    (u64::from_be_bytes(bytes), ends)
}

/// Sorts entries that have all words before this one in common: by this word, and those that share it by what follows. Each
/// entry is read once a word, in the order in which it was made, where comparing whole keys would read two at random each time.
///
/// # Safety
/// They are live.
unsafe fn sort_from(entries: &mut [(u64, *mut Entry)], number: usize) {
    // SAFETY: live, says the caller.
    let word = |entry: *mut Entry| word(&unsafe { Entry::key(entry) }, number);
    for (at, entry) in entries.iter_mut() {
        *at = word(*entry).0;
    }
    entries.sort_unstable_by_key(|&(word, _)| word);
    for same in entries.chunk_by_mut(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
        if number + 1 == SORT_WORDS || same.iter().all(|&(_, entry)| word(entry).1) {
            // Keys that differ in how many zeros they end with, and no more.
            // SAFETY: as above.
            same.sort_unstable_by(|a, b| unsafe { Entry::key(a.1).cmp(&Entry::key(b.1)) });
        } else {
            // SAFETY: as above.
            unsafe { sort_from(same, number + 1) };
        }
    }
}
