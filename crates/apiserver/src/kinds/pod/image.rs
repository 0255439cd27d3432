//! Names of images: whether one means the newest.

/// Answers whether an image is named without a tag and digest, or with the tag `latest`. What is no name at all is not: it
/// is refused by others, or by nobody.
pub(super) fn is_latest(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match name[slash..].rfind(':') {
        Some(at) => (&name[..slash + at], Some(&name[slash + at + 1..])),
        None => (name, None),
    };
    is_name(name) && (tag == Some("latest") || (tag.is_none() && digest.is_none()))
}

fn is_name(name: &str) -> bool {
    // What may be a host is not part of the path.
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        Some((host, path)) if host.bytes().any(|byte| byte.is_ascii_uppercase()) => path,
        Some(_) | None => name,
    };
    let is_lower = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    path.split('/').all(|part| {
        let bytes = part.as_bytes();
        let has_ends = bytes.first().is_some_and(is_lower) && bytes.last().is_some_and(is_lower);
        has_ends && bytes.iter().all(|byte| is_lower(byte) || b"._-".contains(byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tag_is_the_newest() {
        for image in
            ["img", "a/b", "host:5000/a/b", "img:latest", "registry.k8s.io/a:latest", "img:latest@sha256:0"]
        {
            assert!(is_latest(image), "{image}");
        }
        for image in ["img:1", "host:5000/a:1", "img@sha256:0", "", "IMG", "a//b", "-a"] {
            assert!(!is_latest(image), "{image}");
        }
    }
}
