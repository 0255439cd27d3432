//! Settings under `/proc/sys`, those of the calling thread's network namespace.

use std::fs;

use crate::Error;

/// Reads a setting, such as `net/ipv4/ip_forward`, without the closing newline.
pub fn read(name: &str) -> Result<String, Error> {
    let text = fs::read_to_string(format!("/proc/sys/{name}"));
    text.map(|text| text.trim_end().to_owned()).map_err(|source| failed("read", name, &source))
}

/// Writes a setting.
pub fn write(name: &str, value: &str) -> Result<(), Error> {
    fs::write(format!("/proc/sys/{name}"), value).map_err(|source| failed("write", name, &source))
}

fn failed(what: &str, name: &str, source: &std::io::Error) -> Error {
    let errno = source.raw_os_error().unwrap_or(libc::EIO);
    Error::Refused { what: format!("{what} the setting {name}"), errno, text: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_setting() {
        for error in [read("net/ipv4/nonsense").unwrap_err(), write("net/ipv4/nonsense", "1").unwrap_err()] {
            assert!(error.to_string().contains("the setting net/ipv4/nonsense: No such file"), "{error}");
        }
    }
}
