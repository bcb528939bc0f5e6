//! Spans as a tree.

use std::collections::HashMap;
use std::sync::Arc;

use in_mem_engine::Span;

/// A span at its place in a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanNode {
    /// The span.
    pub span: Span,
    /// How many spans it is a part of; 0: none, or none that is recorded.
    pub depth: usize,
    /// The place of its parent in [`SpanTree::nodes`].
    pub parent: Option<usize>,
    /// The places of its parts, the first begun first.
    pub children: Vec<usize>,
}

/// The spans of a run as a tree, or several. Flat, so that no depth of nesting is too deep: every span comes right before its
/// parts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpanTree {
    /// The spans, each followed by its parts.
    pub nodes: Vec<SpanNode>,
}

impl SpanTree {
    /// Puts spans together. One whose parent is not among them is a root; where parents go round in a circle, the first begun
    /// of the circle is.
    pub fn of(mut spans: Vec<Span>) -> Self {
        spans.sort_by(|a, b| (a.head.start, &a.id).cmp(&(b.head.start, &b.id)));
        let places: HashMap<Arc<str>, usize> =
            spans.iter().enumerate().map(|(place, span)| (span.id.clone(), place)).collect();
        let parents: Vec<Option<usize>> = spans
            .iter()
            .map(|span| span.head.parent.as_ref().and_then(|parent| places.get(parent)).copied())
            .collect();
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
        for (place, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent {
                children[*parent].push(place);
            }
        }
        let mut spans: Vec<Option<Span>> = spans.into_iter().map(Some).collect();
        let mut tree = Self { nodes: Vec::with_capacity(spans.len()) };
        let roots = (0..spans.len()).filter(|place| parents[*place].is_none());
        // Whatever the roots do not reach goes round in a circle.
        for root in roots.chain(0..parents.len()) {
            let mut to_visit = vec![(root, None)];
            while let Some((place, parent)) = to_visit.pop() {
                let Some(span) = spans[place].take() else { continue };
                let node = tree.nodes.len();
                let depth = match parent {
                    Some(parent) => {
                        let parent: &mut SpanNode = &mut tree.nodes[parent];
                        parent.children.push(node);
                        parent.depth + 1
                    }
                    None => 0,
                };
                tree.nodes.push(SpanNode { span, depth, parent, children: Vec::new() });
                to_visit.extend(children[place].iter().rev().map(|child| (*child, Some(node))));
            }
        }
        tree
    }

    /// The spans that are part of no other.
    pub fn roots(&self) -> impl Iterator<Item = &SpanNode> {
        self.nodes.iter().filter(|node| node.parent.is_none())
    }

    /// The node of this span.
    pub fn get(&self, id: &str) -> Option<&SpanNode> {
        self.nodes.iter().find(|node| &*node.span.id == id)
    }

    /// The parts of a node, the first begun first.
    pub fn children<'t>(&'t self, node: &'t SpanNode) -> impl Iterator<Item = &'t SpanNode> {
        node.children.iter().map(|place| &self.nodes[*place])
    }
}
