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

impl Moment {
    /// The week by ISO 8601, which begins on Monday, and the year that most of its days are in.
    fn week(&self) -> (i64, i64) {
        let weeks = |year: i64| {
            (
                days_before(year + 1) - days_before(year) - 365,
                (days_before(year) + 4).rem_euclid(7),
            )
        };
        // A year has 53 weeks if it begins on a Thursday, or on a Wednesday with a day more.
        let long = |year: i64| matches!(weeks(year), (_, 4) | (1, 3));
        let week = (self.day_of_year + 9 - ((self.weekday + 6) % 7 + 1)) / 7;
        if week < 1 {
            return (self.year - 1, 52 + i64::from(long(self.year - 1)));
        }
        if week > 52 + i64::from(long(self.year)) {
            return (self.year + 1, 1);
        }
        (self.year, week)
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
    write(&mut text, format, &moment).ok_or_else(|| {
        let text = format!("unknown date format {format:?}");
        Error::new(ErrorKind::InvalidOperation, text)
    })?;
    Ok(text)
}

/// None: the format has a code that is not known.
fn write(text: &mut String, format: &str, moment: &Moment) -> Option<()> {
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            text.push(char);
            continue;
        }
        let (plain, code) = match chars.next()? {
            '-' => (true, chars.next()?),
            code => (false, code),
        };
        if let Some(format) = composed(code) {
            write(text, format, moment)?;
            continue;
        }
        let field = date(moment, code).or_else(|| time(moment.second_of_day, code))?;
        let bare = field.trim_start_matches(['0', ' ']);
        text.push_str(if plain && !bare.is_empty() {
            bare
        } else {
            &field
        });
    }
    Some(())
}

/// Codes that stand for several others, as in the C locale.
fn composed(code: char) -> Option<&'static str> {
    Some(match code {
        'c' => "%a %b %e %H:%M:%S %Y",
        'D' | 'x' => "%m/%d/%y",
        'F' => "%Y-%m-%d",
        'R' => "%H:%M",
        'T' | 'X' => "%H:%M:%S",
        'r' => "%I:%M:%S %p",
        _ => return None,
    })
}

fn date(moment: &Moment, code: char) -> Option<String> {
    let name = |names: &[&str], index: i64| {
        usize::try_from(index)
            .ok()
            .map(|index| names[index].to_owned())
    };
    let short = |name: Option<String>| name.map(|name| name[..3].to_owned());
    let since_monday = (moment.weekday + 6) % 7;
    Some(match code {
        'Y' => moment.year.to_string(),
        'y' => format!("{:02}", moment.year % 100),
        'C' => format!("{:02}", moment.year / 100),
        'm' => format!("{:02}", moment.month),
        'd' => format!("{:02}", moment.day),
        'e' => format!("{:2}", moment.day),
        'j' => format!("{:03}", moment.day_of_year),
        'B' => name(&MONTHS, moment.month - 1)?,
        'b' | 'h' => short(name(&MONTHS, moment.month - 1))?,
        'A' => name(&DAYS, moment.weekday)?,
        'a' => short(name(&DAYS, moment.weekday))?,
        'u' => (since_monday + 1).to_string(),
        'w' => moment.weekday.to_string(),
        'U' => format!("{:02}", (moment.day_of_year + 6 - moment.weekday) / 7),
        'W' => format!("{:02}", (moment.day_of_year + 6 - since_monday) / 7),
        'G' => moment.week().0.to_string(),
        'g' => format!("{:02}", moment.week().0 % 100),
        'V' => format!("{:02}", moment.week().1),
        _ => return None,
    })
}

fn time(second_of_day: i64, code: char) -> Option<String> {
    let (hour, minute) = (second_of_day / 3600, second_of_day / 60 % 60);
    let half = (hour + 11) % 12 + 1;
    Some(match code {
        'H' => format!("{hour:02}"),
        'k' => format!("{hour:2}"),
        'I' => format!("{half:02}"),
        'l' => format!("{half:2}"),
        'p' => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
        'P' => (if hour < 12 { "am" } else { "pm" }).to_owned(),
        'M' => format!("{minute:02}"),
        'S' => format!("{:02}", second_of_day % 60),
        'Z' => "UTC".to_owned(),
        'z' => "+0000".to_owned(),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
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
        let weeks = [
            (1_735_603_200, "2025-W01-2 2024-52 53"),
            (1_609_459_200, "2020-W53-5 2021-00 00"),
            (1_721_999_655, "2024-W30-5 2024-29 30"),
        ];
        for (now, expected) in weeks {
            assert_eq!(strftime("%G-W%V-%u %Y-%U %W", now).unwrap(), expected);
        }
        assert!(strftime("%Q", 0).is_err() && strftime("%", 0).is_err());
    }
}
