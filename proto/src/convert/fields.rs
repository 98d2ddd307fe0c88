//! How one field of a message is read: required, optional, a list, a text, a number, bytes.
//!
//! Every reader names the field in its error and says which bound was passed.

use super::decode_error::{DecodeError, Inside};
use bytes::Bytes;

/// A message that must be there.
pub(crate) fn required<W, C>(wire: Option<W>, field: &str) -> Result<C, DecodeError>
where
    C: TryFrom<W, Error = DecodeError>,
{
    C::try_from(wire.ok_or_else(|| DecodeError::missing(field))?).inside(field)
}

/// A message whose absence means something.
pub(crate) fn optional<W, C>(wire: Option<W>, field: &str) -> Result<Option<C>, DecodeError>
where
    C: TryFrom<W, Error = DecodeError>,
{
    wire.map(C::try_from).transpose().inside(field)
}

/// A number that must be there although it may be zero.
pub(crate) fn present<T>(wire: Option<T>, field: &str) -> Result<T, DecodeError> {
    wire.ok_or_else(|| DecodeError::missing(field))
}

/// Refuses more than `n_max` entries.
pub(crate) fn at_most(n: usize, field: &str, n_max: usize) -> Result<(), DecodeError> {
    if n > n_max {
        return Err(DecodeError::field(field, format!("has {n} entries: at most {n_max} are read")));
    }
    Ok(())
}

/// At most `n_max` messages.
pub(crate) fn list<W, C>(wire: Vec<W>, field: &str, n_max: usize) -> Result<Vec<C>, DecodeError>
where
    C: TryFrom<W, Error = DecodeError>,
{
    at_most(wire.len(), field, n_max)?;
    wire.into_iter()
        .enumerate()
        .map(|(n, entry)| C::try_from(entry).map_err(|error| error.inside(&format!("{field}[{n}]"))))
        .collect()
}

/// A text of at most `bytes_max` bytes.
pub(crate) fn text(wire: String, field: &str, bytes_max: usize) -> Result<String, DecodeError> {
    if wire.len() > bytes_max {
        let what = format!("is a text of {} bytes: at most {bytes_max} are read", wire.len());
        return Err(DecodeError::field(field, what));
    }
    Ok(wire)
}

/// A number from 0 to `max`, in a narrower type.
pub(crate) fn number<T>(wire: u32, field: &str, max: T) -> Result<T, DecodeError>
where
    T: TryFrom<u32> + PartialOrd + Copy + std::fmt::Display,
{
    match T::try_from(wire) {
        Ok(value) if value <= max => Ok(value),
        _ => Err(DecodeError::field(field, format!("is {wire}: at most {max} has a meaning"))),
    }
}

/// Exactly `N` bytes.
pub(crate) fn exactly<const N: usize>(wire: &Bytes, field: &str) -> Result<[u8; N], DecodeError> {
    <[u8; N]>::try_from(&wire[..])
        .map_err(|_| DecodeError::field(field, format!("has {} bytes: it takes {N}", wire.len())))
}

/// A value of an enum whose zero means "not written".
pub(crate) fn variant<E: TryFrom<i32> + Default + PartialEq>(
    wire: i32,
    field: &str,
) -> Result<E, DecodeError> {
    match E::try_from(wire) {
        Ok(value) if value != E::default() => Ok(value),
        Ok(_) => Err(DecodeError::missing(field)),
        Err(_) => {
            Err(DecodeError::field(field, format!("is number {wire}, which this release does not know")))
        }
    }
}
