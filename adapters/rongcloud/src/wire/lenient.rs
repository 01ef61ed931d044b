//! Values that the vendor writes as numbers in one place and as text in another.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A number, a truth value or a text, whichever was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Integer(i64),
    Float(f64),
    Flag(bool),
    Text(Cow<'a, str>),
    Null,
}

impl Scalar<'_> {
    /// The whole number it says; fractions are cut off.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            // Saturates at the ends of the range, which no wire value comes near.
            Self::Float(number) if number.is_finite() => Some(number.trunc() as i64),
            Self::Text(text) => {
                let text = text.trim();
                text.parse::<i64>().ok().or_else(|| {
                    let number: f64 = text.parse().ok()?;
                    number.is_finite().then(|| number.trunc() as i64)
                })
            }
            Self::Flag(flag) => Some(i64::from(*flag)),
            Self::Float(_) | Self::Null => None,
        }
    }

    /// The text it would be as a form value.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Integer(number) => number.to_string().into(),
            Self::Float(number) => number.to_string().into(),
            Self::Flag(flag) => if *flag { "true" } else { "false" }.into(),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Null => Cow::Borrowed(""),
        }
    }

    /// Nothing was said: null or an empty text.
    fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.trim().is_empty(),
            _ => false,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a truth value or a text")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Flag(flag))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Integer(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(number).map_or(Scalar::Float(number as f64), Scalar::Integer))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Float(number))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Null)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A size, length or duration. Null, an empty text and a negative number (the SDKs' "unknown") are none; anything
/// else that is no number is an error, not a zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count<N>(pub(crate) Option<N>);

impl<N> Count<N> {
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl<'de, N: TryFrom<i64>> Deserialize<'de> for Count<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = Scalar::deserialize(deserializer)?;
        if scalar.is_empty() {
            return Ok(Self(None));
        }
        let number = scalar.integer().ok_or_else(|| D::Error::custom("not a number"))?;
        if number < 0 {
            return Ok(Self(None));
        }
        N::try_from(number).map(|number| Self(Some(number))).map_err(|_| D::Error::custom("number out of range"))
    }
}

impl<N: Serialize> Serialize for Count<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A borrowed text; absent and null are told apart from it by `Option`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Str<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn numbers_come_as_numbers_and_as_text() {
        let read = |json: &str| serde_json::from_str::<Scalar<'_>>(json).unwrap().integer();
        assert_eq!(read("7"), Some(7));
        assert_eq!(read("\"1795054530123\""), Some(1_795_054_530_123));
        assert_eq!(read("7.9"), Some(7));
        assert_eq!(read("\"7.9\""), Some(7));
        assert_eq!(read("true"), Some(1));
        assert_eq!(read("null"), None);
        assert_eq!(read("\"many\""), None);
    }

    #[test]
    fn an_unreadable_count_is_an_error_and_not_a_zero() {
        let read = |json: &str| serde_json::from_str::<Count<u32>>(json).map(|count| count.0);
        assert_eq!(read("88123").unwrap(), Some(88_123));
        assert_eq!(read("\"88123\"").unwrap(), Some(88_123));
        for unknown in ["null", "\"\"", "-1"] {
            assert_eq!(read(unknown).unwrap(), None);
        }
        assert!(read("\"big\"").is_err());
        assert!(read("5000000000").is_err());
    }
}
