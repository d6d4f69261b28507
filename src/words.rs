//! Enums whose values have a word each, by which they are named, read and stored.

/// Makes an enum of a table `Variant = "word",` with `ALL`, `as_str` and `parse`, so that none of them can
/// leave a value out.
macro_rules! words {
    ($(#[$about:meta])* $seen:vis enum $name:ident {
        $($(#[$of_value:meta])* $value:ident = $word:literal,)*
    }) => {
        $(#[$about])*
        $seen enum $name {
            $($(#[$of_value])* $value,)*
        }

        impl $name {
            /// All, in the order in which they are listed to people.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$value),*];

            /// Its word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }

            /// The one of this word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.as_str() == word)
            }
        }
    };
}

/// The same, stored by its word. Hazard: the words are in the files of users.
macro_rules! stored_words {
    ($(#[$about:meta])* $seen:vis enum $name:ident { $($table:tt)* }) => {
        $crate::words::words! {
            $(#[$about])*
            #[derive(serde::Serialize, serde::Deserialize)]
            #[serde(try_from = "String", into = "&'static str")]
            $seen enum $name { $($table)* }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(word: String) -> std::result::Result<Self, Self::Error> {
                Self::parse(&word).ok_or(concat!("an unknown word for ", stringify!($name)))
            }
        }

        impl From<$name> for &'static str {
            fn from(one: $name) -> Self {
                one.as_str()
            }
        }
    };
}

pub(crate) use {stored_words, words};
