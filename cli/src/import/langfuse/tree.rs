//! Putting spans in order: a parent before its children, siblings by time.

use std::collections::{HashMap, HashSet};

use super::super::run::ImportedSpan;

/// Orders the spans and mends the tree: an id used twice gets a number, a parent that is not there or is one's own
/// descendant is let go. Each mend is a warning, and the stated parent stays in the span's attributes.
pub(super) fn arrange(mut spans: Vec<ImportedSpan>, warnings: &mut Vec<String>) -> Vec<ImportedSpan> {
    rename_doubles(&mut spans, warnings);
    let at: HashMap<String, usize> = spans.iter().enumerate().map(|(i, s)| (s.id.clone(), i)).collect();
    for span in &mut spans {
        if let Some(parent) = span.parent.take_if(|p| !at.contains_key(p.as_str())) {
            warnings
                .push(format!("span {} names the parent {parent}, which the trace does not have", span.id));
            span.attributes.insert("parentObservationId".to_owned(), parent.into());
        }
    }
    break_cycles(&mut spans, &at, warnings);

    let mut children: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for (index, span) in spans.iter().enumerate() {
        children.entry(span.parent.as_ref().map(|p| at[p])).or_default().push(index);
    }
    // A span without a start goes after its siblings; the source's order decides between equals.
    for siblings in children.values_mut() {
        siblings.sort_by_key(|i| (spans[*i].start.unwrap_or(i64::MAX), *i));
    }
    let mut order = Vec::with_capacity(spans.len());
    let mut stack: Vec<usize> = children.remove(&None).unwrap_or_default();
    stack.reverse();
    while let Some(index) = stack.pop() {
        order.push(index);
        stack.extend(children.remove(&Some(index)).unwrap_or_default().into_iter().rev());
    }
    debug_assert_eq!(order.len(), spans.len(), "every span is reached from the top once cycles are broken");

    let mut slots: Vec<Option<ImportedSpan>> = spans.into_iter().map(Some).collect();
    order.into_iter().filter_map(|i| slots[i].take()).collect()
}

fn rename_doubles(spans: &mut [ImportedSpan], warnings: &mut Vec<String>) {
    let mut taken = HashSet::new();
    for span in spans {
        if !taken.insert(span.id.clone()) {
            let free =
                (2..).map(|n| format!("{}#{n}", span.id)).find(|id| !taken.contains(id)).unwrap_or_default();
            warnings.push(format!("the span id {} is used twice; the later one is now {free}", span.id));
            span.id = free.clone();
            taken.insert(free);
        }
    }
}

fn break_cycles(spans: &mut [ImportedSpan], at: &HashMap<String, usize>, warnings: &mut Vec<String>) {
    // 0: not seen, 1: on the way up from the span at hand, 2: known to lead to the top.
    let mut mark = vec![0u8; spans.len()];
    for start in 0..spans.len() {
        let mut way = Vec::new();
        let mut here = start;
        while mark[here] == 0 {
            mark[here] = 1;
            way.push(here);
            let Some(parent) = &spans[here].parent else { break };
            let parent_index = at[parent];
            if mark[parent_index] == 1 {
                let parent = spans[here].parent.take().unwrap_or_default();
                warnings.push(format!(
                    "span {} is its own ancestor by way of {parent}; it is now at the top",
                    spans[here].id
                ));
                spans[here].attributes.insert("parentObservationId".to_owned(), parent.into());
                break;
            }
            here = parent_index;
        }
        for index in way {
            mark[index] = 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::run::SpanKind, *};

    fn span(id: &str, parent: Option<&str>, start: Option<i64>) -> ImportedSpan {
        let mut span = ImportedSpan::new(id.to_owned(), parent, SpanKind::Agent, id);
        span.start = start;
        span
    }

    fn ids(spans: &[ImportedSpan]) -> Vec<&str> {
        spans.iter().map(|s| s.id.as_str()).collect()
    }

    #[test]
    fn parents_come_first_and_siblings_by_time() {
        let mut warnings = Vec::new();
        let spans = vec![
            span("late", Some("top"), Some(9)),
            span("leaf", Some("early"), Some(3)),
            span("timeless", Some("top"), None),
            span("early", Some("top"), Some(2)),
            span("top", None, Some(1)),
        ];
        assert_eq!(ids(&arrange(spans, &mut warnings)), ["top", "early", "leaf", "late", "timeless"]);
        assert!(warnings.is_empty());
    }

    #[test]
    fn no_span_is_lost_to_a_bad_parent_a_cycle_or_a_double_id() {
        let mut warnings = Vec::new();
        let spans = vec![
            span("a", Some("b"), Some(1)),
            span("b", Some("c"), Some(2)),
            span("c", Some("a"), Some(3)),
            span("self", Some("self"), Some(4)),
            span("orphan", Some("nobody"), Some(5)),
            span("twin", None, Some(6)),
            span("twin", None, Some(7)),
        ];
        let spans = arrange(spans, &mut warnings);
        let mut all = ids(&spans);
        all.sort_unstable();
        assert_eq!(all, ["a", "b", "c", "orphan", "self", "twin", "twin#2"]);
        assert_eq!(warnings.len(), 4);
        for (index, span) in spans.iter().enumerate() {
            if let Some(parent) = &span.parent {
                assert!(
                    spans[..index].iter().any(|s| s.id == *parent),
                    "{} comes before its parent",
                    span.id
                );
            }
        }
        let orphan = spans.iter().find(|s| s.id == "orphan").unwrap();
        assert_eq!(orphan.attributes["parentObservationId"], "nobody");
    }
}
