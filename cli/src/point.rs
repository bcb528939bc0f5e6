//! A point of a run's past, as it is typed.

use std::str::FromStr;

use in_mem::{Point, Timestamp, Version};

/// What can be typed as a point, for help.
pub const POINT_HELP: &str = "POINT is a version (17; `in-mem log` shows them), event:12, span:ID, a time \
                              (2025-08-01T13:22:00Z), or now.";

/// A point of a run's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointArg {
    /// One that the database knows how to find.
    Point(Point),
    /// Behind the commit that first recorded this span.
    Span(String),
}

impl FromStr for PointArg {
    type Err = String;

    fn from_str(text: &str) -> Result<PointArg, String> {
        let wrong = |why: &str| format!("{why}; {POINT_HELP}");
        if text == "now" {
            return Ok(PointArg::Point(Point::Now));
        }
        if let Some(number) = text.strip_prefix("event:") {
            let number = number.parse().map_err(|_| wrong("an event is named by its number"))?;
            return Ok(PointArg::Point(Point::Event(number)));
        }
        match text.strip_prefix("span:") {
            Some("") => return Err(wrong("a span is named by its id")),
            Some(id) => return Ok(PointArg::Span(id.to_owned())),
            None => {}
        }
        if let Ok(version) = text.strip_prefix('v').unwrap_or(text).parse() {
            return Ok(PointArg::Point(Point::Version(Version(version))));
        }
        let time: Timestamp = text.parse().map_err(|_| wrong("this is no point"))?;
        Ok(PointArg::Point(Point::Time(time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_point_is_read_and_nothing_else() {
        let point = |text: &str| text.parse::<PointArg>();
        assert_eq!(point("now"), Ok(PointArg::Point(Point::Now)));
        assert_eq!(point("17"), Ok(PointArg::Point(Point::Version(Version(17)))));
        assert_eq!(point("v17"), point("17"));
        assert_eq!(point("event:12"), Ok(PointArg::Point(Point::Event(12))));
        assert_eq!(point("span:call-1"), Ok(PointArg::Span("call-1".to_owned())));
        assert_eq!(point("1970-01-01T00:00:01Z"), Ok(PointArg::Point(Point::Time(Timestamp(1_000_000)))));
        for wrong in ["", "event:", "event:x", "span:", "yesterday", "-3", "v"] {
            assert!(point(wrong).is_err_and(|why| why.contains("POINT is")), "{wrong}");
        }
    }
}
