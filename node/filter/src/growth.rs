//! `bantime.increment` and its family, worked out to a table of ban times.
//!
//! fail2ban evaluates its formula at each ban; what crosses the cluster is a table of integers, so that every
//! node bans for the same time. Not for the arithmetic (`formula`).

use crate::{formula, time_text};
use bannkreis_core::jail::{GROWTH_STEPS_MAX, Growth};

/// fail2ban's own formula, where nobody writes another.
const FORMULA_DEFAULT: &str = "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor";
/// A formula is worked out for so many earlier bans; the last outcome holds for more.
const COUNTS_MAX: u32 = 20;
/// No ban time is longer: three thousand years, which fits every clock.
const BAN_TIME_MS_MAX: u64 = 100_000_000_000_000;

/// The options as they are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrowthOptions {
    /// `bantime.factor`.
    pub factor: Option<String>,
    /// `bantime.formula`.
    pub formula: Option<String>,
    /// `bantime.multipliers`.
    pub multipliers: Option<String>,
    /// `bantime.maxtime`.
    pub maxtime: Option<String>,
    /// `bantime.rndtime`.
    pub rndtime: Option<String>,
    /// `bantime.overalljails`.
    pub overall_jails: bool,
}

/// The table for a jail that bans for `ban_time_ms` the first time.
///
/// # Errors
/// A sentence about the option that is not understood.
pub fn table(ban_time_ms: u64, options: &GrowthOptions) -> Result<Growth, String> {
    let set = |option: &Option<String>| {
        option.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let factor = match set(&options.factor) {
        None => 1.0,
        Some(text) => formula::evaluate(&text, &[])
            .ok()
            .filter(|factor| factor.is_finite() && *factor > 0.0)
            .ok_or_else(|| format!("`bantime.factor = {text}` is no number above 0; write e.g. 2 or 1.5"))?,
    };
    let mut table_ms = vec![ban_time_ms];
    if let Some(multipliers) = set(&options.multipliers) {
        let multipliers = multipliers
            .split([' ', ',', '\n'])
            .filter(|word| !word.is_empty())
            .map(|word| word.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0))
            .collect::<Option<Vec<f64>>>()
            .ok_or_else(|| {
                format!("`bantime.multipliers = {multipliers}` are not numbers; write e.g. 1 2 4 8 16")
            })?;
        // The first ban has the plain time; a known offender starts at the second multiplier.
        let later = if multipliers.len() > 1 { &multipliers[1..] } else { &multipliers[..] };
        table_ms.extend(later.iter().map(|multiplier| times(ban_time_ms, factor * multiplier)));
        table_ms.truncate(GROWTH_STEPS_MAX);
    } else {
        let formula = set(&options.formula).unwrap_or_else(|| FORMULA_DEFAULT.to_owned());
        for count in 1..=COUNTS_MAX {
            table_ms.push(worked_out(&formula, ban_time_ms, count, factor)?.max(ban_time_ms));
        }
    }
    let length = |option: &Option<String>, name: &str| {
        set(option)
            .map(|text| time_text::milliseconds(&text).map_err(|why| format!("{name}: {why}")))
            .transpose()
    };
    Ok(Growth {
        table_ms,
        max_ms: length(&options.maxtime, "bantime.maxtime")?,
        rnd_ms: length(&options.rndtime, "bantime.rndtime")?.unwrap_or(0),
        overall_jails: options.overall_jails,
    })
}

/// The ban time by `formula`, which counts in seconds, after `count` earlier bans.
fn worked_out(formula: &str, ban_time_ms: u64, count: u32, factor: f64) -> Result<u64, String> {
    #[expect(clippy::cast_precision_loss, reason = "times are far below 2^53")]
    let seconds = ban_time_ms as f64 / 1_000.0;
    let names = [("ban.Time", seconds), ("ban.Count", f64::from(count)), ("banFactor", factor)];
    let value = formula::evaluate(formula, &names).map_err(|why| {
        format!(
            "`bantime.formula = {formula}`: {why}; it may use ban.Time, ban.Count, banFactor, numbers, operators \
             and math functions; or write bantime.multipliers, e.g. 1 2 4 8 16"
        )
    })?;
    Ok(milliseconds(value))
}

fn times(ban_time_ms: u64, factor: f64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "times are far below 2^53")]
    let seconds = ban_time_ms as f64 / 1_000.0;
    milliseconds(seconds * factor)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from f64 saturates")]
fn milliseconds(seconds: f64) -> u64 {
    ((seconds * 1_000.0).round() as u64).min(BAN_TIME_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut GrowthOptions)) -> Result<Growth, String> {
        let mut options = GrowthOptions::default();
        change(&mut options);
        table(600_000, &options)
    }

    #[test]
    fn the_time_doubles_twenty_times() {
        let growth = with(|_| {}).expect("nothing set");
        assert_eq!(growth.table_ms.len(), 21);
        assert_eq!(&growth.table_ms[..3], [600_000, 1_200_000, 2_400_000]);
        assert_eq!(growth.table_ms[20], 600_000 << 20);
        assert_eq!((growth.max_ms, growth.rnd_ms, growth.overall_jails), (None, 0, false));
    }

    #[test]
    fn multipliers_apply_from_the_second_ban_on() {
        let growth = with(|o| {
            o.multipliers = Some("1 5 30".to_owned());
            o.maxtime = Some("1w".to_owned());
            o.rndtime = Some("10m".to_owned());
        })
        .expect("numbers");
        assert_eq!(growth.table_ms, [600_000, 3_000_000, 18_000_000]);
        assert_eq!((growth.max_ms, growth.rnd_ms), (Some(604_800_000), 600_000));
    }

    #[test]
    fn a_formula_is_worked_out_for_every_count() {
        let formula = "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)";
        let growth = with(|o| {
            o.formula = Some(formula.to_owned());
            o.factor = Some("2.0 / 2.885385".to_owned());
        })
        .expect("known");
        assert_eq!(growth.table_ms.len(), 21);
        assert_eq!(&growth.table_ms[..4], [600_000, 1_200_001, 2_400_006, 4_800_018]);
        let shorter = with(|o| o.factor = Some("0.5".to_owned())).expect("a number");
        assert_eq!(&shorter.table_ms[..3], [600_000, 600_000, 1_200_000], "never below bantime");
        let endless = with(|o| o.formula = Some("ban.Time * 10 ** (ban.Count * 40)".to_owned()));
        assert_eq!(endless.expect("known").table_ms[20], BAN_TIME_MS_MAX);
    }

    #[test]
    fn what_is_no_formula_is_refused_by_name() {
        let refused = with(|o| o.formula = Some("ban.Time * random.random()".to_owned()));
        let refused = refused.expect_err("random");
        assert!(refused.contains("bantime.formula") && refused.contains("`random.random()` at"), "{refused}");
        assert!(with(|o| o.factor = Some("0".to_owned())).expect_err("0").contains("bantime.factor"));
        assert!(with(|o| o.multipliers = Some("1 x".to_owned())).expect_err("x").contains("multipliers"));
    }
}
