//! Which program of this machine stands for an image's entrypoint.
//!
//! Images are never pulled.

use std::collections::BTreeMap;

/// Programs by image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    programs: BTreeMap<String, Vec<String>>,
}

impl Images {
    /// Adds a line `NAME[:TAG]=PROGRAM ARGS..`; quotes keep words together. A later line for the same name counts. All of
    /// it is the entrypoint, to which a container's arguments are added; those that they replace follow a `--`.
    pub fn add(&mut self, line: &str) -> Result<(), String> {
        let wrong = || format!("{line:?} is not of the form NAME[:TAG]=PROGRAM ARGS..");
        let (name, program) = line.split_once('=').ok_or_else(wrong)?;
        let words = words(program).filter(|words| !words.is_empty()).ok_or_else(wrong)?;
        if name.trim().is_empty() {
            return Err(wrong());
        }
        self.programs.insert(short(name.trim()), words);
        Ok(())
    }

    /// Reads a file of such lines; empty ones and those that begin with `#` say nothing.
    pub fn parse(&mut self, text: &str) -> Result<(), String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.try_for_each(|line| self.add(line))
    }

    /// Answers the words that start an image: the entry for its very tag, or the one for its name.
    pub fn program(&self, image: &str) -> Option<&[String]> {
        let image = short(image);
        let found = self.programs.get(&image).or_else(|| self.programs.get(without_tag(&image)));
        found.map(Vec::as_slice)
    }
}

/// An image without the registry and folder that everybody means.
fn short(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    let rest = image.strip_prefix("docker.io/").unwrap_or(image);
    rest.strip_prefix("library/").unwrap_or(rest).to_owned()
}

fn without_tag(image: &str) -> &str {
    match image.rsplit_once(':') {
        // A colon before a slash belongs to the port of a registry.
        Some((name, tag)) if !tag.contains('/') => name,
        Some(_) | None => image,
    }
}

/// Splits as a shell does, without its other powers; `None` where a quote is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for letter in text.chars() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => word.get_or_insert_default().push(letter),
            None if letter == '\'' || letter == '"' => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            None if letter.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_stand_for_images() {
        let mut images = Images::default();
        let read = images.parse(
            "# what runs here\nnginx=python3 -m http.server 80\nnginx:1.2=old\n\
             docker.io/library/busybox=sh -c 'sleep 5'\nlocal:5000/app=app \"\"\n",
        );
        read.unwrap();
        for (image, expected) in [
            ("nginx", "python3|-m|http.server|80"),
            ("nginx:1.25", "python3|-m|http.server|80"),
            ("nginx:1.2", "old"),
            ("docker.io/library/nginx:1.2@sha256:abc", "old"),
            ("busybox:latest", "sh|-c|sleep 5"),
            ("local:5000/app", "app|"),
            ("local:5000/app:v1", "app|"),
            ("local", "-"),
            ("other", "-"),
        ] {
            let found = images.program(image).map_or("-".to_owned(), |words| words.join("|"));
            assert_eq!(found, expected, "{image}");
        }
        for wrong in ["nginx", "=x", "a=", "a='x"] {
            assert!(Images::default().add(wrong).is_err(), "{wrong}");
        }
    }
}
