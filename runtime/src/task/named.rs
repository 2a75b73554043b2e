//! Enums whose values have a word each, for JSON and for people: it is written once.

/// The enum, what serde needs to know of its words, every value in order (`ALL`), and `name`.
macro_rules! named {
    ($(#[$meta:meta])* $vis:vis enum $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        $vis enum $type {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)+
        }

        impl $type {
            /// Every one, in order.
            pub const ALL: [$type; [$($type::$variant,)+].len()] = [$($type::$variant,)+];

            /// The name in JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)+
                }
            }
        }
    };
}

pub(crate) use named;
