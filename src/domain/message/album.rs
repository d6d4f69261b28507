//! Albums: images and videos of one request that WhatsApp shows together, below a head that says how
//! many there are.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::outbox::{Item, SendJob};
use super::settlement::Settlement;
use crate::ids::MessageId;
use crate::wa::message::{MediaKind, OutgoingContent};

/// Puts the head of each album before its first image or video, and tells the others of it.
///
/// Only files that are there count: a head that promises more would show empty frames.
pub(super) fn with_heads(items: Vec<Item>) -> Vec<Item> {
    let mut heads: HashMap<usize, (MessageId, u32, u32)> = HashMap::new();
    for job in items.iter().filter_map(Item::ready) {
        if let (Some(album), OutgoingContent::Media { kind, .. }) = (job.album, &job.what)
            && matches!(kind, MediaKind::Image | MediaKind::Video)
        {
            let head = heads
                .entry(album)
                .or_insert_with(|| (head_id(&job.id), 0, 0));
            match kind {
                MediaKind::Image => head.1 += 1,
                _ => head.2 += 1,
            }
        }
    }
    heads.retain(|_, (_, images, videos)| *images + *videos > 1);
    let mut begun = HashSet::new();
    let mut all = Vec::with_capacity(items.len() + heads.len());
    for mut item in items {
        if let Some(job) = item.ready_mut()
            && let Some(album) = job.album
            && let Some((id, images, videos)) = heads.get(&album)
            && let OutgoingContent::Media {
                kind,
                album: part_of,
                ..
            } = &mut job.what
            && matches!(kind, MediaKind::Image | MediaKind::Video)
        {
            *part_of = Some(id.clone());
            if begun.insert(album) {
                let (images, videos) = (*images, *videos);
                let head = OutgoingContent::Album { images, videos };
                let mut head = SendJob::new(id.clone(), job.to.clone(), head.into());
                head.asked = false;
                // It went before its files did.
                head.settled = job.settled.is_some().then_some(Settlement::Acknowledged);
                all.push(head.into());
            }
        }
        all.push(item);
    }
    all
}

/// The id of an album's head follows from that of its first file, so that a repeated request has
/// the same head.
fn head_id(first: &MessageId) -> MessageId {
    let hash = Sha256::digest(format!("album {first}"));
    let digits = hex::encode_upper(&hash[..9]);
    MessageId::parse(&format!("3EB0{digits}")).expect("hex digits are a legal id")
}
