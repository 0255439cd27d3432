//! A process that writes is killed, a hundred times, in the middle of it: what it had acknowledged is there.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use store::{Store, Window, Write};

/// Where the process that is killed finds its file.
const FILE: &str = "SIGNALBOX_STORE_TEST_FILE";
const ROUNDS: u32 = 100;
const WRITERS: u32 = 8;

/// Not a test: what the killed process does. Writes and says what was acknowledged, one a line.
#[test]
fn writer() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let store = Store::open(Path::new(&file), Window::default()).unwrap();
    println!("open at {}", store.revision());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            writers.spawn(async move {
                for number in 0_u32.. {
                    let key: std::sync::Arc<str> = format!("{writer}/{}", number % 50).into();
                    let value = format!("{}:{number}", "x".repeat(number as usize % 700));
                    let write = Write::Put {
                        table: "pods".into(),
                        key: key.clone(),
                        value: value.into_bytes().into(),
                    };
                    let (revision, ()) = store.write(move |_| Ok::<_, ()>((vec![write], ()))).await.unwrap();
                    println!("{key} {revision} {number}");
                }
            });
        }
        writers.join_next().await.unwrap().unwrap();
    });
}

#[test]
fn nothing_acknowledged_is_lost() {
    let folder = std::env::temp_dir().join(format!("signalbox-crash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("store");
    let mut acknowledged: BTreeMap<String, (u64, u32)> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer", "--exact", "--nocapture", "--test-threads=1"])
            .env(FILE, &file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        // At a moment that is another one in each round, some of them before it is open.
        let moment = Duration::from_micros(u64::from(round * 7919 % 40_000));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5) + moment);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let mut text = String::new();
        BufReader::new(output).take(1 << 24).read_to_string(&mut text).unwrap();
        killer.join().unwrap();
        // The last line may be cut off in the middle.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.as_bytes().lines().map(Result::unwrap) {
            let words: Vec<&str> = line.split(' ').collect();
            if let [key, revision, number] = words[..]
                && let (Ok(revision), Ok(number)) = (revision.parse(), number.parse())
            {
                acknowledged.insert(key.to_owned(), (revision, number));
            }
        }
        let store = Store::open(&file, Window::default()).unwrap();
        for (key, (revision, number)) in &acknowledged {
            let entry = store.get("pods", key).0.unwrap_or_else(|| panic!("round {round}: {key} is lost"));
            assert!(entry.revision >= *revision, "round {round}: {key} is older than {revision}");
            if entry.revision == *revision {
                assert!(entry.value.ends_with(format!(":{number}").as_bytes()), "round {round}: {key}");
            }
        }
        drop(store);
    }
    assert!(acknowledged.len() > 50, "the writer got to write: {}", acknowledged.len());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn nobody_else_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("signalbox-store-mode-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("store");
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    drop(store::Store::open(&file, store::Window::default()).unwrap());
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(store::Store::open(&file, store::Window::default()).unwrap());
    assert_eq!(mode(), 0o600);
    std::fs::remove_dir_all(&folder).unwrap();
}
