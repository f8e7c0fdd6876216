//! Whole numbers in as few bytes as they need, negative ones included. Pure.

pub(super) fn put(into: &mut Vec<u8>, number: i64) {
    // Small numbers of either sign become small ones without: 0, -1, 1, -2 are 0, 1, 2, 3.
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

/// The same for what is counted.
pub(super) fn put_count(into: &mut Vec<u8>, count: usize) {
    put(into, i64::try_from(count).unwrap_or(i64::MAX));
}

/// `None`: there is no whole number.
pub(super) fn take(from: &mut &[u8]) -> Option<i64> {
    // Most are small.
    if let Some((byte, rest)) = from.split_first().filter(|(byte, _)| **byte < 0x80) {
        *from = rest;
        return Some(i64::from(byte >> 1) ^ -i64::from(byte & 1));
    }
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1).cast_signed() ^ -((number & 1).cast_signed()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were() {
        for number in [0, 1, -1, 63, -64, 64, 300, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            let mut rest = bytes.as_slice();
            assert_eq!((take(&mut rest), rest.len()), (Some(number), 0));
        }
        assert_eq!(take(&mut &[0x80, 0x80][..]), None, "cut off");
        assert_eq!(take(&mut &[0xff; 11][..]), None, "without an end");
    }
}
