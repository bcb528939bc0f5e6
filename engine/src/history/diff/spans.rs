//! How two traces differ: their trees are laid beside each other from the top down, so that what does the same at the same place
//! corresponds, also in runs that never shared a past.
//!
//! Spans correspond where their parents do, their kind and name are the same, and they stand in the same order among their siblings:
//! a longest common subsequence (Myers) over the children of each two parents. A span that both recorded (the same id, begun at
//! the same time) corresponds to itself. Where each of two whole traces has one root, of the same kind, the roots correspond under
//! any name: it is often the run's own, and all below it would be apart for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use in_mem_model::{Timestamp, Value};
use in_mem_shard::core::span::{Span, SpanKind};
use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffTag, capture_diff_slices};

use super::values::{ValueDiff, walk};

/// What spans come to, together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceTotals {
    /// How many there are.
    pub spans: u64,
    /// From the first beginning to the last end, in microseconds.
    pub elapsed_micros: u64,
    /// Tokens that models read.
    pub input_tokens: u64,
    /// Tokens that models wrote.
    pub output_tokens: u64,
    /// What they cost, in US dollars.
    pub cost_usd: f64,
}

/// A span of one side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpanSide {
    /// The span.
    #[serde(flatten)]
    pub span: Span,
    /// How long it took, in microseconds; `None`: it is under way.
    pub duration_micros: Option<u64>,
    /// What it and all below it come to.
    pub total: TraceTotals,
}

/// Two spans that correspond, or one that has none beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpanDiff {
    /// How many spans it is a part of.
    pub depth: usize,
    /// What it is.
    pub kind: SpanKind,
    /// Its name; where the two are named differently, the first's.
    pub name: Arc<str>,
    /// The first's; `None`: only the second has it.
    pub a: Option<SpanSide>,
    /// The second's; `None`: only the first has it.
    pub b: Option<SpanSide>,
    /// Where the two differ in name (roots only), input, output, status, tokens or attributes: `.output.text`. Ids and times are no
    /// difference.
    pub parts: Vec<ValueDiff>,
}

impl SpanDiff {
    /// Whether both are there and say the same.
    pub fn is_same(&self) -> bool {
        self.a.is_some() && self.b.is_some() && self.parts.is_empty()
    }
}

/// How two traces differ.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceDiff {
    /// What each comes to: all that is listed.
    pub totals: (TraceTotals, TraceTotals),
    /// Whether spans that both share, and that are therefore the same, are left out: so it is for a fork and its parent, and for two
    /// points of one run. What differs is there with all that it is a part of.
    pub unshared_only: bool,
    /// The spans, laid beside each other, each followed by its parts.
    pub spans: Vec<SpanDiff>,
}

impl TraceDiff {
    /// Whether no span differs.
    pub fn is_empty(&self) -> bool {
        self.spans.iter().all(SpanDiff::is_same)
    }

    /// How many spans only the second has, only the first has, and differ.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&&SpanDiff) -> bool| self.spans.iter().filter(wanted).count();
        let changed: fn(&&SpanDiff) -> bool = |s| s.a.is_some() && s.b.is_some() && !s.parts.is_empty();
        (count(|span| span.a.is_none()), count(|span| span.b.is_none()), count(changed))
    }

    /// For each span, whether it or one below it differs: what has to be shown so that each difference is seen at its place.
    pub fn leads_to_difference(&self) -> Vec<bool> {
        let mut leads: Vec<bool> = self.spans.iter().map(|span| !span.is_same()).collect();
        // The last ancestor at each depth, coming from behind: what was marked below marks what is above it.
        let mut below: Vec<bool> = Vec::new();
        for (place, span) in self.spans.iter().enumerate().rev() {
            below.resize(below.len().max(span.depth + 2), false);
            leads[place] |= std::mem::take(&mut below[span.depth + 1]);
            below[span.depth] |= leads[place];
        }
        leads
    }

    /// Lays two traces beside each other.
    pub fn of(a: Vec<Span>, b: Vec<Span>, unshared_only: bool) -> Self {
        let (mut a, mut b) = (Tree::of(a), Tree::of(b));
        let totals = (a.whole(), b.whole());
        let mut spans = Vec::with_capacity(a.spans.len().max(b.spans.len()));
        let mut to_visit = match only_roots(&a, &b).filter(|_| !unshared_only) {
            Some((one, other)) => vec![Item { a: Some(one), b: Some(other), depth: 0 }],
            None => lay(&a, &a.roots, &b, &b.roots, 0),
        };
        to_visit.reverse();
        while let Some(item) = to_visit.pop() {
            let children = |tree: &Tree, place: Option<usize>| {
                place.map(|place| tree.children[place].clone()).unwrap_or_default()
            };
            let (of_a, of_b) = (children(&a, item.a), children(&b, item.b));
            to_visit.extend(lay(&a, &of_a, &b, &of_b, item.depth + 1).into_iter().rev());
            let (one, other) =
                (item.a.and_then(|place| a.take(place)), item.b.and_then(|place| b.take(place)));
            let Some(any) = one.as_ref().or(other.as_ref()) else { continue };
            let (kind, name) = (any.span.head.kind.clone(), any.span.head.name.clone());
            let parts = match (&one, &other) {
                (Some(one), Some(other)) => parts(&one.span, &other.span),
                _ => Vec::new(),
            };
            spans.push(SpanDiff { depth: item.depth, kind, name, a: one, b: other, parts });
        }
        Self { totals, unshared_only, spans }
    }
}

/// Two places that correspond.
struct Item {
    a: Option<usize>,
    b: Option<usize>,
    depth: usize,
}

/// One side's spans: children as places, in order.
struct Tree {
    spans: Vec<Option<Span>>,
    roots: Vec<usize>,
    children: Vec<Vec<usize>>,
    totals: Vec<Sum>,
}

/// Totals in the making.
#[derive(Clone, Copy)]
struct Sum {
    totals: TraceTotals,
    first: Timestamp,
    last: Timestamp,
}

impl Sum {
    fn of(span: &Span) -> Self {
        let head = &span.head;
        Self {
            totals: TraceTotals {
                spans: 1,
                elapsed_micros: 0,
                input_tokens: head.input_tokens.unwrap_or(0),
                output_tokens: head.output_tokens.unwrap_or(0),
                cost_usd: head.cost_usd.filter(|cost| cost.is_finite()).unwrap_or(0.0),
            },
            first: head.start,
            last: head.end.unwrap_or(head.start),
        }
    }

    fn add(&mut self, other: &Self) {
        let (sum, more) = (&mut self.totals, &other.totals);
        sum.spans += more.spans;
        sum.input_tokens = sum.input_tokens.saturating_add(more.input_tokens);
        sum.output_tokens = sum.output_tokens.saturating_add(more.output_tokens);
        sum.cost_usd += more.cost_usd;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    fn finish(&self) -> TraceTotals {
        let elapsed_micros = u64::try_from(self.last.0.saturating_sub(self.first.0)).unwrap_or(0);
        TraceTotals { elapsed_micros, ..self.totals }
    }
}

impl Tree {
    /// Puts spans together. One whose parent is not among them is a root; where parents go round in a circle, the first begun of the
    /// circle is.
    fn of(mut spans: Vec<Span>) -> Self {
        spans.sort_by(|a, b| (a.head.start, &a.id).cmp(&(b.head.start, &b.id)));
        let places: HashMap<&str, usize> =
            spans.iter().enumerate().map(|(place, span)| (&*span.id, place)).collect();
        let parent_of = |place: usize| {
            spans[place]
                .head
                .parent
                .as_ref()
                .and_then(|id| places.get(&**id))
                .copied()
                .filter(|p| *p != place)
        };
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
        for place in 0..spans.len() {
            if let Some(parent) = parent_of(place) {
                below[parent].push(place);
            }
        }
        let mut tree = Self {
            totals: spans.iter().map(Sum::of).collect(),
            children: vec![Vec::new(); spans.len()],
            roots: Vec::new(),
            spans: Vec::new(),
        };
        let (mut seen, mut order) = (vec![false; spans.len()], Vec::with_capacity(spans.len()));
        let tops = (0..spans.len()).filter(|place| parent_of(*place).is_none());
        // Whatever these do not reach goes round in a circle.
        for root in tops.chain(0..spans.len()) {
            if seen[root] {
                continue;
            }
            tree.roots.push(root);
            let mut to_visit = vec![(root, None)];
            while let Some((place, parent)) = to_visit.pop() {
                if std::mem::replace(&mut seen[place], true) {
                    continue;
                }
                if let Some(parent) = parent {
                    let siblings: &mut Vec<usize> = &mut tree.children[parent];
                    siblings.push(place);
                }
                order.push((place, parent));
                to_visit.extend(below[place].iter().rev().map(|child| (*child, Some(place))));
            }
        }
        // Parents come before their children: from behind, each is whole when it is added.
        for (place, parent) in order.into_iter().rev() {
            if let Some(parent) = parent {
                let sum = tree.totals[place];
                tree.totals[parent].add(&sum);
            }
        }
        tree.spans = spans.into_iter().map(Some).collect();
        tree
    }

    fn whole(&self) -> TraceTotals {
        let mut roots = self.roots.iter().map(|place| self.totals[*place]);
        let Some(mut sum) = roots.next() else { return TraceTotals::default() };
        roots.for_each(|root| sum.add(&root));
        sum.finish()
    }

    fn span(&self, place: usize) -> Option<&Span> {
        self.spans[place].as_ref()
    }

    fn take(&mut self, place: usize) -> Option<SpanSide> {
        let span = self.spans[place].take()?;
        Some(SpanSide {
            duration_micros: span.head.duration_micros(),
            total: self.totals[place].finish(),
            span,
        })
    }
}

/// The roots of two traces that have one each, if they are of one kind.
fn only_roots(a: &Tree, b: &Tree) -> Option<(usize, usize)> {
    let (&[one], &[other]) = (&a.roots[..], &b.roots[..]) else { return None };
    (a.span(one)?.head.kind == b.span(other)?.head.kind).then_some((one, other))
}

/// Lays siblings of two trees beside each other, in the order of both.
fn lay(a: &Tree, of_a: &[usize], b: &Tree, of_b: &[usize], depth: usize) -> Vec<Item> {
    let only_a = |place: usize| Item { a: Some(place), b: None, depth };
    let only_b = |place: usize| Item { a: None, b: Some(place), depth };
    if of_a.is_empty() || of_b.is_empty() {
        return of_a.iter().map(|at| only_a(*at)).chain(of_b.iter().map(|at| only_b(*at))).collect();
    }
    let ids: HashMap<&str, &Span> = of_b.iter().filter_map(|at| b.span(*at)).map(|s| (&*s.id, s)).collect();
    let own_in_both = |one: &Span| {
        let is_same = |other: &&Span| {
            let (x, y) = (&one.head, &other.head);
            x.kind == y.kind && x.name == y.name && x.start == y.start
        };
        ids.get(&*one.id).copied().filter(is_same).is_some()
    };
    let both: HashSet<&str> =
        of_a.iter().filter_map(|at| a.span(*at)).filter(|s| own_in_both(s)).map(|s| &*s.id).collect();
    // The same span on both sides is in a class of its own; others are in that of their kind and name.
    let mut classes: HashMap<(&SpanKind, &str, &str), usize> = HashMap::new();
    let mut all: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
    for (side, (tree, places)) in [(a, of_a), (b, of_b)].into_iter().enumerate() {
        for span in places.iter().filter_map(|at| tree.span(*at)) {
            let own = both.get(&*span.id).copied().unwrap_or_default();
            let next = classes.len();
            let class = classes.entry((&span.head.kind, &*span.head.name, own)).or_insert(next);
            all[side].push(*class);
        }
    }
    let mut items: Vec<Item> = Vec::with_capacity(of_a.len().max(of_b.len()));
    for op in capture_diff_slices(Algorithm::Myers, &all[0], &all[1]) {
        let (tag, in_a, in_b) = op.as_tag_tuple();
        if tag == DiffTag::Equal {
            items.extend(in_a.zip(in_b).map(|(x, y)| Item { a: Some(of_a[x]), b: Some(of_b[y]), depth }));
        } else {
            items.extend(in_a.map(|x| only_a(of_a[x])));
            items.extend(in_b.map(|y| only_b(of_b[y])));
        }
    }
    items
}

/// Where two spans that correspond differ. Ids and times are no difference; that only one has ended is.
fn parts(a: &Span, b: &Span) -> Vec<ValueDiff> {
    let text = |text: &Option<Arc<str>>| text.as_ref().map(|text| Value::String(text.clone()));
    let count = |count: Option<u64>| count.map(|count| i64::try_from(count).unwrap_or(i64::MAX).into());
    let some = |value: &Value| (*value != Value::Null).then(|| value.clone());
    let fields = |span: &Span, other: &Span| -> [(&str, Option<Value>); 12] {
        let head = &span.head;
        let is_ended_alone = head.end.is_some() && other.head.end.is_none();
        let tags = || Value::from(head.tags.iter().map(|tag| Value::String(tag.clone())).collect::<Vec<_>>());
        [
            ("name", Some(Value::String(head.name.clone()))),
            ("status", Some(Value::from(head.status.as_str()))),
            ("message", text(&head.message)),
            ("ended", is_ended_alone.then_some(Value::from(true))),
            ("model", text(&head.model)),
            ("input_tokens", count(head.input_tokens)),
            ("output_tokens", count(head.output_tokens)),
            ("cost_usd", head.cost_usd.map(Value::from)),
            ("tags", (!head.tags.is_empty()).then(tags)),
            ("input", some(&span.input)),
            ("output", some(&span.output)),
            ("attributes", (!span.attributes.is_empty()).then(|| Value::Object(span.attributes.clone()))),
        ]
    };
    let mut found = Vec::new();
    for ((name, one), (_, other)) in fields(a, b).into_iter().zip(fields(b, a)) {
        walk(&mut format!(".{name}"), one.as_ref(), other.as_ref(), &mut found);
    }
    found
}
