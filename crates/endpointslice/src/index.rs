//! Finds pods by selectors and Services by labels without looking at all of them. Pure.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::object::{Pairs, Text, selects};

type Pair = (Text, Text);

/// Pods by their labels. Pods with the same labels share a place, so that a selector looks at sets of labels only.
#[derive(Debug, Default)]
pub(crate) struct Labelled {
    sets: FxHashMap<Pairs, FxHashSet<Text>>,
    by_pair: FxHashMap<Pair, FxHashSet<Pairs>>,
}

impl Labelled {
    pub(crate) fn insert(&mut self, labels: &Pairs, name: Text) {
        let set = self.sets.entry(labels.clone()).or_default();
        if set.is_empty() {
            for pair in labels.iter() {
                self.by_pair.entry(pair.clone()).or_default().insert(labels.clone());
            }
        }
        set.insert(name);
    }

    pub(crate) fn remove(&mut self, labels: &Pairs, name: &str) {
        let Some(set) = self.sets.get_mut(labels) else { return };
        set.remove(name);
        if !set.is_empty() {
            return;
        }
        self.sets.remove(labels);
        for pair in labels.iter() {
            if let Some(sets) = self.by_pair.get_mut(pair) {
                sets.remove(labels);
                if sets.is_empty() {
                    self.by_pair.remove(pair);
                }
            }
        }
    }

    /// Answers the names of what a selector selects, sorted.
    pub(crate) fn select(&self, selector: &[Pair]) -> Vec<&Text> {
        let sets = selector.iter().map(|pair| self.by_pair.get(pair));
        let Some(Some(fewest)) = sets.min_by_key(|sets| sets.map_or(0, FxHashSet::len)) else {
            return Vec::new();
        };
        let sets = fewest.iter().filter(|labels| selects(selector, labels));
        let mut names: Vec<&Text> = sets.filter_map(|labels| self.sets.get(labels)).flatten().collect();
        names.sort_unstable();
        names
    }
}

/// Services by their selectors.
#[derive(Debug, Default)]
pub(crate) struct Selectors {
    by_pair: FxHashMap<Pair, Vec<(Pairs, Text)>>,
}

impl Selectors {
    pub(crate) fn insert(&mut self, selector: &Pairs, name: Text) {
        if let Some(first) = selector.first() {
            self.by_pair.entry(first.clone()).or_default().push((selector.clone(), name));
        }
    }

    pub(crate) fn remove(&mut self, selector: &Pairs, name: &str) {
        let Some(first) = selector.first() else { return };
        if let Some(services) = self.by_pair.get_mut(first) {
            services.retain(|(_, service)| &**service != name);
            if services.is_empty() {
                self.by_pair.remove(first);
            }
        }
    }

    /// Answers the names of the Services that select these labels.
    pub(crate) fn selecting<'a>(&'a self, labels: &'a [Pair]) -> impl Iterator<Item = &'a Text> {
        let candidates = labels.iter().filter_map(|pair| self.by_pair.get(pair)).flatten();
        candidates.filter(|(selector, _)| selects(selector, labels)).map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Pairs {
        text.split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    #[test]
    fn selectors_find_pods_and_pods_find_selectors() {
        let pods = [("p1", "app=a tier=web"), ("p2", "app=a tier=db"), ("p3", "app=b tier=web"), ("p4", "")];
        let services = [("s1", "app=a"), ("s2", "app=a tier=web"), ("s3", "tier=web"), ("s4", "app=c")];
        let (mut labelled, mut selectors) = (Labelled::default(), Selectors::default());
        pods.iter().for_each(|(name, labels)| labelled.insert(&pairs(labels), (*name).into()));
        services.iter().for_each(|(name, selector)| selectors.insert(&pairs(selector), (*name).into()));
        let select = |labelled: &Labelled, selector: &str| {
            labelled
                .select(&pairs(selector))
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let selecting = |selectors: &Selectors, labels: &str| {
            let mut names: Vec<String> =
                selectors.selecting(&pairs(labels)).map(|name| name.to_string()).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(select(&labelled, "app=a"), "p1 p2");
        assert_eq!(select(&labelled, "app=a tier=web"), "p1");
        assert_eq!(select(&labelled, "tier=web app=c"), "");
        assert_eq!(selecting(&selectors, "app=a tier=web"), "s1 s2 s3");
        assert_eq!(selecting(&selectors, "app=b tier=web"), "s3");
        labelled.remove(&pairs("app=a tier=web"), "p1");
        selectors.remove(&pairs("app=a"), "s1");
        assert_eq!(select(&labelled, "app=a"), "p2");
        assert_eq!(selecting(&selectors, "app=a tier=web"), "s2 s3");
        for (name, labels) in pods {
            labelled.remove(&pairs(labels), name);
        }
        assert!(labelled.sets.is_empty() && labelled.by_pair.is_empty());
    }
}
