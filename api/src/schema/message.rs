//! What to say about each broken keyword, in words that quote the schema at most.

use jsonschema::error::{TypeKind, ValidationErrorKind};

/// The sentence's end for a broken keyword. The library's own sentences quote the value and stay unused.
pub(super) fn of(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Required { .. } => "is required".to_owned(),
        Kind::Type { kind } => format!("must be of type {}", types(kind)),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::Pattern { pattern } => format!("must match the pattern {pattern}"),
        Kind::Format { format } => format!("must have the format {format}"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::AdditionalItems { limit } => format!("must have no more than {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} fields"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} fields"),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            format!(
                "has {} that the schema does not know",
                fields(unexpected.len())
            )
        }
        other => general(other).to_owned(),
    }
}

/// Keywords about which nothing more exact can be said without quoting a value.
fn general(kind: &ValidationErrorKind) -> &'static str {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Enum { .. } => "must be one of the values the schema lists",
        Kind::Constant { .. } => "must be the value the schema fixes",
        Kind::MultipleOf { .. } => "must be a multiple of the number the schema gives",
        Kind::UniqueItems => "must not have an item twice",
        Kind::Contains => "lacks an item that the schema asks for",
        Kind::UnevaluatedItems { .. } => "has items that the schema does not know",
        Kind::PropertyNames { .. } => "has a field whose name the schema does not allow",
        Kind::AnyOf { .. } => "fits none of the forms the schema allows",
        Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. } => {
            "must fit exactly one of the forms the schema allows"
        }
        Kind::FalseSchema | Kind::Not { .. } => "is not allowed by the schema",
        Kind::ContentEncoding { .. } | Kind::ContentMediaType { .. } | Kind::FromUtf8 { .. } => {
            "does not have the encoding the schema asks for"
        }
        _ => "does not satisfy the schema",
    }
}

fn fields(count: usize) -> String {
    if count == 1 {
        "a field".to_owned()
    } else {
        format!("{count} fields")
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(several) => {
            let names: Vec<String> = several.iter().map(|one| one.to_string()).collect();
            names.join(" or ")
        }
    }
}
