//! One table makes an enum, its wire strings both ways, its serde form and its tests.

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

            /// Reads the exact wire string; anything else, another case included, is `None`.
            /// Allocates nothing.
            #[must_use]
            #[inline]
            pub fn from_bytes(wire: &[u8]) -> Option<Self> {
                $(
                    const $variant: &[u8] = $wire.as_bytes();
                )+
                match wire {
                    $(bytes if bytes == $variant => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use wire_enum;
