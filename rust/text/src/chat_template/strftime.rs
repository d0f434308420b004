//! Dates in templates, in UTC.

use minijinja::{Error, ErrorKind};

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment by the Gregorian calendar.
struct Moment {
    year: i64,
    /// From 1.
    month: i64,
    day: i64,
    /// From 1.
    day_of_year: i64,
    /// From Sunday, 0.
    weekday: i64,
    second_of_day: i64,
}

impl Moment {
    fn new(seconds: i64) -> Self {
        let days = seconds.div_euclid(86_400);
        let mut year = 1970 + days.div_euclid(366);
        while days_before(year + 1) <= days {
            year += 1;
        }
        let day_of_year = days - days_before(year);
        let (mut month, mut day) = (1, day_of_year);
        while day >= days_in(year, month) {
            day -= days_in(year, month);
            month += 1;
        }
        Self {
            year,
            month,
            day: day + 1,
            day_of_year: day_of_year + 1,
            weekday: (days + 4).rem_euclid(7),
            second_of_day: seconds.rem_euclid(86_400),
        }
    }
}

/// Days from 1970 to the first of a year.
fn days_before(year: i64) -> i64 {
    let past = year - 1;
    let leaps = past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
    (year - 1970) * 365 + leaps - 477
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + days_before(year + 1) - days_before(year) - 365,
        _ => 31,
    }
}

/// `now`, in seconds since 1970, by a format of C's strftime.
pub(super) fn strftime(format: &str, now: i64) -> Result<String, Error> {
    // Outside of the years 1970 to 9999 there is only a wrong clock.
    let moment = Moment::new(now.clamp(0, 253_402_300_799));
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            text.push(char);
            continue;
        }
        let (plain, code) = match chars.next() {
            Some('-') => (true, chars.next()),
            code => (false, code),
        };
        let field = code.and_then(|code| field(&moment, code));
        let field = field.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidOperation,
                format!("unknown date format {format:?}"),
            )
        })?;
        let bare = field.trim_start_matches('0');
        text.push_str(if plain && !bare.is_empty() {
            bare
        } else {
            &field
        });
    }
    Ok(text)
}

fn field(moment: &Moment, code: char) -> Option<String> {
    let (hour, minute, second) = (
        moment.second_of_day / 3600,
        moment.second_of_day / 60 % 60,
        moment.second_of_day % 60,
    );
    let name = |names: &[&str], index: i64| {
        usize::try_from(index)
            .ok()
            .map(|index| names[index].to_owned())
    };
    let short = |name: Option<String>| name.map(|name| name[..3].to_owned());
    Some(match code {
        'Y' => moment.year.to_string(),
        'y' => format!("{:02}", moment.year % 100),
        'm' => format!("{:02}", moment.month),
        'd' => format!("{:02}", moment.day),
        'e' => format!("{:2}", moment.day),
        'j' => format!("{:03}", moment.day_of_year),
        'B' => name(&MONTHS, moment.month - 1)?,
        'b' | 'h' => short(name(&MONTHS, moment.month - 1))?,
        'A' => name(&DAYS, moment.weekday)?,
        'a' => short(name(&DAYS, moment.weekday))?,
        'H' => format!("{hour:02}"),
        'I' => format!("{:02}", (hour + 11) % 12 + 1),
        'p' => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
        'M' => format!("{minute:02}"),
        'S' => format!("{second:02}"),
        'F' => format!("{}-{:02}-{:02}", moment.year, moment.month, moment.day),
        'T' => format!("{hour:02}:{minute:02}:{second:02}"),
        'Z' => "UTC".to_owned(),
        'z' => "+0000".to_owned(),
        '%' => "%".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::strftime;

    #[test]
    fn dates_follow_the_calendar() {
        let all = "%a %d %b %Y %H:%M:%S %j %I %p %-d %y %A %B";
        assert_eq!(
            strftime(all, 1_709_164_800).unwrap(),
            "Thu 29 Feb 2024 00:00:00 060 12 AM 29 24 Thursday February"
        );
        assert_eq!(strftime("%F %T", 0).unwrap(), "1970-01-01 00:00:00");
        assert_eq!(
            strftime("%F %T", 951_868_799).unwrap(),
            "2000-02-29 23:59:59"
        );
        assert_eq!(strftime("%F", 4_107_542_400).unwrap(), "2100-03-01");
        assert_eq!(strftime("100%%", 0).unwrap(), "100%");
        assert!(strftime("%Q", 0).is_err() && strftime("%", 0).is_err());
    }
}
