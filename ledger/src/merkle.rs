//! The Merkle tree over the log (RFC 6962 hashing): leaves, frontier, root.

use nexus_domain::stream::StreamKey;
use sha2::{Digest, Sha256};

/// A node of the tree: SHA-256.
pub type Hash = [u8; 32];

/// Opens the canonical bytes of an event; a change of their layout changes it.
const EVENT_LABEL: &[u8] = b"nexus event v1";

/// What the leaf of an event commits to.
#[derive(Debug)]
pub struct LeafInput<'a> {
    /// Global position.
    pub position: u64,
    /// Stream.
    pub stream: &'a StreamKey,
    /// Sequence in the stream.
    pub sequence: u64,
    /// Stored name.
    pub event_type: &'a str,
    /// Version of the payload's shape.
    pub event_version: &'a str,
    /// Microseconds since the Unix epoch.
    pub recorded_at: i64,
    /// JSON text as stored.
    pub payload: &'a str,
    /// JSON text as stored.
    pub metadata: &'a str,
    /// SHA-256 of the sealed blob beside the event; kept when the blob itself is dropped.
    pub blob_digest: Option<Hash>,
}

impl LeafInput<'_> {
    /// The RFC 6962 leaf hash, SHA-256(0x00 ‖ canonical bytes): the label, then every field in
    /// the order above, numbers as eight big-endian bytes, texts prefixed with their length.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update([0]);
        hasher.update(EVENT_LABEL);
        hasher.update(self.position.to_be_bytes());
        text(&mut hasher, &self.stream.stream_type);
        text(&mut hasher, &self.stream.id);
        hasher.update(self.sequence.to_be_bytes());
        text(&mut hasher, self.event_type);
        text(&mut hasher, self.event_version);
        hasher.update(self.recorded_at.to_be_bytes());
        text(&mut hasher, self.payload);
        text(&mut hasher, self.metadata);
        match self.blob_digest {
            None => hasher.update([0]),
            Some(digest) => {
                hasher.update([1]);
                hasher.update(digest);
            }
        }
        hasher.finalize().into()
    }
}

fn text(hasher: &mut Sha256, value: &str) {
    hasher.update((value.len() as u64).to_be_bytes());
    hasher.update(value.as_bytes());
}

/// SHA-256 of a sealed blob.
#[must_use]
pub fn digest(blob: &[u8]) -> Hash {
    Sha256::digest(blob).into()
}

/// RFC 6962 interior node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The roots of the perfect subtrees that make up a tree, largest first: all that is needed to
/// append to it and to compute its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            if let Some(left) = self.roots.pop() {
                hash = node(&left, &hash);
            }
            size >>= 1;
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The root of the tree; SHA-256 of nothing for the empty one.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.roots
            .iter()
            .rev()
            .copied()
            .reduce(|right, left| node(&left, &right))
            .unwrap_or_else(|| Sha256::digest([]).into())
    }

    /// The stored form: the subtree roots one after another.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// Reads the stored form of a tree of `size` leaves; `None` when it does not fit that size.
    #[must_use]
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let (roots, rest) = bytes.as_chunks::<32>();
        (rest.is_empty() && roots.len() == size.count_ones() as usize).then(|| Self {
            size,
            roots: roots.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962 section 2.1, by recursion.
    fn reference_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(
                    &reference_root(&leaves[..split]),
                    &reference_root(&leaves[split..]),
                )
            }
        }
    }

    fn leaf(index: u64) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update([0]);
        hasher.update(index.to_be_bytes());
        hasher.finalize().into()
    }

    #[test]
    fn the_frontier_has_the_root_that_rfc_6962_defines_at_every_size() {
        let mut frontier = Frontier::default();
        let mut leaves = Vec::new();
        for index in 0..130 {
            assert_eq!(frontier.root(), reference_root(&leaves), "at size {index}");
            frontier.push(leaf(index));
            leaves.push(leaf(index));
        }
    }

    #[test]
    fn known_roots_of_the_certificate_transparency_test_tree() {
        let data: [&[u8]; 3] = [b"", b"\x00", b"\x10"];
        let mut frontier = Frontier::default();
        for entry in data {
            frontier.push(Sha256::digest([&[0], entry].concat()).into());
        }
        let hex = frontier
            .root()
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!(
            hex,
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
        );
    }

    #[test]
    fn a_frontier_survives_its_stored_form() {
        let mut frontier = Frontier::default();
        for index in 0..77 {
            frontier.push(leaf(index));
            let stored = Frontier::from_bytes(frontier.size(), &frontier.to_bytes());
            assert_eq!(stored.as_ref(), Some(&frontier));
        }
        assert_eq!(Frontier::from_bytes(76, &frontier.to_bytes()), None);
    }

    #[test]
    fn every_field_of_an_event_changes_its_leaf() {
        let stream = StreamKey {
            stream_type: "connection".into(),
            id: "1".into(),
        };
        let other = StreamKey {
            stream_type: "connectio".into(),
            id: "n1".into(),
        };
        let base = || LeafInput {
            position: 1,
            stream: &stream,
            sequence: 1,
            event_type: "a.b",
            event_version: "1",
            recorded_at: 5,
            payload: "{}",
            metadata: "{}",
            blob_digest: None,
        };
        let variants = [
            LeafInput {
                position: 2,
                ..base()
            },
            LeafInput {
                stream: &other,
                ..base()
            },
            LeafInput {
                sequence: 2,
                ..base()
            },
            LeafInput {
                event_type: "a.c",
                ..base()
            },
            LeafInput {
                event_version: "2",
                ..base()
            },
            LeafInput {
                recorded_at: 6,
                ..base()
            },
            LeafInput {
                payload: "{ }",
                ..base()
            },
            LeafInput {
                metadata: "{ }",
                ..base()
            },
            LeafInput {
                blob_digest: Some([0; 32]),
                ..base()
            },
        ];
        for variant in variants {
            assert_ne!(variant.hash(), base().hash(), "{variant:?}");
        }
    }
}
