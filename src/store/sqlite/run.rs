//! Rows that come as one value: what the driver does for each row and each value would be most of the price of reading
//! many.

use bytes::Bytes;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// A row that keeps the bytes of its first value alive. They were copied out of SQLite once, and need not be again.
struct Owner(SqliteRow);

impl Owner {
    fn bytes(&self) -> sqlx::Result<&[u8]> {
        // SQLite calls what it put together a text, and it is none.
        self.0.try_get_unchecked::<Option<&[u8]>, _>(0).map(Option::unwrap_or_default)
    }
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.bytes().unwrap_or_default()
    }
}

/// The first value of a row; nothing for none.
///
/// # Errors
/// As the driver's, for a row without values.
pub(super) fn whole(row: SqliteRow) -> sqlx::Result<Bytes> {
    let owner = Owner(row);
    owner.bytes()?;
    Ok(Bytes::from_owner(owner))
}
