//! Numbers as people read them.

use jiff::Timestamp;

/// Bytes: `812 B`, `1.2 KiB`, `34 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // Rounded first: 1,048,575 bytes are 1.0 MiB, not 1024 KiB.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value < 9.95 {
        true => format!("{value:.1} {}", UNITS[unit]),
        false => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// A length of time in microseconds: `85 µs`, `1.2 ms`, `12.0 s`, `3 m 12 s`, `2 h 05 m`, `4 d 03 h`.
pub fn duration(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let us = micros.unsigned_abs();
    let scaled = |unit: f64, name: &str| {
        let value = us as f64 / unit;
        if value < 9.95 { format!("{sign}{value:.1} {name}") } else { format!("{sign}{value:.0} {name}") }
    };
    let seconds = us / 1_000_000;
    match us {
        0..1_000 => format!("{sign}{us} µs"),
        1_000..999_500 => scaled(1e3, "ms"),
        999_500..59_500_000 => scaled(1e6, "s"),
        _ if seconds < 3_600 => format!("{sign}{} m {:02} s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{sign}{} h {:02} m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{sign}{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A time in microseconds since 1970 as `2025-08-01 13:22:00.147` (UTC). A time no calendar has is shown as its number.
pub fn time(micros: i64) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S.%3f").to_string(),
        Err(_) => format!("{micros} µs"),
    }
}

/// A count with its thousands apart: `5,308`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and its noun: `1 run`, `200 runs`.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Dollars: `$1.27`, and `$0.0051` where cents would hide it.
pub fn usd(dollars: f64) -> String {
    if dollars == 0.0 || dollars.abs() >= 0.1 { format!("${dollars:.2}") } else { format!("${dollars:.4}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10_188, "9.9 KiB"),
            (1_048_575, "1.0 MiB"),
            (35_651_584, "34 MiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (given, expected) in cases {
            assert_eq!(bytes(given), expected);
        }
    }

    #[test]
    fn durations() {
        let cases = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_234, "1.2 ms"),
            (999_499, "999 ms"),
            (999_500, "1.0 s"),
            (12_032_000, "12 s"),
            (59_600_000, "0 m 59 s"),
            (192_000_000, "3 m 12 s"),
            (7_500_000_000, "2 h 05 m"),
            (356_400_000_000, "4 d 03 h"),
            (-1_500, "-1.5 ms"),
        ];
        for (given, expected) in cases {
            assert_eq!(duration(given), expected, "{given}");
        }
        let _ = (duration(i64::MIN), duration(i64::MAX));
    }

    #[test]
    fn times_and_counts() {
        assert_eq!(time(1_754_054_520_147_000), "2025-08-01 13:22:00.147");
        assert_eq!(time(-1), "1969-12-31 23:59:59.999");
        assert_eq!(time(i64::MAX), format!("{} µs", i64::MAX));
        assert_eq!(
            (count(0), count(999), count(5308), count(1_000_000)),
            ("0".into(), "999".into(), "5,308".into(), "1,000,000".into())
        );
        assert_eq!((counted(1, "run"), counted(200, "run")), ("1 run".into(), "200 runs".into()));
        assert_eq!(
            (usd(0.0), usd(1.267), usd(0.005_139)),
            ("$0.00".into(), "$1.27".into(), "$0.0051".into())
        );
    }
}
