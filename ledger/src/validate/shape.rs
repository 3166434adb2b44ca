//! What a JSON document looks like, found out without keeping it. It decodes exactly what
//! `serde_json::Value` decodes, which is what the loading crates will ask of it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// How deep arrays and objects nest; 0 for a scalar.
    pub(super) depth: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    MapOfTexts,
    Other,
}

impl Shape {
    const SCALAR: Self = Self {
        depth: 0,
        kind: Kind::Other,
    };

    /// Whether it is an object all of whose members are strings.
    pub(super) fn is_flat_map_of_strings(self) -> bool {
        self.kind == Kind::MapOfTexts
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Shape;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::SCALAR)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::SCALAR)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::SCALAR)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::SCALAR)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::SCALAR)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape {
            depth: 0,
            kind: Kind::Text,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut depth = 0;
        while let Some(item) = items.next_element::<Shape>()? {
            depth = depth.max(item.depth);
        }
        Ok(Shape {
            depth: depth + 1,
            kind: Kind::Other,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Shape, A::Error> {
        let (mut depth, mut kind) = (0, Kind::MapOfTexts);
        while let Some((_, member)) = members.next_entry::<Shape, Shape>()? {
            depth = depth.max(member.depth);
            if member.kind != Kind::Text {
                kind = Kind::Other;
            }
        }
        Ok(Shape {
            depth: depth + 1,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_decodes_what_a_value_decodes_and_nothing_else() {
        for text in [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "1.5",
            "\"a\\u00e9\"",
            "[]",
            "{}",
            "[1,{\"a\":[2]}]",
            "1e999",
            "\"\\ud800\"",
            "\"\\x\"",
            "[1,]",
            "{\"a\"}",
            "{1:2}",
            "NaN",
            "",
            "01",
            "[1] 2",
        ] {
            assert_eq!(
                serde_json::from_str::<Shape>(text).is_ok(),
                serde_json::from_str::<serde_json::Value>(text).is_ok(),
                "{text}"
            );
        }
    }

    #[test]
    fn only_an_object_of_strings_is_a_flat_map() {
        let flat = |text| {
            serde_json::from_str::<Shape>(text)
                .unwrap()
                .is_flat_map_of_strings()
        };
        assert!(flat("{}") && flat(r#"{"a":"b","c":"d"}"#));
        for text in [
            "[]",
            "\"a\"",
            r#"{"a":1}"#,
            r#"{"a":{}}"#,
            r#"{"a":"b","c":null}"#,
        ] {
            assert!(!flat(text), "{text}");
        }
    }
}
