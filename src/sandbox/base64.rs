//! Base64 in its usual alphabet, for the QR code and the state file.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Clients leave out the padding and write bits that stand for nothing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Reads both alphabets, that of files and that of addresses.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let digits = digits.replace('-', "+").replace('_', "/");
    LENIENT.decode(digits).ok()
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes as a string, for serde's `with`.
pub(super) mod text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::sandbox) fn serialize<S: Serializer>(
        bytes: &impl AsRef<[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::encode(bytes.as_ref()))
    }

    pub(in crate::sandbox) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: TryFrom<Vec<u8>>,
    {
        let bytes = super::decode(&String::deserialize(deserializer)?);
        let bytes = bytes.ok_or_else(|| D::Error::custom("not base64"))?;
        T::try_from(bytes).map_err(|_| D::Error::custom("not as long as it should be"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), encoded);
            assert_eq!(decode(encoded).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(decode("Zg*="), None);
        assert_eq!(decode("Z"), None);
        for same in ["-_8=", "+/8", "+/9="] {
            assert_eq!(decode(same), Some(vec![0xfb, 0xff]), "{same}");
        }
    }
}
