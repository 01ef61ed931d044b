//! Where a business in another process is served: its calls as they come over the gate.

use async_trait::async_trait;
use bytes::Bytes;
use switchboard_contract::{Error, Result};

use super::callbacks::Seal;
use super::clerk::Clerk;
use super::desk::{Answer, Call, Office as _};
use crate::gate::Business;
use crate::proto;
use crate::service::Service;

/// Hands calls to clerks; each reader of the log has its own.
#[derive(Debug)]
pub(super) struct Counter {
    service: Service,
    seal: Seal,
}

impl Counter {
    pub(super) fn new(service: Service, seal: Seal) -> Self {
        Self { service, seal }
    }
}

#[async_trait]
impl Business for Counter {
    async fn call(&self, reader: &str, asked: proto::BusinessCall) -> Result<proto::BusinessAnswer> {
        let call: Call = serde_json::from_str(&asked.call).map_err(|error| Error::invalid("call", error))?;
        metrics::counter!("switchboard_gate_business_calls_total", "call" => call.name()).increment(1);
        let clerk = Clerk::new(self.service.clone(), self.seal.clone(), format!("business/{reader}"));
        let answer = clerk.call(call).await?;
        let data = match &answer {
            Answer::Notice(Some(notice)) => notice.body.clone(),
            _ => Bytes::new(),
        };
        let answer = serde_json::to_string(&answer).map_err(|error| {
            Error::new(switchboard_contract::ErrorKind::Internal, "an answer cannot be written").with_source(error)
        })?;
        Ok(proto::BusinessAnswer { answer, data })
    }
}
