//! Values as they lie in a store that somebody may have damaged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warung::domain::event::Event;
use warung::domain::message::Message;
use warung::domain::event::delivery::Delivery;
use warung::domain::event::webhook::Webhook;
use warung::store::record::decode;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::<Event>(bytes);
    let _ = decode::<Message>(bytes);
    let _ = decode::<Webhook>(bytes);
    let _ = decode::<Delivery>(bytes);
});
