//! Withdrawals as bytes: a slot with a generation, a length and a checksum, so that one that was written in part is
//! recognised. Pure.

use sha2::{Digest, Sha256};

use crate::store::withdrawals::Withdrawal;

/// Bytes of a slot.
pub const SLOT: usize = 32 << 10;
const MAGIC: &[u8; 8] = b"MGWREVO1";
/// Magic number, generation, length and checksum.
const HEAD: usize = 8 + 8 + 4 + 32;

/// The contents of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub generation: u64,
    pub withdrawals: Vec<Withdrawal>,
}

/// A slot of that generation, and how many of the withdrawals, from the first on, are in it.
pub fn encode<'a>(generation: u64, withdrawals: impl Iterator<Item = &'a Withdrawal>) -> (Vec<u8>, usize) {
    let (mut body, mut fit) = (Vec::new(), 0);
    for withdrawal in withdrawals {
        let entry = entry(withdrawal);
        if HEAD + body.len() + entry.len() > SLOT {
            break;
        }
        body.extend(entry);
        fit += 1;
    }
    let mut slot = MAGIC.to_vec();
    slot.extend(generation.to_be_bytes());
    slot.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    slot.extend(checksum(&slot, &body));
    slot.extend(body);
    slot.resize(SLOT, 0);
    (slot, fit)
}

/// The contents of a slot; `None`: it was never written, or not to its end.
pub fn decode(slot: &[u8]) -> Option<Slot> {
    let mut rest = Reader(slot);
    let magic = rest.take(MAGIC.len())?;
    let generation = rest.number()?;
    let length = u32::from_be_bytes(rest.array()?);
    let expected = rest.take(32)?;
    let body = rest.take(usize::try_from(length).ok()?)?;
    if magic != MAGIC || checksum(slot.get(..20)?, body) != expected {
        return None;
    }
    let (mut rest, mut withdrawals) = (Reader(body), Vec::new());
    while !rest.0.is_empty() {
        withdrawals.push(rest.withdrawal()?);
    }
    Some(Slot { generation, withdrawals })
}

fn checksum(head: &[u8], body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(head).chain_update(body).finalize().into()
}

/// A kind, then its fields: numbers in eight bytes, texts behind their length in two.
fn entry(withdrawal: &Withdrawal) -> Vec<u8> {
    let (kind, numbers, texts): (u8, &[i64], Vec<&str>) = match withdrawal {
        Withdrawal::Key { id, at } => (1, &[*at], vec![id]),
        Withdrawal::Session { id } => (2, &[], vec![id]),
        Withdrawal::Account { id, version, role, status, password } => {
            (3, &[*version], vec![id, role, status, password])
        }
        Withdrawal::Removed { id, at } => (4, &[*at], vec![id]),
    };
    let mut entry = vec![kind];
    numbers.iter().for_each(|number| entry.extend(number.to_be_bytes()));
    for text in texts {
        // All of these texts are the gateway's own, and short.
        let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
        entry.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        entry.extend(text);
    }
    entry
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn signed(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn withdrawal(&mut self) -> Option<Withdrawal> {
        let [kind] = self.array()?;
        Some(match kind {
            1 => Withdrawal::Key { at: self.signed()?, id: self.text()? },
            2 => Withdrawal::Session { id: self.text()? },
            3 => Withdrawal::Account {
                version: self.signed()?,
                id: self.text()?,
                role: self.text()?,
                status: self.text()?,
                password: self.text()?,
            },
            4 => Withdrawal::Removed { at: self.signed()?, id: self.text()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_kinds() -> Vec<Withdrawal> {
        vec![
            Withdrawal::Key { id: "k".into(), at: -1 },
            Withdrawal::Session { id: String::new() },
            Withdrawal::Account {
                id: "u".into(),
                version: 7,
                role: "user".into(),
                status: "disabled".into(),
                password: "$argon2id$é".into(),
            },
            Withdrawal::Removed { id: "v".into(), at: i64::MAX },
        ]
    }

    #[test]
    fn decode_returns_what_was_encoded() {
        let (slot, fit) = encode(3, all_kinds().iter());
        assert_eq!((slot.len(), fit), (SLOT, 4));
        assert_eq!(decode(&slot), Some(Slot { generation: 3, withdrawals: all_kinds() }));
        assert_eq!(decode(&encode(4, [].iter()).0), Some(Slot { generation: 4, withdrawals: vec![] }));
    }

    #[test]
    fn decode_returns_none_for_slots_that_are_not_whole() {
        let (slot, _) = encode(3, all_kinds().iter());
        assert_eq!(decode(&[0; SLOT]), None, "never written");
        let (before, _) = encode(2, [].iter());
        for cut in [16, 20, 40, 53, 60, 100] {
            let torn: Vec<u8> = slot[..cut].iter().chain(&before[cut..]).copied().collect();
            assert_eq!(decode(&torn), None, "{cut}");
            assert_eq!(decode(&slot[..cut]), None, "{cut}");
        }
        for at in [0, 9, 17, 25, 52, 70] {
            let mut flipped = slot.clone();
            flipped[at] ^= 1;
            assert_eq!(decode(&flipped), None, "{at}");
        }
    }

    #[test]
    fn encode_takes_as_many_as_fit() {
        let many: Vec<_> = (0..2_000).map(|at| Withdrawal::Key { id: format!("{at:036}"), at }).collect();
        let (slot, fit) = encode(1, many.iter());
        assert_eq!(slot.len(), SLOT);
        assert!((600..2_000).contains(&fit), "{fit}");
        assert_eq!(decode(&slot).unwrap().withdrawals, many[..fit]);
    }

    proptest::proptest! {
        #[test]
        fn decode_survives_any_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            decode(&bytes);
        }
    }
}
