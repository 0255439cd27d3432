//! What cannot be is said, and harms nothing.

use std::process::Command;

use super::machine::SIGNALBOX;
use super::stage::Stage;

/// Runs `signalbox up` with these words, which must fail; answers what it says.
fn refused(data: &std::path::Path, words: &[&str]) -> String {
    let output = Command::new(SIGNALBOX).arg("up").arg("--data").arg(data).args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{words:?}: {text}");
    text
}

#[test]
fn mistakes_are_named() {
    let Some(stage) = Stage::prepared(&[], None) else { return };
    let data = stage.up.data();
    for (words, expected) in [
        (&["--nodes=0"][..], "1..=250"),
        (&["--cluster-cidr=10.0.0.0/8", "--isolated"], "10.0.0.0/8 and 10.243.0.0/24 overlap"),
        (&["--cluster-cidr=10.244.0.0/24", "--isolated"], "10.244.0.0/24: too small for 1 nodes"),
        (&["--cluster-cidr=x"], "invalid"),
        (&["--cluster-cidr=fd00::/48", "--isolated"], "for each family"),
        (
            &["--image=nothing", "--isolated"],
            "--image: \"nothing\" is not of the form NAME[:TAG]=PROGRAM ARGS..",
        ),
        (&["--images=/nonexistent", "--isolated"], "/nonexistent"),
        (&["--isolated", "--listen=192.0.2.77:0"], "--listen"),
    ] {
        let text = refused(data, words);
        assert!(text.contains(expected), "{words:?}: {text}");
    }
    // The last one had its network already; nothing of it is left.
    let record = std::fs::read_to_string(data.join("up.json")).unwrap();
    assert!(record.contains("\"namespaces\": []"), "{record}");
}

#[test]
fn a_directory_has_one_cluster() {
    let Some(stage) = Stage::isolated(&[]) else { return };
    let text = refused(stage.up.data(), &["--isolated", "--listen=127.0.0.1:0"]);
    assert!(text.contains("runs in") && text.contains("already (process "), "{text}");
    stage.backend(1);
}

#[test]
fn an_image_without_a_program_says_so() {
    let Some(stage) = Stage::isolated(&[]) else { return };
    stage.ok("run web --image=nginx");
    let reason = "get pod web -o jsonpath={.status.containerStatuses[0].state.waiting.reason}";
    stage.comes(reason, &|text| text == "ErrImagePull" || text == "ImagePullBackOff", "ErrImagePull");
    let events = "get events --field-selector=involvedObject.name=web -o jsonpath={.items[*].message}";
    stage.comes(events, &|text| text.contains("--image"), "a hint at --image");
}

#[test]
fn who_is_not_root_is_told() {
    if !sys::process::is_root() {
        return;
    }
    let data = std::env::temp_dir().join(format!("signalbox-up-nobody-{}", std::process::id()));
    let mut command = Command::new(SIGNALBOX);
    command.arg("up").arg("--data").arg(&data);
    let output = std::os::unix::process::CommandExt::uid(&mut command, 65534).output();
    // The program may lie where nobody else may go; then there is nothing to see.
    let Ok(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("needs root: run it with sudo"), "{text}");
    assert!(!data.exists());
}
