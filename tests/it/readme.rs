//! The README's first page, as printed, for somebody who pastes all of it at once.

use crate::support::{MASTER, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_steps_work_when_pasted_at_once() {
    let readme = include_str!("../../README.md");
    let block = readme
        .split("```sh\n")
        .find(|block| block.contains("/sandbox/scan"))
        .expect("the steps");
    let steps = block.split("```").next().expect("a block");
    let rig = Rig::new().await;
    let steps = steps
        .replace("http://127.0.0.1:3000", &format!("http://{}", rig.addr()))
        .replace("the-master-key-that-was-printed", MASTER)
        // The event stream has no end.
        .replace("curl -N", "curl -s -N --max-time 3");
    let output = tokio::process::Command::new("sh")
        .args(["-c", &steps])
        .output()
        .await
        .expect("a shell");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains("Message sent to 6281234567890@s.whatsapp.net"),
        "{shown}"
    );
    assert!(
        shown.contains("\"text\":\"Hello\""),
        "the phone read it: {shown}"
    );
    assert!(
        shown.contains("\"text\":\"Hello back\""),
        "the answer is in the stream: {shown}"
    );
}
