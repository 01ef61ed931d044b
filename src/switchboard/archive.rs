//! The archive, and exports.

use super::Tenant;
use crate::transfer::{Export, ExportScope};

#[cfg(feature = "archive")]
impl super::Switchboard {
    /// The archive.
    ///
    /// # Errors
    /// `Unsupported` when the settings name none.
    pub fn archiver(&self) -> switchboard_contract::Result<&crate::archive::Archiver> {
        let missing = || switchboard_contract::Error::unsupported("an archive: archive.location names none");
        self.inner.archiver.as_ref().ok_or_else(missing)
    }
}

impl Tenant {
    /// Begins an export.
    pub fn export(&self, scope: ExportScope) -> Export {
        Export::new(self.switchboard.inner.store.clone(), self.id.clone(), scope)
    }
}
