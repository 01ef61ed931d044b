//! Users and their logins.

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use switchboard_contract::{Error, LoginToken, PresenceState, Result, UserLimits, UserProfile, Users, VendorUserId};

use super::publish::check_id;
use crate::limits::{MAX_AVATAR, MAX_BAN_MINUTES, MAX_NAME, group};
use crate::provider::RongCloud;
use crate::wire::form::Form;
use crate::wire::replies::{OnlineReply, TokenReply};

/// Online questions asked at a time; the vendor answers for one user in each.
const ASKED_TOGETHER: usize = 8;

impl RongCloud {
    /// Registers the user if need be; the vendor has no other call for it.
    async fn token(&self, operation: &'static str, user: &VendorUserId, profile: &UserProfile) -> Result<TokenReply> {
        check_id("user", user.as_str())?;
        let longest = |field: &str, text: Option<&String>, limit: usize| match text {
            Some(text) if text.chars().count() > limit => {
                Err(Error::invalid(field, format_args!("at most {limit} characters are admitted")))
            }
            _ => Ok(()),
        };
        longest("name", profile.name.as_ref(), MAX_NAME)?;
        longest("avatar", profile.avatar.as_ref(), MAX_AVATAR)?;
        let form = Form::new()
            .pair("userId", user.as_str())
            // The vendor wants a name.
            .pair("name", profile.name.as_deref().unwrap_or(user.as_str()))
            .maybe("portraitUri", profile.avatar.as_deref());
        let reply = self.post(operation, group::TOKEN, "/user/getToken.json", form).await?;
        serde_json::from_slice(&reply.body).map_err(|error| reply.undecodable(error).with_operation(operation))
    }

    async fn is_online(&self, user: &VendorUserId) -> Result<PresenceState> {
        check_id("user", user.as_str())?;
        let form = Form::new().pair("userId", user.as_str());
        let reply = self.post("presence", group::GENERAL, "/user/checkOnline.json", form).await?;
        let answer: OnlineReply<'_> =
            serde_json::from_slice(&reply.body).map_err(|error| reply.undecodable(error).with_operation("presence"))?;
        Ok(match answer.status.integer() {
            Some(1) => PresenceState::Online,
            Some(0) => PresenceState::Offline,
            _ => PresenceState::Unknown,
        })
    }
}

#[async_trait]
impl Users for RongCloud {
    fn limits(&self) -> UserLimits {
        UserLimits {
            kick: false,
            offline_count: false,
            push: false,
            max_ban: Some(Duration::from_secs(MAX_BAN_MINUTES * 60)),
            quota: self.inner.config.quotas.general(),
        }
    }

    async fn ensure(&self, user: &VendorUserId, profile: &UserProfile) -> Result<()> {
        self.token("ensure_user", user, profile).await.map(drop)
    }

    async fn login_token(&self, user: &VendorUserId, profile: &UserProfile) -> Result<LoginToken> {
        let reply = self.token("login_token", user, profile).await?;
        // Permanent unless the console says otherwise, and the answer does not tell.
        Ok(LoginToken { token: reply.token, expires_at: None })
    }

    async fn kick(&self, _user: &VendorUserId) -> Result<()> {
        // See the crate's documentation: the nearest tools are a short ban and the expiry of tokens.
        Err(Error::unsupported("kicking a user without a ban"))
    }

    async fn ban(&self, user: &VendorUserId, duration: Option<Duration>) -> Result<()> {
        check_id("user", user.as_str())?;
        let Some(duration) = duration else {
            return Err(Error::unsupported("a ban without an end"));
        };
        // A minute is the unit; a ban is never shorter than asked.
        let minutes = u64::try_from(duration.as_millis().div_ceil(60_000)).unwrap_or(u64::MAX);
        if !(1..=MAX_BAN_MINUTES).contains(&minutes) {
            return Err(Error::invalid("duration", format_args!("a ban has 1 to {MAX_BAN_MINUTES} minutes")));
        }
        let form = Form::new().pair("userId", user.as_str()).pair("minute", minutes.to_string());
        self.post("ban", group::GENERAL, "/user/block.json", form).await.map(drop)
    }

    async fn unban(&self, user: &VendorUserId) -> Result<()> {
        check_id("user", user.as_str())?;
        let form = Form::new().pair("userId", user.as_str());
        self.post("unban", group::GENERAL, "/user/unblock.json", form).await.map(drop)
    }

    async fn presence(&self, users: &[VendorUserId]) -> Result<Vec<PresenceState>> {
        let questions: Vec<_> = users.iter().map(|user| self.is_online(user)).collect();
        stream::iter(questions).buffered(ASKED_TOGETHER).try_collect().await
    }

    async fn offline_count(&self, _user: &VendorUserId) -> Result<u64> {
        Err(Error::unsupported("the number of messages that wait for a user"))
    }
}
