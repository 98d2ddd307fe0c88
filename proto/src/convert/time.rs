//! Ends and lengths of bans. Plain times and lengths need no conversion: they are milliseconds
//! everywhere.

use super::decode_error::DecodeError;
use crate::v1;
use bannkreis_core::time::{BanTime, Timestamp, Until};

impl From<Until> for v1::Until {
    fn from(until: Until) -> v1::Until {
        let end = match until.end() {
            Some(at) => v1::until::End::AtMs(at.0),
            None => v1::until::End::Forever(v1::Forever {}),
        };
        v1::Until { end: Some(end) }
    }
}

impl TryFrom<v1::Until> for Until {
    type Error = DecodeError;
    fn try_from(wire: v1::Until) -> Result<Until, DecodeError> {
        match wire.end.ok_or_else(|| DecodeError::missing("end"))? {
            v1::until::End::AtMs(at_ms) => Ok(Until::at(Timestamp(at_ms))),
            v1::until::End::Forever(v1::Forever {}) => Ok(Until::FOREVER),
        }
    }
}

impl From<BanTime> for v1::BanTime {
    fn from(ban_time: BanTime) -> v1::BanTime {
        let length = match ban_time {
            BanTime::Ms(ms) => v1::ban_time::Length::Ms(ms),
            BanTime::Forever => v1::ban_time::Length::Forever(v1::Forever {}),
        };
        v1::BanTime { length: Some(length) }
    }
}

impl TryFrom<v1::BanTime> for BanTime {
    type Error = DecodeError;
    fn try_from(wire: v1::BanTime) -> Result<BanTime, DecodeError> {
        match wire.length.ok_or_else(|| DecodeError::missing("length"))? {
            v1::ban_time::Length::Ms(ms) => Ok(BanTime::Ms(ms)),
            v1::ban_time::Length::Forever(v1::Forever {}) => Ok(BanTime::Forever),
        }
    }
}
