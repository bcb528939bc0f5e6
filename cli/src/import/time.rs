//! Times of the source, in microseconds since 1970 UTC.

use jiff::Timestamp;

use super::json::{Fault, Object, Place, take_optional, text};

/// Takes an RFC 3339 time out of an object. Digits below the microsecond are cut off.
pub(super) fn take_time(
    object: &mut Object,
    field: &'static str,
    at: &Place<'_>,
) -> Result<Option<i64>, Fault> {
    let Some(value) = take_optional(object, field) else { return Ok(None) };
    let place = at.key(field);
    let written = text(value, &place)?;
    match written.parse::<Timestamp>() {
        Ok(time) => Ok(Some(time.as_microsecond())),
        Err(_) => Err(Fault::shape(
            &place,
            "a time like 2025-08-01T13:22:00.147Z",
            &serde_json::Value::String(written),
        )),
    }
}

/// Seconds as a source has them, in whole microseconds; `None` where they are not a sane length of time.
pub(super) fn micros_from_seconds(seconds: f64) -> Option<i64> {
    const MAX_SECONDS: f64 = 1e11;
    (seconds.is_finite() && (0.0..=MAX_SECONDS).contains(&seconds)).then(|| (seconds * 1e6).round() as i64)
}
