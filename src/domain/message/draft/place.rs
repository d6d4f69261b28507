//! A location on earth as a client asks for it.

use super::text::label;
use crate::error::{Code, Result};
use crate::wa::message::{Degrees, Location};

impl Location {
    /// A place at these degrees north (-90 to 90) and east (-180 to 180).
    pub fn at(latitude: f64, longitude: f64) -> Result<Self> {
        Ok(Self {
            latitude: Degrees::new(latitude, 90.0).ok_or(Code::LocationInvalid)?,
            longitude: Degrees::new(longitude, 180.0).ok_or(Code::LocationInvalid)?,
            name: None,
            address: None,
        })
    }

    /// With a name of up to 1,000 characters; an empty one is none.
    pub fn named(mut self, name: &str) -> Result<Self> {
        self.name = label(name)?;
        Ok(self)
    }

    /// With an address of up to 1,000 characters; an empty one is none.
    pub fn addressed(mut self, address: &str) -> Result<Self> {
        self.address = label(address)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_on_earth_and_its_texts_are_bounded() {
        for (latitude, longitude, good) in [
            (90.0, -180.0, true),
            (90.1, 0.0, false),
            (0.0, 180.1, false),
            (f64::NAN, 0.0, false),
            (0.0, f64::INFINITY, false),
        ] {
            let code = Location::at(latitude, longitude).map_err(|e| e.code());
            assert_eq!(code.is_ok(), good, "{latitude} {longitude}");
            assert!(good || code == Err(Code::LocationInvalid));
        }
        let place = || Location::at(-6.2, 106.8).expect("a place");
        let named = place().named(&"x".repeat(1000)).expect("a name");
        assert_eq!(named.name.map(|name| name.len()), Some(1000));
        assert_eq!(place().addressed("").expect("none").address, None);
        for long in [
            place().named(&"x".repeat(1001)),
            place().addressed(&"x".repeat(1001)),
        ] {
            assert_eq!(long.map_err(|e| e.code()), Err(Code::PlaceLabelTooLong));
        }
    }
}
