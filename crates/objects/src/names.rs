//! Sharing of strings that recur.

use std::collections::HashSet;

use crate::Name;

/// Hands out one shared copy of each string. Forgets strings that nobody uses any more, so it stays as large as what is
/// in use.
#[derive(Debug, Default)]
pub struct Names {
    known: HashSet<Name>,
    sweep_at: usize,
}

impl Names {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers the shared copy of a string.
    pub fn share(&mut self, text: &str) -> Name {
        if let Some(name) = self.known.get(text) {
            return name.clone();
        }
        if self.known.len() >= self.sweep_at.max(1024) {
            self.known.retain(|name| Name::strong_count(name) > 1);
            self.sweep_at = self.known.len() * 2;
        }
        let name = Name::from(text);
        self.known.insert(name.clone());
        name
    }

    /// Answers how many strings are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Answers whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_are_one_and_unused_ones_are_forgotten() {
        let mut names = Names::new();
        let kept = names.share("zone-a");
        assert!(Name::ptr_eq(&kept, &names.share("zone-a")));
        for index in 0..5000 {
            names.share(&format!("node-{index}"));
        }
        assert!(names.len() < 2100, "{} names", names.len());
        assert!(Name::ptr_eq(&kept, &names.share("zone-a")));
    }
}
