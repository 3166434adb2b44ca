//! What a ciphertext is bound to, as bytes.

/// Canonical bytes: a label that says what they are for, then fields, each after its length.
///
/// Neither a longer field nor one more of them makes two contexts alike.
pub(super) struct AssociatedData(Vec<u8>);

impl AssociatedData {
    pub(super) fn new(label: &str) -> Self {
        Self(Vec::new()).field(label)
    }

    /// One more field: its length in 8 bytes, big-endian, and its bytes.
    pub(super) fn field(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0
            .extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn encode(fields: &[String]) -> Vec<u8> {
        fields
            .iter()
            .fold(AssociatedData::new("label"), AssociatedData::field)
            .0
    }

    #[test]
    fn a_byte_that_moves_to_the_next_field_changes_the_bytes() {
        assert_ne!(
            encode(&["ab".into(), "c".into()]),
            encode(&["a".into(), "bc".into()])
        );
        assert_ne!(encode(&["a".into(), String::new()]), encode(&["a".into()]));
    }

    #[test]
    fn the_label_is_a_field() {
        assert_eq!(
            AssociatedData::new("ab").field("c").0,
            b"\0\0\0\0\0\0\0\x02ab\0\0\0\0\0\0\0\x01c"
        );
    }

    proptest! {
        #[test]
        fn no_two_lists_of_fields_are_alike(one in vec("[\0a]{0,9}", 0..4), other in vec("[\0a]{0,9}", 0..4)) {
            prop_assert_eq!(encode(&one) == encode(&other), one == other);
        }
    }
}
