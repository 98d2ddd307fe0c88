//! Replicated settings: one by one, as operators change them, and all at once, as snapshots hold them.

use super::decode_error::DecodeError;
use super::fields::{exactly, number, present, variant};
use crate::v1;
use bannkreis_core::reach::Reach;
use bannkreis_core::settings::{PrivateOffenders, Setting, Settings};
use bytes::Bytes;
use v1::setting::Value;

/// Bits of an IPv4 address.
const V4_BITS: u8 = 32;
/// Bits of an IPv6 address.
const V6_BITS: u8 = 128;

impl From<PrivateOffenders> for v1::PrivateOffenders {
    fn from(value: PrivateOffenders) -> v1::PrivateOffenders {
        match value {
            PrivateOffenders::Share => v1::PrivateOffenders::Share,
            PrivateOffenders::Origin => v1::PrivateOffenders::Origin,
        }
    }
}

fn decode_private_offenders(wire: i32, field: &str) -> Result<PrivateOffenders, DecodeError> {
    match variant(wire, field)? {
        v1::PrivateOffenders::Unspecified => Err(DecodeError::missing(field)),
        v1::PrivateOffenders::Share => Ok(PrivateOffenders::Share),
        v1::PrivateOffenders::Origin => Ok(PrivateOffenders::Origin),
    }
}

impl From<Reach> for v1::Reach {
    fn from(value: Reach) -> v1::Reach {
        match value {
            Reach::Guarded => v1::Reach::Guarded,
            Reach::Ports => v1::Reach::Ports,
            Reach::Host => v1::Reach::Host,
        }
    }
}

pub(crate) fn decode_reach(wire: i32, field: &str) -> Result<Reach, DecodeError> {
    match variant(wire, field)? {
        v1::Reach::Unspecified => Err(DecodeError::missing(field)),
        v1::Reach::Guarded => Ok(Reach::Guarded),
        v1::Reach::Ports => Ok(Reach::Ports),
        v1::Reach::Host => Ok(Reach::Host),
    }
}

impl From<&Setting> for v1::Setting {
    fn from(setting: &Setting) -> v1::Setting {
        let value = match *setting {
            Setting::PrivateOffenders(v) => Value::PrivateOffenders(v1::PrivateOffenders::from(v).into()),
            Setting::Reach(v) => Value::Reach(v1::Reach::from(v).into()),
            Setting::CountingPrefixV4(v) => Value::CountingPrefixV4(v.into()),
            Setting::CountingPrefixV6(v) => Value::CountingPrefixV6(v.into()),
            Setting::WidestPrefixV4(v) => Value::WidestPrefixV4(v.into()),
            Setting::WidestPrefixV6(v) => Value::WidestPrefixV6(v.into()),
            Setting::QuotaPerMinute(v) => Value::QuotaPerMinute(v),
            Setting::QuotaBurst(v) => Value::QuotaBurst(v),
            Setting::DampedMs(v) => Value::DampedMs(v),
            Setting::DampedLiveMax(v) => Value::DampedLiveMax(v),
            Setting::TombstoneRetentionMs(v) => Value::TombstoneRetentionMs(v),
            Setting::HistoryRetentionMs(v) => Value::HistoryRetentionMs(v),
            Setting::SkewMaxMs(v) => Value::SkewMaxMs(v),
            Setting::EventKey(v) => Value::EventKey(Bytes::copy_from_slice(&v)),
        };
        v1::Setting { value: Some(value) }
    }
}

impl TryFrom<v1::Setting> for Setting {
    type Error = DecodeError;
    fn try_from(wire: v1::Setting) -> Result<Setting, DecodeError> {
        Ok(match wire.value.ok_or_else(|| DecodeError::missing("value"))? {
            Value::PrivateOffenders(v) => {
                Setting::PrivateOffenders(decode_private_offenders(v, "private_offenders")?)
            }
            Value::Reach(v) => Setting::Reach(decode_reach(v, "reach")?),
            Value::CountingPrefixV4(v) => {
                Setting::CountingPrefixV4(number(v, "counting_prefix_v4", V4_BITS)?)
            }
            Value::CountingPrefixV6(v) => {
                Setting::CountingPrefixV6(number(v, "counting_prefix_v6", V6_BITS)?)
            }
            Value::WidestPrefixV4(v) => Setting::WidestPrefixV4(number(v, "widest_prefix_v4", V4_BITS)?),
            Value::WidestPrefixV6(v) => Setting::WidestPrefixV6(number(v, "widest_prefix_v6", V6_BITS)?),
            Value::QuotaPerMinute(v) => Setting::QuotaPerMinute(v),
            Value::QuotaBurst(v) => Setting::QuotaBurst(v),
            Value::DampedMs(v) => Setting::DampedMs(v),
            Value::DampedLiveMax(v) => Setting::DampedLiveMax(v),
            Value::TombstoneRetentionMs(v) => Setting::TombstoneRetentionMs(v),
            Value::HistoryRetentionMs(v) => Setting::HistoryRetentionMs(v),
            Value::SkewMaxMs(v) => Setting::SkewMaxMs(v),
            Value::EventKey(v) => Setting::EventKey(exactly(&v, "event_key")?),
        })
    }
}

impl From<&Settings> for v1::Settings {
    fn from(settings: &Settings) -> v1::Settings {
        v1::Settings {
            private_offenders: v1::PrivateOffenders::from(settings.private_offenders).into(),
            reach: v1::Reach::from(settings.reach).into(),
            counting_prefix_v4: Some(settings.counting_prefix_v4.into()),
            counting_prefix_v6: Some(settings.counting_prefix_v6.into()),
            widest_prefix_v4: Some(settings.widest_prefix_v4.into()),
            widest_prefix_v6: Some(settings.widest_prefix_v6.into()),
            quota_per_minute: Some(settings.quota_per_minute),
            quota_burst: Some(settings.quota_burst),
            damped_ms: Some(settings.damped_ms),
            damped_live_max: Some(settings.damped_live_max),
            tombstone_retention_ms: Some(settings.tombstone_retention_ms),
            history_retention_ms: Some(settings.history_retention_ms),
            skew_max_ms: Some(settings.skew_max_ms),
            event_key: Bytes::copy_from_slice(&settings.event_key),
        }
    }
}

impl TryFrom<v1::Settings> for Settings {
    type Error = DecodeError;
    fn try_from(wire: v1::Settings) -> Result<Settings, DecodeError> {
        let prefix = |value, field, bits| number(present(value, field)?, field, bits);
        Ok(Settings {
            private_offenders: decode_private_offenders(wire.private_offenders, "private_offenders")?,
            reach: decode_reach(wire.reach, "reach")?,
            counting_prefix_v4: prefix(wire.counting_prefix_v4, "counting_prefix_v4", V4_BITS)?,
            counting_prefix_v6: prefix(wire.counting_prefix_v6, "counting_prefix_v6", V6_BITS)?,
            widest_prefix_v4: prefix(wire.widest_prefix_v4, "widest_prefix_v4", V4_BITS)?,
            widest_prefix_v6: prefix(wire.widest_prefix_v6, "widest_prefix_v6", V6_BITS)?,
            quota_per_minute: present(wire.quota_per_minute, "quota_per_minute")?,
            quota_burst: present(wire.quota_burst, "quota_burst")?,
            damped_ms: present(wire.damped_ms, "damped_ms")?,
            damped_live_max: present(wire.damped_live_max, "damped_live_max")?,
            tombstone_retention_ms: present(wire.tombstone_retention_ms, "tombstone_retention_ms")?,
            history_retention_ms: present(wire.history_retention_ms, "history_retention_ms")?,
            skew_max_ms: present(wire.skew_max_ms, "skew_max_ms")?,
            event_key: exactly(&wire.event_key, "event_key")?,
        })
    }
}
