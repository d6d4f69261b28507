//! The docs page: every endpoint that exists, no other, and examples that run as printed.

use std::collections::BTreeSet;

use serde_json::json;

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
    assert_eq!(plain.body, PAGE);
    assert_eq!(packed.headers["content-encoding"], "deflate");
    assert!(packed.body.len() * 3 < PAGE.len(), "{}", packed.body.len());
    assert_eq!(
        fdeflate::decompress_to_vec(&packed.body).ok(),
        Some(PAGE.into())
    );
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
    assert_eq!(icon.body, include_str!("../../assets/favicon.svg"));
    for foreign in ["src=\"http", "href=\"//", "@import", "<script"] {
        assert!(!PAGE.contains(foreign), "{foreign}");
    }
}
