//! The map as NDJSON, to be carried to another installation or vendor account, or made by hand.
//!
//! One pair a line: `{"kind":"user","business":"alice","vendor":"u-1001"}`; `kind` is `user`, `group` or `room`.

use bytes::Bytes;
use futures::stream::{self, Stream};
use serde::Serialize;
use switchboard_contract::storage::{Binding, BindingKind};
use switchboard_contract::{App, Error, ErrorKind, Result, TenantId};

use super::Identity;

/// Pairs read or written in one step.
const PAGE: usize = 1_000;

/// What became of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Pairs now in force that this import named, new or known.
    pub bound: u64,
    /// Lines (from 1) that could not be read, and why.
    pub malformed: Vec<(u64, String)>,
    /// Lines (from 1) whose one or other id is bound to something else; the older pair stays.
    pub conflicts: Vec<u64>,
}

impl Identity {
    /// Every pair of an app as NDJSON, in order of kind and business id, in pieces of whole lines.
    pub fn export(&self, tenant: &TenantId, app: &App) -> impl Stream<Item = Result<Bytes>> + Send {
        let (store, tenant, app) = (self.store.clone(), tenant.clone(), app.clone());
        stream::try_unfold(Some(None), move |after: Option<Option<(BindingKind, String)>>| {
            let (store, tenant, app) = (store.clone(), tenant.clone(), app.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let page = store.bindings(&tenant, &app, after, PAGE).await?;
                let Some(last) = page.last() else { return Ok(None) };
                let next = (page.len() == PAGE).then(|| Some((last.kind, last.business.clone())));
                Ok(Some((lines(&page)?, next)))
            }
        })
    }

    /// Reads pairs as [`export`](Self::export) writes them. Good lines are bound whatever the others are; pairs that
    /// contradict an older one are left out and named. A large map may come in several calls, each of whole lines.
    ///
    /// # Errors
    /// `Storage`; pairs of earlier lines may be bound by then, and repeating the import is harmless.
    pub async fn import(&self, tenant: &TenantId, app: &App, ndjson: &str) -> Result<Imported> {
        let mut imported = Imported::default();
        let mut page = Vec::new();
        for (number, line) in (1..).zip(ndjson.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str::<Binding>(line) {
                Ok(pair) if pair.business.is_empty() || pair.vendor.is_empty() => {
                    imported.malformed.push((number, "an id is empty".to_owned()));
                }
                Ok(pair) => page.push((number, pair)),
                Err(error) => imported.malformed.push((number, error.to_string())),
            }
            if page.len() == PAGE {
                self.import_page(tenant, app, std::mem::take(&mut page), &mut imported).await?;
            }
        }
        self.import_page(tenant, app, page, &mut imported).await?;
        Ok(imported)
    }

    async fn import_page(
        &self,
        tenant: &TenantId,
        app: &App,
        page: Vec<(u64, Binding)>,
        imported: &mut Imported,
    ) -> Result<()> {
        let pairs: Vec<Binding> = page.iter().map(|(_, pair)| pair.clone()).collect();
        let outcome = self.store.bind(tenant, app, &pairs).await;
        match outcome {
            Ok(in_force) => count(&page, &in_force, imported),
            // One pair of the page contradicts: find out which, one by one.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                for entry in &page {
                    match self.store.bind(tenant, app, std::slice::from_ref(&entry.1)).await {
                        Ok(in_force) => count(std::slice::from_ref(entry), &in_force, imported),
                        Err(error) if error.kind() == ErrorKind::Conflict => imported.conflicts.push(entry.0),
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        self.app(tenant, app).forget();
        Ok(())
    }
}

fn count(page: &[(u64, Binding)], in_force: &[Binding], imported: &mut Imported) {
    for ((number, asked), pair) in page.iter().zip(in_force) {
        if asked == pair {
            imported.bound += 1;
        } else {
            imported.conflicts.push(*number);
        }
    }
}

fn lines(page: &[Binding]) -> Result<Bytes> {
    let mut out = Vec::new();
    for pair in page {
        serde_json::to_writer(&mut out, pair)
            .map_err(|error| Error::new(ErrorKind::Internal, "a binding could not be written").with_source(error))?;
        out.push(b'\n');
    }
    Ok(out.into())
}
