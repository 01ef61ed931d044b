//! The end of a session: what is stored, what is said, who learns of it.

use std::time::Duration;

use futures::stream::StreamExt as _;
use switchboard_contract::Error;

use super::connection::refuse;
use super::session::{Finished, Session};
use crate::frame::{Body, Command, Kind, Packet, encode_body};
use crate::proto;
use crate::service::{Act, RouteKick};
use crate::transport::Transport;

/// How long a kicked client may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a session ends.
pub(super) enum End {
    Gone,
    Silent,
    LoggedOut,
    Kicked(RouteKick),
    Fault { code: &'static str, message: String },
}

impl Session {
    /// What is acknowledged and not stored yet is stored before the end.
    async fn save_all(&mut self) {
        while self.saving || self.unsaved {
            if !self.saving {
                self.save_at = self.now();
                self.store(self.save_at).await;
            }
            self.shared.service.saver().hurry();
            match self.begun.next().await {
                Some(Finished::Saved(true)) => self.confirm(),
                Some(Finished::Saved(false)) | None => return,
                Some(Finished::Reply(_) | Finished::Cancelled { .. }) => {}
            }
        }
    }

    pub(super) async fn finish(mut self: Box<Self>, mut transport: Transport, end: End) {
        let clock = self.shared.service.clock().clone();
        let (user, device) = (self.route.user.clone(), self.route.device.clone());
        tokio::select! {
            () = self.save_all() => {}
            () = clock.sleep(FAREWELL) => {}
        }
        let was_there = self.shared.service.routes().remove(&self.route);
        if matches!(end, End::Silent) {
            self.cadence.lost(&self.shared.config.heartbeat);
        }
        self.shared.cadences.keep(&user, &device, self.network, self.cadence);
        let reason = match &end {
            End::Gone => "gone",
            End::Silent => "silent",
            End::LoggedOut => "logout",
            End::Kicked(_) => "kicked",
            End::Fault { code, .. } => code,
        };
        metrics::counter!("switchboard_gate_closed_total", "reason" => reason).increment(1);
        // A device that is back already under its name has not gone.
        let back = self.shared.service.routes().of(&user).iter().any(|other| other.device == device);
        if !back && (was_there || matches!(end, End::Kicked(_))) {
            let class = self.route.class.into();
            let presence = proto::Presence { online: false, device, device_class: class, reason: reason.to_owned() };
            if let Err(error) = self.shared.service.submit(Act::Presence { user, presence }).await {
                tracing::debug!(%error, "a log-out was not recorded");
            }
        }
        match end {
            End::Fault { code, message } => {
                let _ = transport.write(&mut self.outbox, FAREWELL, &*clock).await;
                return refuse(&self.shared, transport, code, &message).await;
            }
            End::Kicked(kick) => {
                let kicked = proto::Kicked { reason: kick.reason.into(), by_device: kick.by_device };
                self.outbox.push(Packet::new(Kind::Notify, Command::Kick, 0, encode_body(&Body::Kicked(kicked))));
            }
            End::Gone | End::Silent | End::LoggedOut => {}
        }
        let _ = transport.write(&mut self.outbox, FAREWELL, &*clock).await;
        transport.close(FAREWELL, &*clock).await;
    }
}

/// The log cannot be read: the device connects again, and its cursor stands where it stood.
pub(super) fn storage_end(error: &Error) -> End {
    tracing::warn!(%error, "a session ends because the log cannot be read");
    End::Fault { code: "storage", message: "cannot be read at present".to_owned() }
}
