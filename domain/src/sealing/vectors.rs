//! Test vectors are written in hexadecimal.

pub(super) fn hex(bytes: &[u8]) -> String {
    super::blob::hex(bytes)
}

pub(super) fn unhex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
