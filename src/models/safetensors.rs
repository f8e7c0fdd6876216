//! The table at the beginning of a safetensors file: names, types and shapes of all tensors, without
//! the weights. Reads bounded bytes from whoever has them; knows nothing of what the tensors are for.

use std::collections::HashMap;
use std::io::Read;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// Bytes of the longest table that is read; the format itself allows 100 MB.
pub const MOST_HEADER_BYTES: u64 = 64 << 20;
/// Bytes before the table, which tell its length.
pub const LENGTH_BYTES: u64 = 8;
/// Dimensions of a tensor; more are not counted.
const MOST_DIMENSIONS: usize = 16;

/// The tensors of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    pub tensors: HashMap<String, Tensor>,
}

/// One tensor, as the table of its file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tensor {
    /// `BF16`, `U32`, `F8_E4M3` and the like.
    pub dtype: String,
    pub shape: Vec<u64>,
}

/// Why the table of a file's tensors cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("the file ends before its table of tensors does; download the model again")]
    Short(#[source] std::io::Error),
    #[error("the table of tensors has {0} bytes, more than the {MOST_HEADER_BYTES} that are read of one")]
    TooLong(u64),
    #[error("the table of tensors is not what safetensors files begin with ({0}); download the model again")]
    Malformed(#[source] serde_json::Error),
}

impl Tensor {
    /// Elements; packed ones count as the words they are packed in.
    pub fn elements(&self) -> u64 {
        if self.shape.len() > MOST_DIMENSIONS {
            return 0;
        }
        self.shape.iter().fold(1, |product: u64, side| product.saturating_mul(*side))
    }
}

/// The length of the table, from a file's first [`LENGTH_BYTES`] bytes.
pub fn length(first: [u8; 8]) -> Result<u64, HeaderError> {
    let bytes = u64::from_le_bytes(first);
    if bytes <= MOST_HEADER_BYTES { Ok(bytes) } else { Err(HeaderError::TooLong(bytes)) }
}

/// Reads the table from the beginning of a file, and nothing behind it.
pub fn read(file: &mut impl Read) -> Result<Header, HeaderError> {
    let mut first = [0; 8];
    file.read_exact(&mut first).map_err(HeaderError::Short)?;
    let bytes = length(first)?;
    // Grows as it is filled: a length alone reserves nothing.
    let mut table = Vec::new();
    file.take(bytes).read_to_end(&mut table).map_err(HeaderError::Short)?;
    if (table.len() as u64) < bytes {
        return Err(HeaderError::Short(std::io::ErrorKind::UnexpectedEof.into()));
    }
    parse(&table)
}

/// Reads the table itself, as it is served to a request for exactly its bytes.
pub fn parse(table: &[u8]) -> Result<Header, HeaderError> {
    serde_json::from_slice(table).map_err(HeaderError::Malformed)
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Header, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = HashMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        tensors.insert(name, map.next_value::<Tensor>()?);
                    }
                }
                Ok(Header { tensors })
            }
        }
        from.deserialize_map(Table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(table: &str, length: u64) -> Vec<u8> {
        [&length.to_le_bytes()[..], table.as_bytes(), b"weights"].concat()
    }

    #[test]
    fn the_table_is_read_and_nothing_behind_it() {
        let table = r#"{"__metadata__":{"format":"mlx"},"a.weight":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}"#;
        let bytes = file(table, table.len() as u64);
        let mut rest = &bytes[..];
        let header = read(&mut rest).unwrap();
        assert_eq!(rest, b"weights");
        assert_eq!(header.tensors["a.weight"].elements(), 6);
        assert_eq!(header.tensors.len(), 1);
    }

    #[test]
    fn a_file_that_is_cut_or_no_safetensors_says_so() {
        let told = |bytes: &[u8]| read(&mut &bytes[..]).unwrap_err().to_string();
        assert!(told(b"abc").contains("ends before"), "{}", told(b"abc"));
        assert!(told(&file("{}", 1000)).contains("ends before"));
        assert!(told(&file("[]", 2)).contains("not what safetensors files begin with"));
        assert!(told(&file("{\"a\":1}", 7)).contains("not what"));
    }

    #[test]
    fn a_table_of_absurd_length_is_not_read() {
        for bytes in [MOST_HEADER_BYTES + 1, u64::MAX] {
            assert!(
                matches!(read(&mut &file("{}", bytes)[..]), Err(HeaderError::TooLong(found)) if found == bytes)
            );
        }
    }

    #[test]
    fn absurd_shapes_do_no_harm() {
        let tensor = |shape: Vec<u64>| Tensor { dtype: "U8".into(), shape };
        assert_eq!(tensor(vec![u64::MAX, u64::MAX]).elements(), u64::MAX);
        assert_eq!(tensor(vec![2; 17]).elements(), 0);
        assert_eq!(tensor(vec![]).elements(), 1);
    }
}
