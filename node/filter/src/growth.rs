//! `bantime.increment` and its family, worked out to a table of ban times.
//!
//! fail2ban evaluates Python here; what crosses the cluster is a table of integers, so that every
//! node bans for the same time.

use crate::{time_text, unsupported};
use bannkreis_core::jail::{GROWTH_STEPS_MAX, Growth};

/// Doubling stops after so many bans, as in fail2ban's own formula.
const DOUBLINGS_MAX: u32 = 20;

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
        Some(text) => text
            .parse::<f64>()
            .ok()
            .filter(|factor| factor.is_finite() && *factor > 0.0)
            .ok_or_else(|| unsupported::formula("bantime.factor", &text))?,
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
        if let Some(formula) = set(&options.formula).filter(|formula| !is_doubling(formula)) {
            return Err(unsupported::formula("bantime.formula", &formula));
        }
        let doubled = |n: u32| times(ban_time_ms, factor * f64::from(1_u32 << n)).max(ban_time_ms);
        table_ms.extend((1..=DOUBLINGS_MAX).map(doubled));
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

/// The formula that fail2ban has by default, in the spelling of its documentation.
fn is_doubling(formula: &str) -> bool {
    let plain: String = formula.chars().filter(|c| !c.is_whitespace()).collect();
    plain == "ban.Time*(1<<(ban.Countifban.Count<20else20))*banFactor"
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are far below 2^53, and a cast from f64 saturates"
)]
fn times(ban_time_ms: u64, factor: f64) -> u64 {
    (ban_time_ms as f64 * factor).round() as u64
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
    fn python_is_refused_by_name() {
        let refused = with(|o| o.formula = Some("ban.Time * math.exp(ban.Count)".to_owned()));
        assert!(refused.expect_err("python").contains("bantime.formula"));
        assert!(with(|o| o.factor = Some("2.0 / 5.0".to_owned())).is_err());
        let documented = "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor";
        assert!(with(|o| o.formula = Some(documented.to_owned())).is_ok());
    }
}
