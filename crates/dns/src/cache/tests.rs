//! The cache under a clock of its own.

use super::*;
use crate::config::Stale;
use crate::wire::{HEADER, Rcode, write_query};

/// A cache and what is asked of it.
struct Play {
    cache: Cache,
}

fn settings() -> Settings {
    Settings { zones: vec![Name::root()], ..Settings::default() }
}

fn wire(name: &str) -> Vec<u8> {
    name.parse::<Name>().expect("a name").as_wire().to_vec()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Play {
    fn new(settings: Settings) -> Self {
        Self { cache: Cache::new(settings) }
    }

    fn keep(&self, (name, at): (&str, u64), rcode: Rcode, lines: &str) -> Option<u32> {
        let (key, kept) = answer(name, rcode, lines);
        self.cache.insert(&key, &kept, secs(at))
    }

    /// `name`, with `+do` or `+cd` behind it.
    fn find(&self, name: &str, at: u64) -> String {
        let (name, option) = name.split_once('+').unwrap_or((name, ""));
        let mut asked = [0; HEADER + 300];
        let flags = if option == "cd" { flag::CHECKING_DISABLED } else { 0 };
        let edns = (option == "do").then_some((1232, true));
        let len = write_query(&mut asked, (1, flags), (&wire(name), Type::A), edns).expect("it fits");
        let query = Query::read(&asked[..len]).expect("it is one");
        let mark = |refresh| if refresh { " again" } else { "" };
        match self.cache.find(&query, secs(at)) {
            Found::Missing => "missing".to_owned(),
            Found::Fresh { kept, ttl, refresh } => format!("{} {ttl}{}", kept.rcode(), mark(refresh)),
            Found::Stale { kept, refresh } => format!("{} stale{}", kept.rcode(), mark(refresh)),
        }
    }
}

fn answer(name: &str, rcode: Rcode, lines: &str) -> (Key, Arc<Kept>) {
    let response = response(1, (name, Type::A), rcode, lines);
    let kept = Kept::read((&wire(name), Type::A), &response).expect("it is read");
    (Key::new(&wire(name), Type::A, (false, false)), Arc::new(kept))
}

const ADDRESS: &str = "answer a.org A 30 1.2.3.4";

#[test]
fn answers_are_true_for_their_time() {
    let play = Play::new(settings());
    assert_eq!(play.find("a.org", 0), "missing");
    assert_eq!(play.keep(("a.org", 10), Rcode::NO_ERROR, ADDRESS), Some(30));
    for (name, at, wanted) in [
        ("a.org", 10, "NOERROR 30"),
        ("a.org", 25, "NOERROR 15"),
        ("a.org", 39, "NOERROR 1"),
        ("a.org", 40, "missing"),
        ("a.org+do", 10, "missing"),
        ("a.org+cd", 10, "missing"),
        ("b.org", 10, "missing"),
    ] {
        assert_eq!(play.find(name, at), wanted, "{name} {at}");
    }
}

#[test]
fn times_have_bounds() {
    let mut settings = settings();
    settings.success = Share { entries: 10, longest: 60, shortest: 7 };
    settings.denial = Share { entries: 10, longest: 20, shortest: 0 };
    settings.not_success = vec!["x.org".parse().expect("a name")];
    settings.zones = vec!["org".parse().expect("a name")];
    let play = Play::new(settings);
    for (name, rcode, lines, wanted) in [
        ("a.org", Rcode::NO_ERROR, "answer a.org A 900 1.2.3.4", Some(60)),
        ("a.org", Rcode::NO_ERROR, "answer a.org A 0 1.2.3.4", Some(7)),
        ("a.org", Rcode::NO_ERROR, "authority org SOA 60 40", Some(20)),
        ("a.org", Rcode::NX_DOMAIN, "authority org SOA 10 40", Some(10)),
        ("a.org", Rcode::NX_DOMAIN, "authority org SOA 10 0", None),
        ("a.org", Rcode::NX_DOMAIN, "", None),
        ("a.org", Rcode::NO_ERROR, "", None),
        ("a.org", Rcode::SERV_FAIL, "", Some(5)),
        ("a.org", Rcode::REFUSED, "", None),
        ("a.x.org", Rcode::NO_ERROR, "answer a.x.org A 30 1.2.3.4", None),
        ("a.net", Rcode::NO_ERROR, "answer a.net A 30 1.2.3.4", None),
    ] {
        assert_eq!(play.keep((name, 0), rcode, lines), wanted, "{name} {rcode} {lines}");
    }
}

#[test]
fn old_answers_are_given_when_that_is_wanted() {
    let mut settings = settings();
    settings.stale = Some(Stale { age: secs(100), verifies: false });
    let play = Play::new(settings);
    play.keep(("a.org", 0), Rcode::NO_ERROR, ADDRESS);
    for (at, wanted) in [
        (29, "NOERROR 1"),
        (30, "NOERROR stale again"),
        (31, "NOERROR stale"),
        (36, "NOERROR stale again"),
        (129, "NOERROR stale again"),
        (130, "missing"),
    ] {
        assert_eq!(play.find("a.org", at), wanted, "{at}");
    }
    play.keep(("a.org", 40), Rcode::SERV_FAIL, "");
    assert_eq!(play.find("a.org", 41), "NOERROR stale");
    play.keep(("a.org", 130), Rcode::SERV_FAIL, "");
    assert_eq!(play.find("a.org", 131), "SERVFAIL 4");
    assert_eq!(play.find("a.org", 135), "missing");
}

#[test]
fn what_is_popular_is_asked_for_before_its_end() {
    let mut settings = settings();
    settings.prefetch = Some(Prefetch { amount: 3, within: secs(10), percentage: 50 });
    let play = Play::new(settings);
    play.keep(("a.org", 0), Rcode::NO_ERROR, ADDRESS);
    for (at, wanted) in [
        (1, "NOERROR 29"),
        (2, "NOERROR 28"),
        (3, "NOERROR 27"),
        (12, "NOERROR 18"),
        (16, "NOERROR 14 again"),
        (17, "NOERROR 13"),
        (21, "NOERROR 9 again"),
    ] {
        assert_eq!(play.find("a.org", at), wanted, "{at}");
    }
    play.keep(("b.org", 0), Rcode::NO_ERROR, "answer b.org A 30 1.2.3.4");
    for at in [1, 12, 23, 24] {
        assert!(!play.find("b.org", at).contains("again"), "{at}");
    }
    assert_eq!(play.cache.tally().prefetches, 2);
}

#[test]
fn what_nobody_asks_for_goes_first() {
    let mut settings = settings();
    settings.success.entries = 3;
    let play = Play::new(settings);
    let keep =
        |name: &str, at| play.keep((name, at), Rcode::NO_ERROR, &format!("answer {name} A 30 1.2.3.4"));
    let there = |at| {
        ["a", "b", "c", "d", "e"]
            .into_iter()
            .filter(|name| play.find(name, at) != "missing")
            .collect::<String>()
    };
    for name in ["a", "b", "c"] {
        keep(name, 0);
    }
    play.find("a", 1);
    play.find("c", 1);
    keep("d", 1);
    assert_eq!(there(1), "acd");
    play.keep(("e", 1), Rcode::NX_DOMAIN, "authority org SOA 60 20");
    assert_eq!(there(1), "acde");
    keep("b", 100);
    assert_eq!(there(100), "b");
    let tally = play.cache.tally();
    assert_eq!((tally.entries, tally.evictions), ([3, 1], [2, 0]));
}

#[test]
fn an_answer_of_another_kind_takes_the_place() {
    let play = Play::new(settings());
    play.keep(("a.org", 0), Rcode::NO_ERROR, ADDRESS);
    play.keep(("a.org", 1), Rcode::NX_DOMAIN, "authority org SOA 60 20");
    assert_eq!(play.find("a.org", 1), "NXDOMAIN 20");
    play.keep(("a.org", 2), Rcode::NO_ERROR, ADDRESS);
    assert_eq!(play.find("a.org", 2), "NOERROR 30");
    assert_eq!(play.cache.tally().entries, [1, 0]);
}

proptest::proptest! {
    /// Whatever comes, bounds hold, and nothing is counted twice or forgotten.
    #[test]
    fn bounds_hold(bytes in 500usize..20_000, entries in 1usize..20, steps in proptest::collection::vec((0u8..30, 0u8..4, 0u64..20), 1..200)) {
        let mut settings = settings();
        settings.bytes = bytes;
        settings.success.entries = entries;
        settings.denial.entries = entries;
        let play = Play::new(settings);
        let mut now = 0;
        for (name, what, later) in steps {
            now += later;
            let name = format!("n{name}.org");
            match what {
                0 => drop(play.keep((&name, now), Rcode::NO_ERROR, &format!("answer {name} A 30 1.2.3.4"))),
                1 => drop(play.keep((&name, now), Rcode::NX_DOMAIN, "authority org SOA 60 20")),
                2 => drop(play.keep((&name, now), Rcode::SERV_FAIL, "")),
                _ => drop(play.find(&name, now)),
            }
            let tally = play.cache.tally();
            proptest::prop_assert!(tally.bytes <= bytes as u64 && tally.entries.iter().all(|count| *count <= entries as u64));
            let shard = play.cache.shards[0].lock().expect("nothing panicked");
            let all = shard.parts.iter().flat_map(|part| part.entries.iter().flatten());
            proptest::prop_assert_eq!(all.clone().map(Entry::size).sum::<usize>(), shard.used);
            proptest::prop_assert_eq!(all.count(), shard.places.len());
        }
    }
}
