//! QR codes as images and text.

use std::io::Cursor;

use image::{ImageFormat, Luma};
use qrcode::render::{svg, unicode};
use qrcode::{EcLevel, QrCode};

use crate::error::{Error, Result};

/// Pixels per module of the picture: about 500 pixels in all, easy to scan from a screen.
const SCALE: u32 = 7;

fn code(text: &str) -> Result<QrCode> {
    QrCode::with_error_correction_level(text, EcLevel::L).map_err(Error::internal)
}

/// A PNG image.
pub(super) fn png(text: &str) -> Result<Vec<u8>> {
    let picture = code(text)?
        .render::<Luma<u8>>()
        .module_dimensions(SCALE, SCALE)
        .build();
    let mut out = Cursor::new(Vec::new());
    picture
        .write_to(&mut out, ImageFormat::Png)
        .map_err(Error::internal)?;
    Ok(out.into_inner())
}

/// An SVG image.
pub(super) fn svg(text: &str) -> Result<String> {
    Ok(code(text)?
        .render::<svg::Color<'_>>()
        .min_dimensions(500, 500)
        .build())
}

/// Half-block characters for a terminal with light letters on a dark ground.
pub fn terminal(text: &str) -> Result<String> {
    Ok(code(text)?
        .render::<unicode::Dense1x2>()
        .dark_color(unicode::Dense1x2::Light)
        .light_color(unicode::Dense1x2::Dark)
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_are_what_they_say() {
        let png = png("2@abc,def").expect("a picture");
        let picture = image::load_from_memory_with_format(&png, ImageFormat::Png).expect("a PNG");
        // 21 modules of the code, and four white ones around it.
        assert_eq!(
            (picture.width(), picture.height()),
            (29 * SCALE, 29 * SCALE)
        );
        assert!(svg("2@abc").expect("a picture").contains("<svg"));
        assert!(terminal("2@abc").expect("text").lines().count() > 10);
    }
}
