//! Base64 with padding, as Go's `encoding/base64` reads and prints it in JSON.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Prints bytes.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let number = number << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = ALPHABET[(number >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Reads bytes; line ends are skipped. The error is the position that Go names.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut digits = text.bytes().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    loop {
        let mut number = 0_u32;
        let mut count = 0;
        while count < 4 {
            let Some((at, byte)) = digits.next() else {
                // Go names the first digit of the group that is cut off.
                return if count == 0 { Ok(bytes) } else { Err(text.len() - count) };
            };
            if byte == b'=' {
                padding(at, count, &mut digits, text.len())?;
                bytes.extend_from_slice(&(number << (6 * (4 - count)) << 8).to_be_bytes()[..count - 1]);
                return Ok(bytes);
            }
            let digit = ALPHABET.iter().position(|known| *known == byte).ok_or(at)?;
            number = number << 6 | u32::try_from(digit).expect("there are 64 digits");
            count += 1;
        }
        bytes.extend_from_slice(&(number << 8).to_be_bytes()[..3]);
    }
}

/// Checks what follows the first `=`: another one after two digits, then nothing.
fn padding(
    at: usize,
    count: usize,
    digits: &mut impl Iterator<Item = (usize, u8)>,
    length: usize,
) -> Result<(), usize> {
    if count < 2 {
        return Err(at);
    }
    if count == 2 {
        match digits.next() {
            Some((_, b'=')) => {}
            Some((next, _)) => return Err(next - 1),
            None => return Err(length),
        }
    }
    digits.next().map_or(Ok(()), |(at, _)| Err(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_themselves_again() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("x", "eA==")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Ok(bytes.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Ok(all));
        assert_eq!(decode("Zm\n9v\r\n").as_deref(), Ok("foo".as_bytes()));
    }

    #[test]
    fn the_position_of_a_mistake_is_named() {
        let check = |text: &str, at: usize| assert_eq!(decode(text), Err(at), "{text}");
        check("***", 0);
        check("Zg=", 3);
        check("Zg=x", 2);
        check("Zg", 0);
        check("Zm9vY", 4);
        check("=", 0);
        check("Z===", 1);
        check("Zg==Zg==", 4);
        check("Zm9v Zg==", 4);
    }
}
