//! Which address a pod gets: the next free one of each of the node's ranges.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::IpNet;

/// The ranges of a node, and what of them is in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pool {
    ranges: Vec<(IpNet, u128)>,
    used: BTreeSet<IpAddr>,
}

impl Pool {
    /// A pool of these ranges; the first is where pods have their usual address.
    pub(crate) fn new(ranges: &[IpNet]) -> Self {
        Self { ranges: ranges.iter().map(|range| (*range, 0)).collect(), used: BTreeSet::new() }
    }

    /// Says that an address is in use.
    pub(crate) fn mark(&mut self, address: IpAddr) {
        self.used.insert(address);
    }

    /// Takes an address of each range: the one after the last that was taken, so that one that was given back rests a
    /// while. `None`: a range has no more.
    pub(crate) fn take(&mut self) -> Option<Vec<IpAddr>> {
        let mut taken = Vec::new();
        let mut places = Vec::new();
        for (range, last) in &self.ranges {
            let (address, place) = next(*range, *last, &self.used)?;
            taken.push(address);
            places.push(place);
        }
        for ((_, last), place) in self.ranges.iter_mut().zip(places) {
            *last = place;
        }
        self.used.extend(&taken);
        (!taken.is_empty()).then_some(taken)
    }

    /// Gives addresses back.
    pub(crate) fn give_back(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            self.used.remove(address);
        }
    }
}

/// The first free address after a place in the range. The range's own address, the one after it (a gateway, by custom)
/// and the last one (broadcast) are not for pods.
fn next(range: IpNet, last: u128, used: &BTreeSet<IpAddr>) -> Option<(IpAddr, u128)> {
    let width = u32::from(range.max_prefix_len() - range.prefix_len());
    // As many attempts as there can be used ones, and one more.
    let size = if width >= 64 { u128::from(u64::MAX) } else { 1 << width };
    let count = size.checked_sub(3).filter(|count| *count > 0)?;
    let attempts = u128::try_from(used.len()).unwrap_or(u128::MAX).min(count - 1);
    (0..=attempts).find_map(|step| {
        let place = 2 + (last.saturating_sub(1) + step) % count;
        let address = at(range, place);
        (!used.contains(&address)).then_some((address, place))
    })
}

fn at(range: IpNet, place: u128) -> IpAddr {
    match range {
        IpNet::V4(range) => {
            let place = u32::try_from(place).unwrap_or(0);
            IpAddr::V4(u32::from(range.network()).wrapping_add(place).into())
        }
        IpNet::V6(range) => IpAddr::V6(u128::from(range.network()).wrapping_add(place).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(ranges: &str) -> Pool {
        Pool::new(&ranges.split(' ').map(|range| range.parse().unwrap()).collect::<Vec<_>>())
    }

    fn text(taken: Option<Vec<IpAddr>>) -> String {
        taken.map_or("-".to_owned(), |taken| {
            taken.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        })
    }

    #[test]
    fn addresses_are_taken_in_turn() {
        let mut pool = pool("10.0.0.0/29 fd00::/64");
        pool.mark("10.0.0.3".parse().unwrap());
        assert_eq!(text(pool.take()), "10.0.0.2 fd00::2");
        assert_eq!(text(pool.take()), "10.0.0.4 fd00::3");
        pool.give_back(&["10.0.0.2".parse().unwrap()]);
        assert_eq!(text(pool.take()), "10.0.0.5 fd00::4");
        assert_eq!(text(pool.take()), "10.0.0.6 fd00::5");
        assert_eq!(text(pool.take()), "10.0.0.2 fd00::6");
        assert_eq!(text(pool.take()), "-");
    }

    #[test]
    fn ranges_that_are_too_small_give_nothing() {
        assert_eq!(text(pool("10.0.0.0/31").take()), "-");
        assert_eq!(text(pool("10.0.0.0/32").take()), "-");
        assert_eq!(text(pool("10.0.0.0/30").take()), "10.0.0.2");
        assert_eq!(text(Pool::default().take()), "-");
    }
}
