//! Places on earth.

use serde::{Deserialize, Serialize};

/// A location on earth. Degrees are kept as text, so that they come out as they went in. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// Degrees north.
    pub latitude: Degrees,
    /// Degrees east.
    pub longitude: Degrees,
    /// What it is called.
    pub name: Option<String>,
    /// Where it is.
    pub address: Option<String>,
}

/// Degrees on the globe; never NaN, so it can be compared. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Degrees(f64);

impl Eq for Degrees {}

impl Degrees {
    /// Degrees between `-most` and `most`.
    pub fn new(value: f64, most: f64) -> Option<Self> {
        (value.abs() <= most).then_some(Self(value))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}
