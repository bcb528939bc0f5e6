//! Points in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use in_mem_model::Timestamp;
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_time_comes_back_from_text(micros in any::<i64>()) {
        let time = Timestamp(micros);
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn every_time_of_these_centuries_is_rfc_3339(micros in 0_i64..4_000_000_000_000_000) {
        let text = Timestamp(micros).to_string();
        prop_assert_eq!(text.len(), "2025-06-30T12:00:00.123456Z".len());
    }

    #[test]
    fn arithmetic_stops_at_the_ends(micros in any::<i64>(), secs in any::<u64>()) {
        let (time, step) = (Timestamp(micros), Duration::from_secs(secs));
        prop_assert!(time.saturating_add(step) >= time && time.saturating_sub(step) <= time);
        prop_assert_eq!(time.duration_since(time.saturating_add(step)), Duration::ZERO);
    }
}

#[test]
fn rfc_3339_is_read_with_any_offset() {
    let time: Timestamp = "2025-06-30T12:00:00.123456Z".parse().unwrap();
    assert_eq!(time, Timestamp(1_751_284_800_123_456));
    assert_eq!("2025-06-30T14:00:00.123456789+02:00".parse(), Ok(time));
    for wrong in ["", "yesterday", "2025-06-30", "2025-06-30T12:00:00", "2025-13-01T00:00:00Z", "5", "us"] {
        assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
    }
}

#[test]
fn the_systems_clock_is_rounded_down() {
    assert_eq!(Timestamp::from(UNIX_EPOCH + Duration::from_nanos(1_999)), Timestamp(1));
    assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_nanos(1)), Timestamp(-1));
    assert!(Timestamp::now() <= Timestamp::from(SystemTime::now()));
    assert_eq!(Timestamp(-1).as_millis(), -1);
    assert_eq!(Timestamp::from_millis(i64::MAX), Timestamp::MAX);
    assert_eq!(Timestamp(5).duration_since(Timestamp(2)), Duration::from_micros(3));
}
