//! Whether a program needs anything of the system it runs on, as its ELF header says (elf(5)).

use std::fmt;

/// Type of the segment that names the program's loader.
const PT_INTERP: u32 = 3;
const PT_DYNAMIC: u32 = 2;
/// Tag of an entry that names a library.
const DT_NEEDED: u64 = 1;

/// Why a file is no static program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotStatic {
    /// It is no 64-bit little-endian ELF file, or a broken one.
    NotElf,
    /// It is started by this loader.
    Loader(String),
    /// It needs so many libraries.
    Libraries(usize),
}

impl fmt::Display for NotStatic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("is no 64-bit little-endian ELF file"),
            Self::Loader(path) => write!(f, "is started by the loader {path}"),
            Self::Libraries(count) => write!(f, "needs {count} libraries"),
        }
    }
}

/// Checks that a program needs no loader and no library.
///
/// A static program may have a dynamic section all the same: a position-independent one relocates itself by it.
pub(super) fn check_static(file: &[u8]) -> Result<(), NotStatic> {
    if file.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return Err(NotStatic::NotElf);
    }
    let mut libraries = 0;
    for segment in segments(file).ok_or(NotStatic::NotElf)? {
        let (kind, content) = segment.ok_or(NotStatic::NotElf)?;
        match kind {
            PT_INTERP => {
                let path = String::from_utf8_lossy(content);
                return Err(NotStatic::Loader(path.trim_end_matches('\0').to_owned()));
            }
            PT_DYNAMIC => {
                libraries +=
                    content.chunks_exact(16).filter(|entry| number(entry, 0, 8) == Some(DT_NEEDED)).count();
            }
            _ => {}
        }
    }
    if libraries > 0 { Err(NotStatic::Libraries(libraries)) } else { Ok(()) }
}

type Segment<'a> = Option<(u32, &'a [u8])>;

/// The segments, each with its type and its content.
fn segments(file: &[u8]) -> Option<impl Iterator<Item = Segment<'_>>> {
    let table = usize::try_from(number(file, 0x20, 8)?).ok()?;
    let size = usize::try_from(number(file, 0x36, 2)?).ok()?;
    let count = usize::try_from(number(file, 0x38, 2)?).ok()?;
    let segment = move |index: usize| {
        let header = file.get(table.checked_add(index * size)?..)?;
        let begin = usize::try_from(number(header, 8, 8)?).ok()?;
        let length = usize::try_from(number(header, 0x20, 8)?).ok()?;
        let kind = u32::try_from(number(header, 0, 4)?).ok()?;
        Some((kind, file.get(begin..begin.checked_add(length)?)?))
    };
    Some((0..count).map(segment))
}

/// A number of at most eight bytes, the lowest first.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of these segments.
    fn file(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        file[0x20] = 64;
        file[0x36] = 56;
        file[0x38] = segments.len() as u8;
        let mut begin = 64 + 56 * segments.len();
        for (kind, content) in segments {
            let mut header = [0; 56];
            header[0] = *kind as u8;
            header[8..16].copy_from_slice(&(begin as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(content.len() as u64).to_le_bytes());
            file.extend(header);
            begin += content.len();
        }
        segments.iter().for_each(|(_, content)| file.extend(*content));
        file
    }

    #[test]
    fn a_loader_and_libraries_are_found() {
        let relocations = [[7, 0, 0, 0, 0, 0, 0, 0].as_slice(), &[0; 8]].concat();
        let needed = [[1, 0, 0, 0, 0, 0, 0, 0].as_slice(), &[0; 8]].concat();
        assert_eq!(check_static(&file(&[(1, b"code"), (PT_DYNAMIC, &relocations)])), Ok(()));
        let loader = file(&[(1, b"code"), (PT_INTERP, b"/lib/ld.so\0")]);
        assert_eq!(check_static(&loader), Err(NotStatic::Loader("/lib/ld.so".to_owned())));
        let libraries = file(&[(PT_DYNAMIC, &[relocations, needed.clone(), needed].concat())]);
        assert_eq!(check_static(&libraries), Err(NotStatic::Libraries(2)));
    }

    #[test]
    fn what_is_no_program_or_cut_off_is_refused() {
        let whole = file(&[(1, b"code"), (PT_DYNAMIC, &[0; 16])]);
        assert_eq!(check_static(b"#!/bin/sh"), Err(NotStatic::NotElf));
        for end in 0..whole.len() {
            assert_eq!(check_static(&whole[..end]), Err(NotStatic::NotElf), "cut off at {end}");
        }
    }

    #[test]
    fn what_the_compiler_makes_static_is() {
        use std::process::{Command, Stdio};
        let program = std::env::temp_dir().join(format!("signalbox-elf-{}", std::process::id()));
        let mut rustc = Command::new("rustc");
        rustc.args(["-Ctarget-feature=+crt-static", "-o"]).arg(&program).arg("-");
        let mut child = rustc.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"fn main() {}").unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("cannot find -lc") {
            return eprintln!("SKIPPED (needs the static C library, libc.a): a static program");
        }
        assert!(output.status.success(), "{text}");
        let file = std::fs::read(&program).unwrap();
        std::fs::remove_file(&program).unwrap();
        assert_eq!(check_static(&file), Ok(()));
    }

    #[test]
    fn this_program_is_not_static() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(check_static(&file), Err(NotStatic::Loader(_))));
    }
}
