//! `gates`: performance, beside baselines in the same run.

use in_mem_benches::gates::GROUPS;
use in_mem_benches::{Scale, ablation};

use crate::Error;
use crate::report::{Figure, Report};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Tiny sizes: that everything runs and gives figures that make sense. Only what does not depend on time is judged.
    #[arg(long)]
    smoke: bool,
    /// Only gates whose name contains this; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The two ways to run a shard side by side, instead of the gates.
    #[arg(long)]
    ablation: bool,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Error> {
    let scale = if arguments.smoke { Scale::smoke() } else { Scale::full() };
    if arguments.ablation {
        report.add_all(ablation::run(&scale)?);
        return Ok(());
    }
    let is_wanted = |name: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|only| name.contains(only.as_str()))
    };
    // `put` names a group, `put.buffered` one of its gates, `p99` gates that any group may have.
    let may_have = |group: &str| {
        let narrowed = |only: &String| GROUPS.iter().any(|g| only.split(['.', '/']).next() == Some(g.name));
        is_wanted(group)
            || arguments
                .only
                .iter()
                .any(|only| !narrowed(only) || only.split(['.', '/']).next() == Some(group))
    };
    let mut found = false;
    for group in GROUPS.iter().filter(|group| may_have(group.name)) {
        match group.run(&scale) {
            Ok(figures) => {
                let figures = figures.into_iter().filter(|figure| is_wanted(&figure.name));
                report.add_all(figures.inspect(|_| found = true));
            }
            Err(error) => {
                found = true;
                report.add(Figure::check(format!("{}.measured", group.name), false).note(error.to_string()));
            }
        }
    }
    if !found {
        let names: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
        return Err(format!("no gate is named so; the groups are {}", names.join(", ")).into());
    }
    Ok(())
}
