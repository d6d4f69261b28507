//! The docs page: every endpoint that exists, no other, and examples that run as printed.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use warung::domain::event;

use crate::golden;
use crate::support::{MASTER, Rig};

const PAGE: &str = include_str!("../../assets/docs.html");

/// The routes that the page describes, by its `data-route` attributes.
fn described() -> BTreeSet<String> {
    PAGE.split("data-route=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
        .filter(|route| !route.contains("/sandbox"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_describes_each_route_and_no_other() {
    let rig = Rig::new().await;
    let gateway = rig.server.as_ref().expect("running").gateway();
    let mut served = BTreeSet::new();
    for mount in warung::api::mounts(gateway, &Default::default()) {
        for route in &mount.routes {
            let (method, path) = route.name();
            served.insert(format!("{method} {}{path}", mount.prefix));
        }
    }
    // The page itself and its picture need no words.
    for own in ["GET /", "GET /docs", "GET /favicon.ico"] {
        served.remove(own);
    }
    let described = described();
    let missing: Vec<_> = served.difference(&described).collect();
    let invented: Vec<_> = described.difference(&served).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "missing {missing:?}, invented {invented:?}"
    );
}

/// The examples: those that destroy something come last.
fn examples() -> Vec<String> {
    let plain = |html: &str| {
        html.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    };
    let found = |class: &str| {
        let open = format!("<pre class=\"{class}\"><code>");
        PAGE.split(&open)
            .skip(1)
            .map(|rest| plain(rest.split("</code>").next().unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    [found("run"), found("run last")].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_run_as_printed() {
    let rig = Rig::new().await;
    let token = rig.pair("shop", "6281234567890").await;
    let examples = examples();
    assert!(examples.len() >= 15, "{}", examples.len());
    for example in examples {
        // A stream of events has no end; the example is given a few seconds of it.
        let output = tokio::process::Command::new("timeout")
            .args(["5", "sh", "-c", &example])
            .env("WARUNG", format!("http://{}", rig.addr()))
            .env("KEY", MASTER)
            .env("TOKEN", &token)
            .current_dir(rig.folder.path())
            .output()
            .await
            .expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout);
        let status = output.status.code();
        assert!(
            matches!(status, Some(0 | 124)),
            "{example}\n{status:?} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let refused = serde_json::from_str::<serde_json::Value>(&text)
            .is_ok_and(|answer| answer["status"] == json!("error"));
        assert!(!refused, "{example}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_with_a_tag_and_works_without_a_network() {
    let rig = Rig::new().await;
    for path in ["/", "/docs"] {
        let page = rig.get(path).send().await;
        assert_eq!(page.status, 200);
        assert!(page.headers["content-type"].starts_with("text/html"));
        let tag = page.headers["etag"].clone();
        let again = rig.get(path).header("if-none-match", &tag).send().await;
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
    // Who takes it packed gets it so, under a tag of its own; both are the page of the source.
    let plain = rig.get("/docs").send().await;
    let asks = "gzip, deflate, br";
    let packed = rig
        .get("/docs")
        .header("accept-encoding", asks)
        .send()
        .await;
    assert!(plain.body == PAGE, "run packaging/pages.sh");
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.body.len() * 3 < PAGE.len(), "{}", packed.body.len());
    let mut unpacked = String::new();
    std::io::Read::read_to_string(
        &mut flate2::read::GzDecoder::new(&packed.body[..]),
        &mut unpacked,
    )
    .expect("gzip");
    assert_eq!(unpacked, PAGE);
    assert!(!plain.headers.contains_key("content-encoding"));
    assert_ne!(packed.headers["etag"], plain.headers["etag"]);
    for page in [&plain, &packed] {
        assert_eq!(page.headers["vary"], "accept-encoding");
        assert_eq!(page.headers["content-length"], page.body.len().to_string());
    }
    let tag = packed.headers["etag"].clone();
    let again = rig.get("/docs").header("accept-encoding", asks);
    let again = again.header("if-none-match", &tag).send().await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(
        (&again.headers["etag"], again.headers["vary"].as_str()),
        (&tag, "accept-encoding")
    );
    let icon = rig.get("/favicon.ico").send().await;
    assert_eq!(icon.headers["content-type"], "image/svg+xml");
    let assets = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/packed"));
    for asset in assets.expect("a folder") {
        let path = asset.expect("an entry").path();
        let source = match path.extension().is_some_and(|ending| ending == "gz") {
            true => PAGE.to_owned(),
            false => std::fs::read_to_string(&path).expect("a text"),
        };
        let served = [&plain, &icon].iter().any(|answer| answer.body == source);
        assert!(served, "{} is not served", path.display());
        for foreign in ["src=\"http", "href=\"//", "@import", "<script"] {
            assert!(!source.contains(foreign), "{foreign}");
        }
    }
}

/// The words within `<code>` of a text.
fn codes(html: &str) -> impl Iterator<Item = &str> {
    let parts = html.split("<code>").skip(1);
    parts.map(|rest| rest.split("</code>").next().unwrap_or_default())
}

fn keys(object: &Value) -> BTreeSet<&str> {
    let object = object.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

/// The page has one delivery as an example and tells of each event what its data holds.
#[test]
fn the_page_tells_what_is_delivered_of_every_event() {
    let (_, section) = PAGE.split_once("What a delivery looks like").expect("it");
    let (_, example) = section.split_once("<pre><code>").expect("an example");
    let (example, rest) = example.split_once("</code>").expect("its end");
    let example: Value = serde_json::from_str(example).expect("JSON");
    let (_, table) = rest.split_once("<table>").expect("a table");
    let (table, _) = table.split_once("</table>").expect("its end");
    let usual = keys(&example["data"]);
    let mut told: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    for row in table.split("<tr><td>").skip(1) {
        let (name, text) = row.split_once("</td>").expect("two cells");
        let before = told.last().map(|(_, told)| told.clone());
        if let Some(name) = codes(name).next() {
            told.push((name, BTreeSet::new()));
        }
        let (_, of_event) = told.last_mut().expect("an event");
        of_event.extend(codes(text));
        if text.contains("as above") || text.contains("who and where") {
            of_event.extend(&usual);
        }
        if text.contains("the same") {
            of_event.extend(before.into_iter().flatten());
        }
    }
    let names: BTreeSet<&str> = told.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        event::EventKind::ALL
            .map(event::EventKind::as_str)
            .into_iter()
            .collect()
    );
    let deliveries = golden::deliveries();
    for delivery in &deliveries {
        assert_eq!(keys(delivery), keys(&example), "{delivery}");
        let name = delivery["event"].as_str().expect("a name");
        let (_, told) = told.iter().find(|(told, _)| *told == name).expect("it");
        let untold: Vec<_> = keys(&delivery["data"]).difference(told).copied().collect();
        assert!(
            untold.is_empty(),
            "{name}: the page says nothing of {untold:?}"
        );
    }
    let same = |delivery: &&Value| {
        delivery["event"] == example["event"] && delivery["data"]["type"] == example["data"]["type"]
    };
    let real = deliveries.iter().find(same).expect("one like the example");
    assert_eq!(keys(&real["data"]), usual);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_served_is_told_where_the_source_is() {
    let place = "https://example.org/warung.tar.xz";
    let rig = Rig::with(|config| config.source_url = Some(place.to_owned())).await;
    let page = rig.get("/").send().await;
    let page = String::from_utf8_lossy(&page.body);
    assert!(page.contains("href=\"source\""));
    let offer = rig.get("/source").send().await;
    assert!(offer.headers["content-type"].starts_with("text/plain"));
    let offer = String::from_utf8_lossy(&offer.body);
    assert!(offer.contains("Affero") && offer.contains(place), "{offer}");
}
