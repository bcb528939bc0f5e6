//! The command line: what can be typed, and the help that teaches it.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use in_mem::{RunId, RunStatus, Timestamp};

use crate::{
    import::Format,
    point::{POINT_HELP, PointArg},
    render::ColorChoice,
};

/// The database's directory where none is named.
pub const DEFAULT_DB: &str = "./in-mem-data";

/// An embedded in-memory database for AI agents: what a run did is the data itself.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "in-mem",
    version,
    about,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "First steps:\n  \
                  in-mem demo                                   see an agent work, be killed, and go on\n  \
                  in-mem import tau-bench results.json          bring in runs that were recorded elsewhere\n  \
                  in-mem runs --status failed                   which runs failed?\n  \
                  in-mem show RUN                               what happened in one of them?\n\n\
                  RUN is a run's id, or enough of its beginning to be the only one."
)]
pub struct Cli {
    /// What is asked of every command.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The database's directory [default: ./in-mem-data].
    #[arg(long, global = true, env = "IN_MEM_DB", value_name = "PATH")]
    pub db: Option<PathBuf>,
    /// When a write counts as done.
    #[arg(long, global = true, env = "IN_MEM_DURABILITY", value_enum, default_value_t, value_name = "MODE")]
    pub durability: DurabilityArg,
    /// Print JSON, one object on each line, for other programs.
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorChoice,
}

impl Common {
    /// The database's directory: the one that was named, or [`DEFAULT_DB`].
    pub fn db_path(&self) -> &Path {
        self.db.as_deref().unwrap_or(Path::new(DEFAULT_DB))
    }
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DurabilityArg {
    /// When it is in the log: a killed process loses nothing, a power cut at most 100 ms.
    #[default]
    Buffered,
    /// When it is on the disk: a power cut loses nothing either.
    Strict,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Bring in runs recorded by other tools.
    ///
    /// Each run in the files becomes a run here: its messages and tool calls as events, its calls as a trace, its end as
    /// status, tags and state. Times are kept. A run that is there already is passed over, so importing twice does no harm;
    /// a broken file is named with the place of the fault, and the others go in. A bundle comes in whole or not at all: where
    /// one of its runs is there already it is refused, unless --new-ids is given.
    #[command(after_help = formats_and_examples())]
    Import(ImportArgs),
    /// Watch an agent work, be killed half-way, and go on from what was recorded.
    ///
    /// A small agent explores the source tree it stands in and keeps what it finds in a database. It runs in a process of
    /// its own, which is killed with SIGKILL; then the database is opened again, what is there is held against what had been
    /// acknowledged, and the agent goes on to the end. Needs no network and no key. The database lies in a temporary directory
    /// that is removed at the end, unless --db names one to keep.
    #[command(after_help = "Examples:\n  in-mem demo\n  in-mem demo --tree ~/src/project\n  \
                            in-mem demo --db ./kept\n\n\
                            Exits with 1 if anything that was acknowledged is missing.")]
    Demo(DemoArgs),
    /// List runs.
    #[command(after_help = "Examples:\n  in-mem runs\n  in-mem runs --status failed --tag task:07\n  \
                            in-mem runs --json | jq -r .name")]
    Runs(RunsArgs),
    /// Show one run: how it ended, its trace, its state.
    #[command(
        after_help = "Examples:\n  in-mem show 0198c2\n  in-mem show 0198c2 --all\n  in-mem show 0198c2 --json"
    )]
    Show(ShowArgs),
    /// Print a value of a run's key-value store.
    #[command(
        after_help = "Examples:\n  in-mem get 0198c2 answer/overview\n  in-mem get 0198c2 reward --json\n\n\
                            Exits with 1 if there is no such key."
    )]
    Get(GetArgs),
    /// Store a value in a run's key-value store.
    #[command(
        after_help = "Examples:\n  in-mem put 0198c2 reviewed true\n  in-mem put 0198c2 note '{\"by\": \"ann\"}'\n  \
                            in-mem put 0198c2 zip --text 01234\n\n\
                            VALUE is JSON where it can be read as JSON, and text where not."
    )]
    Put(PutArgs),
    /// Print a run's events in order.
    #[command(
        after_help = "Examples:\n  in-mem events 0198c2\n  in-mem events 0198c2 --kind tool.call --limit 20\n  \
                            in-mem events 0198c2 --json | jq .payload"
    )]
    Events(EventsArgs),
    /// List a run's commits, the newest first, each with what it changed.
    #[command(after_help = "Examples:\n  in-mem log 0198c2\n  in-mem log 0198c2 --limit 3 --all\n  \
                            in-mem log 0198c2 --json | jq .version")]
    Log(LogArgs),
    /// Go through a run again from its beginning, commit by commit, out of the log alone.
    #[command(after_help = format!("{POINT_HELP}\n\nExamples:\n  in-mem replay 0198c2\n  in-mem replay 0198c2 --at event:12\n  \
                            in-mem replay 0198c2 --at 17 --json"))]
    Replay(ReplayArgs),
    /// Show what a run was, and knew, at a point of its past.
    #[command(after_help = format!("{POINT_HELP}\n\nExamples:\n  in-mem at 0198c2 17\n  in-mem at 0198c2 span:call-3\n  \
                            in-mem at 0198c2 2025-08-01T13:22:00Z --json"))]
    At(AtArgs),
    /// Make a run that begins as another is, or was at a point of its past.
    ///
    /// What is written to it never touches the other.
    #[command(after_help = format!("{POINT_HELP}\n\nExamples:\n  in-mem fork 0198c2\n  \
                            in-mem fork 0198c2 --at event:12 --name 'by boat' --tag retry"))]
    Fork(ForkArgs),
    /// Show how two runs differ, or two points of one, and where they first went different ways.
    #[command(after_help = format!("A and B are each a RUN, or RUN@POINT. {POINT_HELP}\n\nExamples:\n  in-mem diff 0198c2 0198c3\n  \
                            in-mem diff 0198c2@17 0198c2\n  in-mem diff 0198c2 0198c3 --json | jq .divergence"))]
    Diff(DiffArgs),
    /// Hold a run against its log: replay it, and compare every key and the digests.
    #[command(after_help = "Examples:\n  in-mem verify 0198c2\n  in-mem verify 0198c2 --json\n\n\
                            Exits with 1 if the run is not what its log says.")]
    Verify(VerifyArgs),
    /// Write a run with its whole history, its children and its forks into one file.
    #[command(
        after_help = "Examples:\n  in-mem export 0198c2 run.bundle\n  in-mem export 0198c2 run.bundle --force\n\n\
                            `in-mem import bundle FILE` takes it in, here or elsewhere."
    )]
    Export(ExportArgs),
    /// Take away ended runs, by age, by number or by bytes.
    ///
    /// A run goes when any of the limits says so. Runs that have not ended stay, and forks keep what they share.
    #[command(after_help = "Examples:\n  in-mem prune --older-than 30d --dry-run\n  \
                            in-mem prune --keep-newest 1000 --status completed\n  \
                            in-mem prune --keep-bytes 1000000000 --json")]
    Prune(PruneArgs),
    /// Show what the database holds and how it is doing.
    #[command(after_help = "Examples:\n  in-mem stats\n  in-mem stats --kinds\n  \
                            in-mem stats --db /var/lib/agent/db --json")]
    Stats(StatsArgs),
    /// Read every byte of a database that nobody has open, and say whether it is sound.
    #[command(after_help = "Examples:\n  in-mem check\n  in-mem check --db ./copy --json\n\n\
                            Changes nothing. Exits with 1 if anything that counts cannot be read.")]
    Check,
    /// Save what can be read of a damaged database into a new one.
    #[command(after_help = "Examples:\n  in-mem salvage ./in-mem-data ./saved\n\n\
                            FROM stays as it is. Runs are saved as they are, without their past.\n\
                            What is lost is listed. Exits with 3 if anything is lost.")]
    Salvage(SalvageArgs),
    /// Copy the database, as it is at one moment, into a new one.
    #[command(
        after_help = "Examples:\n  in-mem backup ./copy\n  in-mem backup ./copy --db /var/lib/agent/db\n\n\
                            The copy is a database of its own: open it, or check it, with --db."
    )]
    Backup(BackupArgs),
    /// The demo's agent, in the process that is killed.
    #[command(
        hide = true,
        after_help = "Example:\n  in-mem demo-agent --tree . --run 01890a5d-ac96-774b-bcce-b302099a8057"
    )]
    DemoAgent(DemoAgentArgs),
}

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatArg {
    /// Runs that another tool recorded.
    Traces(Format),
    /// What `export` wrote.
    Bundle,
}

/// One line about bundles, for help.
const BUNDLE_ABOUT: &str = "a run with its whole history, written by `in-mem export`";

impl ValueEnum for FormatArg {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            FormatArg::Traces(Format::TauBench),
            FormatArg::Traces(Format::SweAgent),
            FormatArg::Traces(Format::Langfuse),
            FormatArg::Bundle,
        ]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let (name, about) = match self {
            FormatArg::Traces(format) => (format.name(), format.about()),
            FormatArg::Bundle => ("bundle", BUNDLE_ABOUT),
        };
        Some(clap::builder::PossibleValue::new(name).help(about))
    }
}

/// `import`
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// What recorded the runs.
    #[arg(value_enum)]
    pub format: FormatArg,
    /// The files.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Read the files and say what would go in, without a database.
    #[arg(long)]
    pub dry_run: bool,
    /// Give the runs of a bundle new ids, so that it can come in beside what it was made from.
    #[arg(long)]
    pub new_ids: bool,
}

/// `demo`
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// The source tree to explore.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub tree: PathBuf,
}

/// `runs`
#[derive(Clone, Debug, Args)]
pub struct RunsArgs {
    /// Only runs of this status: created, running, paused, completed, failed, cancelled or archived.
    #[arg(long)]
    pub status: Option<RunStatus>,
    /// Only runs with this tag; given more than once, with all of them.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Only runs whose name begins like this.
    #[arg(long, value_name = "PREFIX")]
    pub name: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_name = "RUNS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
}

/// `show`
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// The run's id, or enough of its beginning.
    pub run: String,
    /// Show every span, cell and key, however many there are.
    #[arg(long)]
    pub all: bool,
}

/// `get`
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// The run's id, or enough of its beginning.
    pub run: String,
    /// The key.
    pub key: String,
}

/// `put`
#[derive(Clone, Debug, Args)]
pub struct PutArgs {
    /// The run's id, or enough of its beginning.
    pub run: String,
    /// The key.
    pub key: String,
    /// The value.
    #[arg(allow_hyphen_values = true)]
    pub value: String,
    /// Take the value as text even where it could be read as JSON.
    #[arg(long)]
    pub text: bool,
}

impl PutArgs {
    /// The value to store.
    ///
    /// # Errors
    /// An integer in it that no number here holds: as a float, it would lose digits.
    pub fn json_value(&self) -> Result<serde_json::Value, String> {
        let text = || serde_json::Value::String(self.value.clone());
        if self.text {
            return Ok(text());
        }
        match serde_json::from_str(&self.value) {
            Ok(json) => match too_large_integer(&self.value) {
                Some(digits) => Err(format!(
                    "the integer {digits} is too large to be kept with all its digits; write it as text: --text, or in \
                     quotation marks inside JSON"
                )),
                None => Ok(json),
            },
            Err(_) => Ok(text()),
        }
    }
}

/// The first integer of a JSON text that fits neither 64 signed nor 64 unsigned bits.
fn too_large_integer(json: &str) -> Option<&str> {
    let mut rest = json;
    while let Some(start) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = &rest[start..];
        if rest.starts_with('"') {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            rest = &rest[end? + 2..];
            continue;
        }
        let end =
            rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let is_integer = !number.contains(['.', 'e', 'E']);
        if is_integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
            return Some(number);
        }
        rest = behind;
    }
    None
}

/// `events`
#[derive(Clone, Debug, Args)]
pub struct EventsArgs {
    /// The run's id, or enough of its beginning.
    pub run: String,
    /// Only events of this type, for example tool.call.
    #[arg(long)]
    pub kind: Option<String>,
    /// From this number on.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub from: u64,
    /// At most so many.
    #[arg(long, default_value_t = 200, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
}

/// `log`
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// The run's id, or enough of its beginning.
    pub run: String,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_name = "COMMITS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// Show every change of a commit, however many there are.
    #[arg(long)]
    pub all: bool,
}

/// `replay`
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The run's id, or enough of its beginning.
    pub run: String,
    /// Up to this point.
    #[arg(long, default_value = "now", value_name = "POINT")]
    pub at: PointArg,
    /// Show every change of a commit, however many there are.
    #[arg(long)]
    pub all: bool,
}

/// `at`
#[derive(Clone, Debug, Args)]
pub struct AtArgs {
    /// The run's id, or enough of its beginning.
    pub run: String,
    /// When: a version, event:NUMBER, span:ID, a time, or now.
    pub point: PointArg,
    /// Show every event, cell and key, however many there are.
    #[arg(long)]
    pub all: bool,
}

/// `fork`
#[derive(Clone, Debug, Args)]
pub struct ForkArgs {
    /// The run's id, or enough of its beginning.
    pub run: String,
    /// From this point of its past.
    #[arg(long, default_value = "now", value_name = "POINT")]
    pub at: PointArg,
    /// The fork's name [default: the run's].
    #[arg(long)]
    pub name: Option<String>,
    /// A tag for the fork; may be given more than once.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
}

/// `diff`
#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// The first: a run's id, or enough of its beginning, and where wanted @POINT.
    pub a: String,
    /// The second.
    pub b: String,
    /// Show every key and every part of a value, however many there are.
    #[arg(long)]
    pub all: bool,
}

/// `verify`
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The run's id, or enough of its beginning.
    pub run: String,
}

/// `export`
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The run's id, or enough of its beginning.
    pub run: String,
    /// The file to write.
    pub file: PathBuf,
    /// Write over a file that is there already.
    #[arg(long)]
    pub force: bool,
}

/// `prune`
#[derive(Clone, Debug, Args)]
pub struct PruneArgs {
    /// Only say what would go, and how many bytes it holds.
    #[arg(long)]
    pub dry_run: bool,
    /// Take away what ended longer ago than this: 30d, 12h, 2w 3d.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Option<AgeArg>,
    /// Take away what ended before this time.
    #[arg(long, value_name = "TIME")]
    pub ended_before: Option<Timestamp>,
    /// Keep this many, those that ended last.
    #[arg(long, value_name = "RUNS")]
    pub keep_newest: Option<u64>,
    /// Keep those that ended last, as long as they come to no more than so many bytes.
    #[arg(long, value_name = "BYTES")]
    pub keep_bytes: Option<u64>,
    /// Only runs that ended so: completed, failed or cancelled; may be given more than once.
    #[arg(long)]
    pub status: Vec<RunStatus>,
    /// Only this tenant's runs.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only this app's runs.
    #[arg(long)]
    pub app: Option<String>,
    /// Only this agent's runs.
    #[arg(long)]
    pub agent: Option<String>,
    /// Erase only the past of the runs, and leave them as they are.
    #[arg(long)]
    pub history_only: bool,
}

/// A length of time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeArg(pub i64);

fn age(text: &str) -> Result<AgeArg, String> {
    let span: jiff::Span = text.parse().map_err(|_| "an age is written like 30d, 12h or 2w 3d".to_owned())?;
    let long = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
    let micros =
        long.ok().and_then(|long| i64::try_from(long.as_micros()).ok()).filter(|micros| *micros >= 0);
    micros.map(AgeArg).ok_or_else(|| {
        "an age is counted in weeks, days, hours, minutes or seconds, and not below 0".to_owned()
    })
}

/// `stats`
#[derive(Clone, Debug, Args)]
pub struct StatsArgs {
    /// Count the events by their type, too; this reads all of them.
    #[arg(long)]
    pub kinds: bool,
}

/// `salvage`
#[derive(Clone, Debug, Args)]
pub struct SalvageArgs {
    /// The damaged database's directory.
    pub from: PathBuf,
    /// The new one's: empty, or not there yet.
    pub to: PathBuf,
}

/// `backup`
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// The copy's directory: empty, or not there yet.
    pub to: PathBuf,
}

/// `demo-agent`
#[derive(Clone, Debug, Args)]
pub struct DemoAgentArgs {
    /// The source tree to explore.
    #[arg(long)]
    pub tree: PathBuf,
    /// The run to record the work in; begun where it is not there yet.
    #[arg(long)]
    pub run: RunId,
}

fn formats_and_examples() -> String {
    let mut help = "Formats:\n".to_owned();
    for format in Format::ALL {
        help.push_str(&format!("  {:<10} {}\n", format.name(), format.about()));
    }
    help.push_str(&format!("  {:<10} {BUNDLE_ABOUT}\n", "bundle"));
    help.push_str(
        "\nExamples:\n  in-mem import tau-bench gpt-4o-airline.json\n  in-mem import swe-agent trajectories/*.traj\n  \
         in-mem import langfuse trace.json --dry-run\n  in-mem import bundle run.bundle --new-ids\n\n\
         Exits with 1 if a file or a run in one could not be read; everything else is in.",
    );
    help
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_that_parses() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                help.lines().map(str::trim).filter(|l| l.starts_with("in-mem ")).collect();
            assert!(!examples.is_empty(), "{} has no example", command.get_name());
            for example in examples {
                let typed = example.split('|').next().unwrap_or_default().trim();
                // As a shell would split it, as far as the examples go: single quotes hold a word together.
                let mut words = Vec::new();
                for (index, part) in typed.split('\'').enumerate() {
                    match index % 2 {
                        0 => words.extend(part.split_whitespace().map(str::to_owned)),
                        _ => words.push(part.to_owned()),
                    }
                }
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{example}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_value_is_json_where_it_can_be() {
        let value = |args: &[&str]| match Cli::try_parse_from([&["in-mem", "put", "r", "k"], args].concat()) {
            Ok(Cli { command: Command::Put(put), .. }) => put.json_value().expect("can be stored"),
            other => panic!("{other:?}"),
        };
        assert_eq!(value(&["12"]), serde_json::json!(12));
        assert_eq!(value(&["-12"]), serde_json::json!(-12));
        assert_eq!(value(&["{\"a\":1}"]), serde_json::json!({"a": 1}));
        assert_eq!(value(&["hello"]), serde_json::json!("hello"));
        assert_eq!(value(&["--text", "01234"]), serde_json::json!("01234"));
        assert_eq!(value(&["18446744073709551615"]), serde_json::json!(u64::MAX));
        assert_eq!(value(&["-9223372036854775808"]), serde_json::json!(i64::MIN));
        assert_eq!(value(&["123456789012345678901234567890e0"]), serde_json::json!(1.2345678901234568e29));
        let quoted = "{\"a\\\"1\": \"123456789012345678901234567890\", \"b\": [1.5e3, -2]}";
        assert!(value(&[quoted]).is_object());
        assert!(value(&["--text", "123456789012345678901234567890"]).is_string());
    }

    /// It was stored as a float, which has fewer digits, and nothing was said.
    #[test]
    fn an_integer_that_would_lose_digits_is_refused() {
        for (json, digits) in [
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("-9223372036854775809", "-9223372036854775809"),
            ("{\"a\": [\"\\\"9\", 18446744073709551616]}", "18446744073709551616"),
        ] {
            let (run, key) = ("r".to_owned(), "k".to_owned());
            let put = PutArgs { run, key, value: json.to_owned(), text: false };
            let said = put.json_value().expect_err("is told");
            assert!(said.contains(digits) && said.contains("--text"), "{said}");
        }
    }
}
