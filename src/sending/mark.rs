//! The mark our messages carry at the vendor, by which they are known again in callbacks, files and queries.
//!
//! End users see it and can copy it. The MAC keeps them from inventing one; that sender and conversation must match
//! the send it names keeps them from moving one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use switchboard_contract::storage::Store;
use switchboard_contract::{Error, ErrorKind, Result, SendId, TenantId};

/// The first character of a mark: the version of its form.
const VERSION: char = '1';
/// Bytes of the MAC that travel: 128 bits.
const MAC_BYTES: usize = 16;
const ID_BYTES: usize = 16;
const SETTING: &str = "sending.mark_key";

/// Makes and checks marks with the key of this installation.
#[derive(Clone)]
pub(crate) struct Marks {
    mac: Hmac<Sha256>,
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marks(…)")
    }
}

impl Marks {
    /// Reads the installation's key, making it at the first start.
    pub(crate) async fn open(store: &dyn Store) -> Result<Self> {
        let key = store.setting_or_insert(SETTING, &rand::random::<[u8; 32]>()).await?;
        Self::with_key(&key)
    }

    pub(crate) fn with_key(key: &[u8]) -> Result<Self> {
        let mac = Hmac::new_from_slice(key)
            .map_err(|error| Error::new(ErrorKind::Storage, "the key of marks is damaged").with_source(error))?;
        Ok(Self { mac })
    }

    /// The mark of a send: 44 characters, all of them letters, digits, `-` or `_`.
    pub(crate) fn mint(&self, tenant: &TenantId, send: SendId) -> String {
        let tag = self.over(tenant, send).finalize().into_bytes();
        let mut bytes = [0; ID_BYTES + MAC_BYTES];
        bytes[..ID_BYTES].copy_from_slice(send.as_bytes());
        bytes[ID_BYTES..].copy_from_slice(&tag[..MAC_BYTES]);
        let mut mark = String::from(VERSION);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut mark);
        mark
    }

    /// The send a mark names, if the mark is one of this tenant's. The MAC is compared in constant time.
    pub(crate) fn verify(&self, tenant: &TenantId, mark: &str) -> Option<SendId> {
        let bytes = URL_SAFE_NO_PAD.decode(mark.strip_prefix(VERSION)?).ok()?;
        let (id, tag) = bytes.split_at_checked(ID_BYTES)?;
        if tag.len() != MAC_BYTES {
            return None;
        }
        let send = SendId::from_bytes(id.try_into().ok()?);
        self.over(tenant, send).verify_truncated_left(tag).ok().map(|()| send)
    }

    fn over(&self, tenant: &TenantId, send: SendId) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(b"switchboard mark\0");
        mac.update(send.as_bytes());
        mac.update(tenant.as_str().as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_is_known_again_by_its_tenant_alone() {
        let marks = Marks::with_key(b"0123456789abcdef").unwrap();
        let (tenant, send) = (TenantId::from("acme"), SendId::generate());
        let mark = marks.mint(&tenant, send);
        assert_eq!(mark.len(), 44);
        assert_eq!(marks.verify(&tenant, &mark), Some(send));
        assert_eq!(marks.verify(&TenantId::from("other"), &mark), None);
        assert_eq!(Marks::with_key(b"another key").unwrap().verify(&tenant, &mark), None);
    }

    proptest! {
        #[test]
        fn a_changed_mark_is_refused(at in 0usize..44, to in "[A-Za-z0-9_=~ -]") {
            let marks = Marks::with_key(b"0123456789abcdef").unwrap();
            let tenant = TenantId::default();
            let mark = marks.mint(&tenant, SendId::generate());
            let mut forged = mark.clone();
            forged.replace_range(at..=at, &to);
            prop_assert_eq!(marks.verify(&tenant, &forged).is_some(), forged == mark);
        }
    }
}
