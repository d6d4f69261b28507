//! Under which terms the program may be passed on, and where its source is.
//!
//! Our own sources are under MIT. The program holds code under AGPL-3.0-only (`wacore-libsignal`), so
//! that it may be passed on only under that licence, and offers its source to whom it serves.

use std::io::Read;

use flate2::read::GzDecoder;

/// The terms in two lines, for `warung --version`.
pub const TERMS: &str = "\
Licence of this program: AGPL-3.0-only (its own sources: MIT). No warranty.
`warung licenses` shows all licences and notices, and where the source is.";

/// Where the source of this version is when no setting says it: the package's repository, if it has one.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

const OWN: &str = include_str!("../LICENSE");
/// The licences and notices of all parts, the AGPL and the LGPL. Packed, because it is a quarter of a
/// megabyte that hardly anybody reads. `packaging/notices.sh` packs it.
const PACKED: &[u8] = include_bytes!("../packaging/notices.txt.gz");

/// Everything that must go with a copy of the program, for `warung licenses`; about 270 KB.
#[must_use]
pub fn notices(source_url: Option<&str>) -> String {
    let line = "=".repeat(80);
    [&source_offer(source_url), OWN, &of_others()].join(&format!("\n{line}\n\n"))
}

fn of_others() -> String {
    let mut text = String::new();
    // Unpacking our own bytes does not fail; a test unpacks them.
    let _ = GzDecoder::new(PACKED).read_to_string(&mut text);
    text
}

/// The licence, and the offer of source that section 13 of the AGPL asks for: plain text of a few
/// lines, without escaping for HTML.
///
/// `source_url` is the operator's setting. Who runs a changed program must set it.
#[must_use]
pub fn source_offer(source_url: Option<&str>) -> String {
    let repository = Some(REPOSITORY).filter(|url| !url.is_empty());
    let place = match source_url.or(repository) {
        Some(url) => format!("Its source is at {url}"),
        None => "Its source is given, free of charge, by whoever runs it or gave it to you: \
                 ask them"
            .to_owned(),
    };
    format!(
        "Warung {} is free software under the GNU Affero General Public License, version 3; \
         its own sources are under the MIT licence. There is no warranty.\n{place}.\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offer_names_the_operators_place() {
        let offer = source_offer(Some("https://example.org/warung.tar.xz"));
        assert!(offer.contains("Affero"), "{offer}");
        assert!(
            offer.contains("at https://example.org/warung.tar.xz.\n"),
            "{offer}"
        );
        assert!(offer.contains(env!("CARGO_PKG_VERSION")), "{offer}");
    }

    #[test]
    fn without_a_place_there_is_an_offer_all_the_same() {
        let offer = source_offer(None);
        match REPOSITORY {
            "" => assert!(offer.contains("ask them"), "{offer}"),
            url => assert!(offer.contains(url), "{offer}"),
        }
    }

    #[test]
    fn what_is_packed_are_the_texts_beside_it() {
        let texts = [
            include_str!("../packaging/THIRD-PARTY.txt"),
            include_str!("../LICENSES/AGPL-3.0-only.txt"),
            include_str!("../LICENSES/LGPL-2.1-or-later.txt"),
        ];
        let line = format!("\n{}\n\n", "=".repeat(80));
        assert!(of_others() == texts.join(&line), "run packaging/notices.sh");
    }

    #[test]
    fn the_notices_hold_every_licence_that_the_program_needs() {
        let notices = notices(None);
        for needed in [
            "Copyright (c) 2026 the Warung developers",
            // The code that decides over the whole, and its licence to the end.
            "Signal Messenger, LLC",
            "GNU AFFERO GENERAL PUBLIC LICENSE",
            "13. Remote Network Interaction",
            "GNU LESSER GENERAL PUBLIC LICENSE",
            "GNU C Library",
            "Copyright (c) 2010, Google Inc.",
            "João Lucas de Oliveira Lopes",
            "Apache License",
            "ISC License",
            "UNICODE LICENSE V3",
            "CDLA-Permissive-2.0",
            "zlib License",
        ] {
            assert!(notices.contains(needed), "{needed}");
        }
    }
}
