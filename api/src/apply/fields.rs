//! A credential's fields as texts.

use nexus_domain::credential::Credential;
use nexus_domain::secret::Secret;
use nexus_domain::strategy::scalar;

use super::ApplyError;

/// A credential, asked for its fields by name.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Credential);

impl Fields<'_> {
    /// A field that has to be there.
    pub(super) fn text(self, field: &str) -> Result<Secret, ApplyError> {
        self.find(field)
            .ok_or_else(|| ApplyError::Missing(field.to_owned()))
    }

    /// A field; none when it is absent, empty or nests.
    pub(super) fn find(self, field: &str) -> Option<Secret> {
        let text = match (self.0, field) {
            (Credential::Static(typed), field) => typed
                .fields
                .expose()
                .get(field)
                .and_then(scalar)
                .map(Secret::new),
            (Credential::OAuth2(tokens), "access_token") => Some(tokens.access_token.clone()),
            (Credential::OAuth2(tokens), "id_token") => tokens.id_token.clone(),
            (Credential::OAuth2(_), _) => None,
        };
        text.filter(|text| !text.expose().is_empty())
    }
}
