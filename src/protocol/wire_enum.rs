//! A macro that turns one table into an enum, its wire names in both directions, its serde
//! implementations and its test.

use std::fmt;

use serde::de::{self, Visitor};

/// The error for a string that is not the wire name of any variant; its text lists the names.
///
/// ```
/// use pondwire::PresenceEvent;
///
/// let error = "join".parse::<PresenceEvent>().unwrap_err();
/// assert_eq!(error.to_string(), "Expected one of [JOIN, LEAVE, UPDATE]");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName {
    pub(super) expected: &'static [&'static str],
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expected one of [{}]", Listed(self.expected))
    }
}

impl std::error::Error for UnknownName {}

struct Listed(&'static [&'static str]);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// Reads a name from a deserializer's string, borrowed or owned.
pub(super) struct NameVisitor<T> {
    pub(super) read: fn(&[u8]) -> Option<T>,
    pub(super) expected: &'static [&'static str],
}

impl<T> Visitor<'_> for NameVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of [{}]", Listed(self.expected))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
        (self.read)(name.as_bytes()).ok_or_else(|| E::unknown_variant(name, self.expected))
    }
}

/// Declares an enum whose variants are exact, case-sensitive strings on the wire.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$vmeta:meta])* $variant:ident = $wire:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $(
                $(#[$vmeta])*
                #[doc = concat!("\n\nOn the wire: `", $wire, "`.")]
                $variant,
            )+
        }

        impl $name {
            /// Every variant, in table order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The wire string of every variant, in table order.
            pub const NAMES: &'static [&'static str] = &[$($wire),+];

            /// The exact string on the wire.
            #[must_use]
            #[inline]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $wire,)+
                }
            }

            /// The variant with this exact wire string; `None` for any other, case differences included.
            /// Allocates nothing.
            #[must_use]
            #[inline]
            pub fn from_bytes(wire: &[u8]) -> Option<Self> {
                // Slices of different lengths are unequal without a read.
                match wire {
                    $(name if name == $wire.as_bytes() => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::protocol::UnknownName;

            fn from_str(wire: &str) -> Result<Self, Self::Err> {
                let unknown = $crate::protocol::UnknownName { expected: Self::NAMES };
                Self::from_bytes(wire.as_bytes()).ok_or(unknown)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::protocol::wire_enum::NameVisitor {
                    read: Self::from_bytes,
                    expected: Self::NAMES,
                })
            }
        }

        // Functions and types have separate namespaces, so the test can have the enum's name.
        #[cfg(test)]
        #[test]
        #[allow(non_snake_case)]
        fn $name() {
            $crate::protocol::wire_enum::tests::names_hold(
                $name::ALL, $name::NAMES, $name::as_str, $name::from_bytes,
            );
        }
    };
}
pub(crate) use wire_enum;

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;
    use std::fmt::{Debug, Display};
    use std::hash::Hash;
    use std::str::FromStr;

    use serde::{Deserialize, Serialize};

    use super::UnknownName;

    /// Checks the properties of every table.
    pub(in crate::protocol) fn names_hold<T>(
        all: &[T],
        names: &'static [&'static str],
        as_str: fn(T) -> &'static str,
        from_bytes: fn(&[u8]) -> Option<T>,
    ) where
        T: Copy + Debug + Display + Eq + Hash + FromStr<Err = UnknownName>,
        T: Serialize + for<'de> Deserialize<'de>,
    {
        assert_eq!(all.len(), names.len());
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "variants are distinct");
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "names are distinct");
        for (&variant, &name) in all.iter().zip(names) {
            assert_eq!(as_str(variant), name);
            assert_eq!(variant.to_string(), name);
            assert_eq!(from_bytes(name.as_bytes()), Some(variant));
            assert_eq!(name.parse(), Ok(variant));
            let json = serde_json::to_string(&variant).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<T>(&json).unwrap(), variant);
            let escaped = format!("\"\\u{:04x}{}\"", name.as_bytes()[0], &name[1..]);
            assert_eq!(serde_json::from_str::<T>(&escaped).unwrap(), variant);
            for other in near(name).iter().filter(|other| !names.contains(&other.as_str())) {
                assert_eq!(from_bytes(other.as_bytes()), None, "{other:?}");
                assert_eq!(other.parse::<T>(), Err(UnknownName { expected: names }), "{other:?}");
                let json = serde_json::to_string(other).unwrap();
                assert!(serde_json::from_str::<T>(&json).is_err(), "{other:?}");
            }
        }
        assert_eq!(from_bytes(b""), None);
        assert_eq!(from_bytes(b"\xFF"), None);
        assert!(serde_json::from_str::<T>("null").is_err());
    }

    /// Strings that differ from `name` as little as possible.
    fn near(name: &str) -> Vec<String> {
        let (head, tail) = (&name[..name.len() - 1], &name[1..]);
        let mut near = vec![head.into(), tail.into()];
        near.extend([name.to_lowercase(), name.to_uppercase()]);
        near.extend([format!("{name} "), format!(" {name}"), format!("{name}\0")]);
        near.extend((0..name.len()).map(|i| {
            let mut changed = name.as_bytes().to_vec();
            changed[i] ^= 1;
            String::from_utf8(changed).expect("ASCII stays ASCII")
        }));
        near
    }
}
