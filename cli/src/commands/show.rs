//! `show`: one run on one page.

use std::process::ExitCode;

use in_mem::{KeyBytes, Run, RunInfo, Span, SpanStatus, SpanTree, Value};
use serde_json::json;

use super::{
    Failure, find, open, print,
    runs::{indented, inner, status_word, took},
    store,
};
use crate::{
    args::{Common, ShowArgs},
    render::{Align, Screen, SpanNode, Table, Tone, human, span_tree, text},
};

/// Lines of each part that are shown without `--all`.
const MAX_LINES: usize = 25;
/// Characters of a value that are looked at for its preview.
const MAX_PREVIEW_CHARS: usize = 200;

/// All that is shown of a run.
struct Page {
    info: RunInfo,
    chain: in_mem::ChainHead,
    trace: SpanTree,
    state: Vec<(KeyBytes, Value)>,
    kv: Vec<(KeyBytes, Value)>,
}

impl Page {
    fn of(run: &Run) -> Result<Page, Failure> {
        let state = run.state().list("")?.into_iter().map(|(key, cell)| (key, cell.value)).collect();
        let (trace, kv) = (run.traces().tree()?, run.kv().list("")?);
        Ok(Page { info: run.info()?, chain: run.events().head()?, trace, state, kv })
    }

    fn json(&self) -> serde_json::Value {
        let pairs = |pairs: &[(KeyBytes, Value)]| -> Vec<serde_json::Value> {
            pairs.iter().map(|(key, value)| json!({"key": key_text(key), "value": value})).collect()
        };
        let mut page = json!(self.info);
        page["event_chain"] = json!({"len": self.chain.len, "hash": hex(&self.chain.hash)});
        page["spans"] = self.trace.nodes.iter().map(|node| json!(node.span)).collect();
        page["cells"] = pairs(&self.state).into();
        page["pairs"] = pairs(&self.kv).into();
        page
    }

    fn text(&self, all: bool, screen: &Screen) -> String {
        let limit = if all { usize::MAX } else { MAX_LINES };
        let mut out = head(&self.info, &self.chain, screen);
        if !self.trace.nodes.is_empty() {
            out.push('\n');
            out.push_str(&screen.paint(Tone::Heading, "Trace"));
            out.push('\n');
            let nodes = &self.trace.nodes[..self.trace.nodes.len().min(limit)];
            let untimed = store::is_imported(&self.info) && !times_kept(&self.trace);
            let nodes: Vec<SpanNode> = nodes.iter().map(|node| span_node(&node.span, untimed)).collect();
            out.push_str(&indented(&span_tree(&nodes, &inner(screen))));
            and_more(self.trace.nodes.len().saturating_sub(limit), &mut out, screen);
        }
        let parts = [
            ("Metadata", metadata(&self.info)),
            ("State cells", self.state.clone()),
            ("Key-value pairs", self.kv.clone()),
        ];
        for (title, pairs) in parts {
            if pairs.is_empty() {
                continue;
            }
            out.push('\n');
            out.push_str(&screen.paint(Tone::Heading, title));
            out.push('\n');
            out.push_str(&indented(&pair_lines(&pairs[..pairs.len().min(limit)], &inner(screen))));
            and_more(pairs.len().saturating_sub(limit), &mut out, screen);
        }
        out
    }
}

pub(super) fn show(args: &ShowArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let page = Page::of(&find::run(&db, &args.run)?)?;
    print(common, || page.json(), |screen| page.text(args.all, screen))?;
    Ok(ExitCode::SUCCESS)
}

fn and_more(more: usize, out: &mut String, screen: &Screen) {
    if more > 0 {
        let words = format!("  and {} more; --all shows them", human::count(more as u64));
        out.push_str(&screen.paint(Tone::Quiet, &words));
        out.push('\n');
    }
}

fn head(info: &RunInfo, chain: &in_mem::ChainHead, screen: &Screen) -> String {
    let meta = &info.meta;
    let status = status_word(info);
    let mut out = screen.paint(Tone::Heading, &text::one_line(&meta.name));
    out.push('\n');
    let mut line = |name: &str, value: String| {
        out.push_str(&screen.paint(Tone::Quiet, &format!("  {name:<10}")));
        out.push_str(&value);
        out.push('\n');
    };
    line("run", screen.paint(Tone::Name, &info.id.to_string()));
    let mut how = screen.paint(Tone::of_status(status), status);
    if let Some(why) = &meta.error {
        how.push_str(": ");
        how.push_str(&text::one_line(why));
    }
    line("status", how);
    let mut times = format!("{} UTC", human::time(meta.created.0));
    if let Some(took) = took(info) {
        times.push_str(&format!(", took {}", human::duration(took)));
    }
    line("created", times);
    if !meta.tags.is_empty() {
        line("tags", text::one_line(&meta.tags.join("  ")));
    }
    if meta.namespace != in_mem::Namespace::default() {
        line("namespace", text::one_line(&meta.namespace.to_string()));
    }
    if let Some(parent) = meta.parent {
        line("parent", parent.to_string());
    }
    if info.children > 0 {
        line("children", human::count(info.children));
    }
    if let Some(fork) = meta.forked_from {
        line("fork of", format!("{} at version {}", fork.run, fork.version.0));
    }
    let holds = [(info.events, "event"), (info.traces, "span"), (info.state, "cell"), (info.kv, "key")];
    let holds: Vec<String> = holds
        .iter()
        .filter(|(u, _)| u.entries > 0)
        .map(|(u, noun)| human::counted(u.entries, noun))
        .collect();
    let bytes = [info.events, info.traces, info.state, info.kv].iter().map(|u| u.bytes).sum();
    line(
        "holds",
        match holds.is_empty() {
            true if meta.forked_from.is_some() => "nothing of its own yet".to_owned(),
            true => "nothing yet".to_owned(),
            false => {
                // What it shares is counted where it was written.
                let own = if meta.forked_from.is_some() { " of its own" } else { "" };
                format!("{}{own}; {}", holds.join(", "), human::bytes(bytes))
            }
        },
    );
    if chain.len > 0 {
        line("chain", format!("{}…", &hex(&chain.hash)[..16]));
    }
    out
}

/// Whether the source of an imported run had any times: else every span has the time of the import, which says nothing.
fn times_kept(trace: &SpanTree) -> bool {
    trace.nodes.iter().any(|node| {
        let head = &node.span.head;
        head.end != Some(head.start)
    })
}

fn span_node(span: &Span, untimed: bool) -> SpanNode {
    let head = &span.head;
    let mut details: Vec<String> = Vec::new();
    details.extend(head.message.as_deref().map(str::to_owned));
    details.extend(head.model.as_deref().filter(|model| **model != *head.name).map(str::to_owned));
    if let (Some(input), Some(output)) = (head.input_tokens, head.output_tokens) {
        details.push(format!("{} → {} tokens", human::count(input), human::count(output)));
    }
    details.extend(head.cost_usd.filter(|cost| *cost > 0.0).map(human::usd));
    let took = head.end.map(|end| end.0 - head.start.0);
    SpanNode {
        id: span.id.to_string(),
        parent: head.parent.as_deref().map(str::to_owned),
        kind: head.kind.as_str().to_owned(),
        name: head.name.to_string(),
        status: match head.end {
            None => "running".to_owned(),
            Some(_) if head.status == SpanStatus::Unset => String::new(),
            Some(_) => head.status.as_str().to_owned(),
        },
        start: Some(head.start.0),
        duration: took.filter(|_| !untimed),
        detail: details.join(", "),
    }
}

fn metadata(info: &RunInfo) -> Vec<(KeyBytes, Value)> {
    match &info.meta.metadata {
        Value::Null => Vec::new(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (KeyBytes::from(key), value.clone())).collect()
        }
        other => vec![(KeyBytes::from(""), other.clone())],
    }
}

fn pair_lines(pairs: &[(KeyBytes, Value)], screen: &Screen) -> String {
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    for (key, value) in pairs {
        let shown = match value {
            Value::String(words) => text::preview(&json!(**words)),
            Value::Bytes(bytes) => format!("{} of bytes", human::bytes(bytes.len() as u64)),
            other => text::preview(&other.to_json()),
        };
        // Into a pipe nothing is cut by the table, and a page is for reading: `get` gives the whole value.
        let shown = text::fit(&shown, MAX_PREVIEW_CHARS);
        table.row([(Tone::Name, key_text(key)), (Tone::Plain, shown)]);
    }
    // The table has no headings here.
    table.render(screen).lines().skip(1).map(|line| format!("{line}\n")).collect()
}

/// A key as text; bytes that are none are shown as such.
fn key_text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
