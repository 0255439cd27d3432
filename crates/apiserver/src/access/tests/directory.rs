//! The directory of keys: what is made, kept, refused and made anew.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::access::authority::Subject;
use crate::access::{certificate, kubeconfig};

/// In the order in which they are made.
const FILES: [&str; 7] = ["ca.key", "ca.crt", "server.key", "server.crt", "admin.key", "admin.crt", "sa.key"];

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder.join("pki")).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

fn said(folder: &Path, name: &str) -> certificate::Said {
    let der = CertificateDer::from_pem_file(folder.join("pki").join(name)).unwrap();
    certificate::read(&der).unwrap()
}

#[test]
fn the_first_start_makes_everything_and_the_second_nothing() {
    let folder = Folder::new();
    open(&folder);
    let made = files(&folder);
    let mut wanted = FILES;
    wanted.sort_unstable();
    assert_eq!(made.keys().collect::<Vec<_>>(), wanted.iter().collect::<Vec<_>>());
    for name in FILES {
        let mode = fs::metadata(folder.join("pki").join(name)).unwrap().mode() & 0o777;
        assert_eq!(mode, if name.ends_with(".key") { 0o600 } else { 0o644 }, "{name}");
    }
    assert_eq!(fs::metadata(folder.join("pki")).unwrap().mode() & 0o777, 0o700);
    Authority::open(&folder, &names(), at(NOW + 300 * DAY)).unwrap();
    assert_eq!(files(&folder), made);

    let server = said(&folder, "server.crt");
    let served: Vec<&str> = server.serves.iter().map(String::as_str).collect();
    assert_eq!(
        served,
        [
            "10.96.0.1",
            "127.0.0.1",
            "192.0.2.7",
            "::1",
            "::2",
            "api.example.org",
            "box",
            "fd00:10:96::1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost"
        ]
    );
    let admin = said(&folder, "admin.crt");
    assert_eq!(
        (admin.name.as_str(), &admin.groups[..]),
        ("kubernetes-admin", &["system:masters".to_owned()][..])
    );
    assert!(said(&folder, "ca.crt").is_authority && !admin.is_authority && !server.is_authority);
}

/// Being killed after any of the writes, or in the middle of the next.
#[test]
fn a_start_that_was_killed_half_way_is_gone_on_with() {
    let whole = Folder::new();
    open(&whole);
    let all = files(&whole);
    for count in 0..=FILES.len() {
        let folder = Folder::new();
        let pki = folder.join("pki");
        fs::create_dir(&pki).unwrap();
        let put = |name: &str, mode: u32, bytes: &[u8]| {
            fs::write(pki.join(name), bytes).unwrap();
            fs::set_permissions(pki.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        for name in &FILES[..count] {
            put(name, if name.ends_with(".key") { 0o600 } else { 0o644 }, &all[*name]);
        }
        if let Some(next) = FILES.get(count) {
            put(&format!(".{next}.new"), 0o644, b"-----BEGIN");
        }
        fs::set_permissions(&pki, fs::Permissions::from_mode(0o700)).unwrap();
        open(&folder);
        let made = files(&folder);
        assert_eq!(made.len(), FILES.len(), "{count}");
        for name in &FILES[..count] {
            assert_eq!(made[*name], all[*name], "{count} {name}");
        }
        let key = fs::metadata(pki.join("sa.key")).unwrap().mode() & 0o777;
        assert_eq!(key, 0o600, "{count}");
    }
}

#[test]
fn what_is_damaged_or_foreign_is_named_and_left_alone() {
    let foreign = Folder::new();
    open(&foreign);
    let foreign = files(&foreign);
    for name in FILES {
        let folder = Folder::new();
        open(&folder);
        let own = files(&folder);
        let half = own[name].len() / 2;
        let half = if own[name][half] == b'\n' { half + 1 } else { half };
        let mut flipped = own[name].clone();
        flipped[half] ^= 1;
        let mut wrong: Vec<(&str, Vec<u8>)> = vec![
            ("empty", Vec::new()),
            ("garbage", b"garbage\n".to_vec()),
            ("cut off", own[name][..half].to_vec()),
            ("no text", vec![0xff; 100]),
            ("another certificate", own["admin.crt"].clone()),
        ];
        wrong.push(("flipped", flipped));
        // Any key of the right form can sign tokens.
        if name != "sa.key" {
            wrong.push(("foreign", foreign[name].clone()));
        }
        for (what, bytes) in wrong {
            if bytes == own[name] {
                continue;
            }
            fs::write(folder.join("pki").join(name), &bytes).unwrap();
            let before = files(&folder);
            let error = Authority::open(&folder, &names(), at(NOW)).map(drop).expect_err(what).to_string();
            // A key that does not fit is told by its certificate.
            let stem = name.split('.').next().unwrap();
            assert!(
                error.contains(&format!("/pki/{stem}.")) || error.contains("ca."),
                "{name} {what}: {error}"
            );
            assert_eq!(files(&folder), before, "{name} {what}");
        }
    }
}

#[test]
fn a_key_that_is_missing_or_readable_by_others_is_no_key() {
    for (name, why) in [
        ("ca.key", "ca.crt: its key"),
        ("server.key", "server.crt: its key"),
        ("admin.key", "admin.crt: its key"),
    ] {
        let folder = Folder::new();
        open(&folder);
        fs::remove_file(folder.join("pki").join(name)).unwrap();
        let error = Authority::open(&folder, &names(), at(NOW)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let folder = Folder::new();
    open(&folder);
    for (path, mode, why) in [
        ("pki/sa.key", 0o640, "sa.key: others could read the secret in it (mode 640 instead of 600)"),
        ("pki", 0o770, "pki: others may write to it (mode 770)"),
    ] {
        let right = fs::metadata(folder.join(path)).unwrap().permissions();
        fs::set_permissions(folder.join(path), fs::Permissions::from_mode(mode)).unwrap();
        let error = Authority::open(&folder, &names(), at(NOW)).unwrap_err().to_string();
        assert!(error.ends_with(why), "{error}");
        fs::set_permissions(folder.join(path), right).unwrap();
    }
    open(&folder);
}

#[test]
fn the_server_s_certificate_is_made_anew_when_it_must() {
    let folder = Folder::new();
    let authority = open(&folder);
    let first = files(&folder);
    assert!(!authority.renew_if_needed(at(NOW + 300 * DAY)).unwrap());
    assert_eq!(files(&folder), first);
    assert!(authority.renew_if_needed(at(NOW + 340 * DAY)).unwrap());
    assert!(!authority.renew_if_needed(at(NOW + 340 * DAY)).unwrap());
    let second = files(&folder);
    let changed: Vec<&String> = first.keys().filter(|name| first[*name] != second[*name]).collect();
    assert_eq!(changed, ["server.crt"]);
    assert_eq!(said(&folder, "server.crt").not_after, NOW + (340 + 365) * DAY);

    // Other names; and at a start the administrator's as well.
    let more = Names { extra: vec!["other.example.org".into()], ..names() };
    Authority::open(&folder, &more, at(NOW + 341 * DAY)).unwrap();
    assert!(said(&folder, "server.crt").serves.contains("other.example.org"));
    assert!(!said(&folder, "server.crt").serves.contains("api.example.org"));
    assert_eq!(said(&folder, "admin.crt").not_after, NOW + (341 + 365) * DAY);
    let third = files(&folder);
    for name in FILES.iter().filter(|name| name.ends_with(".key") || **name == "ca.crt") {
        assert_eq!(third[*name], first[*name], "{name}");
    }

    // The clock was wrong when it was made.
    Authority::open(&folder, &more, at(NOW - DAY)).unwrap();
    assert!(said(&folder, "server.crt").not_before < NOW - DAY);

    // The authority itself ends some day, which is no reason to make another one.
    let error = Authority::open(&folder, &names(), at(NOW + 3651 * DAY)).unwrap_err().to_string();
    assert!(error.contains("ca.crt: it has expired"), "{error}");
}

#[test]
fn a_name_that_no_certificate_can_have_is_refused() {
    let folder = Folder::new();
    let wrong = Names { extra: vec!["bücher.example".into()], ..names() };
    let error = Authority::open(&folder, &wrong, at(NOW)).unwrap_err().to_string();
    assert!(error.starts_with("make a certificate for kube-apiserver: "), "{error}");
}

#[test]
fn kubeconfigs_are_secrets_that_kubectl_reads() {
    let folder = Folder::new();
    let authority = open(&folder);
    let file = folder.join("admin.conf");
    for _ in 0..2 {
        kubeconfig::write(&file, &authority.admin_kubeconfig("https://127.0.0.1:6443")).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }
    let node = authority.issue(&Subject::node("a: \"b\""), 7, at(NOW)).unwrap();
    let text = authority.kubeconfig("https://[::1]:6443", &node);
    let config: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(config["users"][0]["name"], "system:node:a: \"b\"");
    assert_eq!(config["current-context"], config["contexts"][0]["name"]);
    assert_eq!(config["clusters"][0]["cluster"]["server"], "https://[::1]:6443");

    // What somebody else keeps there stays.
    let foreign = folder.join("config");
    let theirs = authority.admin_kubeconfig("https://a").replace("signalbox", "theirs");
    for text in [
        format!("{theirs}  server: b\n"),
        "certificate-authority-data: eA==\nserver: x\n".into(),
        String::new(),
    ] {
        fs::write(&foreign, &text).unwrap();
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o600)).unwrap();
        let error = kubeconfig::write(&foreign, &authority.admin_kubeconfig("https://a")).unwrap_err();
        assert!(error.to_string().ends_with("config: it is a kubeconfig of other servers"), "{error}");
        assert_eq!(fs::read_to_string(&foreign).unwrap(), text);
    }
    kubeconfig::write(&file, &authority.admin_kubeconfig("https://localhost:6443")).unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains("https://localhost:6443"));

    let kubectl = std::process::Command::new("kubectl")
        .args(["config", "view", "--raw", "-o", "json", "--kubeconfig"])
        .arg(&file)
        .output();
    let Ok(output) = kubectl else { return };
    let viewed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(viewed["current-context"], "kubernetes-admin@signalbox");
    assert_eq!(
        viewed["users"][0]["user"]["client-certificate-data"].as_str().map(str::is_empty),
        Some(false)
    );
}
