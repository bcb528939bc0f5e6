//! What the commands about the past share: finding a point, and the state there as text.

use in_mem::{Database, Point, Run, RunAt};

use super::{Failure, find};
use crate::point::PointArg;

/// The run at a point.
pub(super) fn at(run: &Run, point: &PointArg) -> Result<RunAt, Failure> {
    Ok(match point {
        PointArg::Point(point) => run.at(*point)?,
        PointArg::Span(id) => run.at_span(id)?,
    })
}

/// The point as the database takes it.
pub(super) fn point(run: &Run, point: &PointArg) -> Result<Point, Failure> {
    Ok(match point {
        PointArg::Point(point) => *point,
        PointArg::Span(_) => Point::Version(at(run, point)?.version()),
    })
}

/// A run and a point, typed as `RUN` or `RUN@POINT`.
pub(super) fn run_at_point(db: &Database, typed: &str) -> Result<(Run, Point), Failure> {
    let (run, at) = match typed.split_once('@') {
        Some((run, at)) => (run, at.parse().map_err(Failure::Usage)?),
        None => (typed, PointArg::Point(Point::Now)),
    };
    let run = find::run(db, run)?;
    let at = point(&run, &at)?;
    Ok((run, at))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
