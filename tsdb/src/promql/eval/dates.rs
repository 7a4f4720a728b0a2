//! Calendar functions of a time in seconds since the epoch, in UTC.

const DAY: i64 = 86_400;

/// Year, month (1–12), day of month (1–31).
fn civil(seconds: f64) -> (i64, i64, i64) {
    // Days since 0000-03-01: years then begin in March, and a leap day is a year's last day.
    let days = (seconds as i64).div_euclid(DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn length_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

pub(in crate::promql) fn year(seconds: f64) -> f64 {
    civil(seconds).0 as f64
}

pub(in crate::promql) fn month(seconds: f64) -> f64 {
    civil(seconds).1 as f64
}

pub(in crate::promql) fn day_of_month(seconds: f64) -> f64 {
    civil(seconds).2 as f64
}

pub(in crate::promql) fn days_in_month(seconds: f64) -> f64 {
    let (year, month, _) = civil(seconds);
    length_of(year, month) as f64
}

pub(in crate::promql) fn day_of_year(seconds: f64) -> f64 {
    let (year, month, day) = civil(seconds);
    ((1..month).map(|month| length_of(year, month)).sum::<i64>() + day) as f64
}

/// 0 is Sunday. The epoch was a Thursday.
pub(in crate::promql) fn day_of_week(seconds: f64) -> f64 {
    ((seconds as i64).div_euclid(DAY) + 4).rem_euclid(7) as f64
}

pub(in crate::promql) fn hour(seconds: f64) -> f64 {
    ((seconds as i64).rem_euclid(DAY) / 3_600) as f64
}

pub(in crate::promql) fn minute(seconds: f64) -> f64 {
    ((seconds as i64).rem_euclid(3_600) / 60) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_agrees_with_an_independent_one() {
        for seconds in (-80_000_000_000i64..90_000_000_000).step_by(12_345_678) {
            let date = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let got = [year, month, day_of_month, days_in_month, day_of_year, day_of_week, hour, minute]
                .map(|function| function(seconds as f64) as i64);
            let want = [
                i64::from(date.year()),
                i64::from(date.month()),
                i64::from(date.day()),
                i64::from(date.days_in_month()),
                i64::from(date.day_of_year()),
                i64::from(date.weekday().to_sunday_zero_offset()),
                i64::from(date.hour()),
                i64::from(date.minute()),
            ];
            assert_eq!(got, want, "{seconds}");
        }
    }
}
