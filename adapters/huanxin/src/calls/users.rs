//! Users, their logins and online states (REST/account_*, easemob_user_token).

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use switchboard_contract::{
    Error, ErrorKind, LoginToken, PresenceState, Result, UserLimits, UserProfile, Users, VendorUserId,
};
use switchboard_outbound::{CallBody, Method, Replay, VendorCall, path_segment};
use uuid::Uuid;

use super::read;
use crate::Huanxin;
use crate::config::LoginMethod;
use crate::limits::{self, MAX_STATES, group};
use crate::sign::{dynamic_token, json};
use crate::wire;

impl Huanxin {
    fn user_call(
        &self,
        method: Method,
        operation: &'static str,
        user: &VendorUserId,
        rest: &str,
    ) -> Result<VendorCall> {
        let path = self.path(&format!("/users/{}{rest}", path_segment(user.as_str())?));
        Ok(VendorCall::new(method, operation, group::USERS, path, Replay::ReadOnly))
    }

    /// Registers the user; `false` when it existed. Nobody is to know the password: users log in by token.
    async fn register(&self, user: &VendorUserId, nickname: Option<&str>) -> Result<bool> {
        let password = Uuid::new_v4().simple().to_string();
        let new = [wire::NewUser { username: user.as_str(), password: &password, nickname }];
        let call = VendorCall::new(Method::POST, "register", group::USERS, self.path("/users"), Replay::ReadOnly)
            .with_body(json(&new)?);
        let reply = match self.outbound.call(call).await {
            Ok(reply) => reply,
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(false),
            Err(error) => return Err(error),
        };
        let answer: wire::RegisterReply<'_> = read(&reply)?;
        let failure = answer.data.iter().find(|failure| failure.username.as_deref() == Some(user.as_str()));
        match failure.and_then(|failure| failure.reason.as_deref()) {
            None => Ok(true),
            // The vendor has words here and no code.
            Some(reason) if reason.contains("exist") => Ok(false),
            Some(_) => Err(Error::invalid("user", "the vendor does not register it").with_operation("register")),
        }
    }

    async fn show(&self, user: &VendorUserId, profile: &UserProfile, registered: bool) -> Result<()> {
        if let (Some(name), false) = (&profile.name, registered) {
            let body = json(&wire::Nickname { nickname: name })?;
            self.outbound.call(self.user_call(Method::PUT, "nickname", user, "")?.with_body(body)).await?;
        }
        let form = attributes(profile);
        if form.is_empty() {
            return Ok(());
        }
        let path = self.path(&format!("/metadata/user/{}", path_segment(user.as_str())?));
        let call = VendorCall::new(Method::PUT, "attributes", group::USERS, path, Replay::ReadOnly)
            .with_body(CallBody::Form(form.into()));
        self.outbound.call(call).await.map(drop)
    }

    async fn inherited_token(&self, user: &VendorUserId) -> Result<LoginToken> {
        let unit = self.config.token.unit;
        let request = wire::InheritRequest {
            grant_type: "inherit",
            username: user.as_str(),
            auto_create_user: true,
            ttl: unit.count(self.config.login.ttl),
        };
        let call = VendorCall::new(Method::POST, "login_token", group::TOKEN, self.path("/token"), Replay::ReadOnly)
            .with_body(json(&request)?);
        let asked_at = self.clock.now();
        let reply = self.outbound.call(call).await?;
        let token: wire::UserTokenReply = read(&reply)?;
        let lifetime = (token.expires_in > 0).then(|| unit.duration(token.expires_in));
        Ok(LoginToken { token: token.access_token, expires_at: lifetime.map(|lifetime| asked_at + lifetime) })
    }
}

/// The attributes every client of the vendor shows, as a form.
fn attributes(profile: &UserProfile) -> String {
    let attributes = [("nickname", &profile.name), ("avatarurl", &profile.avatar)];
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(attributes.iter().filter_map(|(key, value)| Some((key, value.as_deref()?))));
    form.finish()
}

#[async_trait]
impl Users for Huanxin {
    fn limits(&self) -> UserLimits {
        UserLimits { kick: true, offline_count: true, push: false, max_ban: None, quota: limits::DEFAULT }
    }

    async fn ensure(&self, user: &VendorUserId, profile: &UserProfile) -> Result<()> {
        let registered = self.register(user, profile.name.as_deref()).await?;
        self.show(user, profile, registered).await
    }

    async fn login_token(&self, user: &VendorUserId, profile: &UserProfile) -> Result<LoginToken> {
        let login = &self.config.login;
        // A token made here creates nobody; one made by the vendor creates the user without its profile.
        if login.method == LoginMethod::Dynamic || *profile != UserProfile::default() {
            self.ensure(user, profile).await?;
        }
        if login.method == LoginMethod::Inherit {
            return self.inherited_token(user).await;
        }
        let now = self.clock.now();
        let credentials = (self.config.client_id.as_str(), &self.config.client_secret);
        let seconds = now.0.div_euclid(1000);
        let token = dynamic_token(credentials, &self.config.app_key, user.as_str(), seconds, login.ttl.as_secs())?;
        Ok(LoginToken { token, expires_at: Some(now + login.ttl) })
    }

    async fn kick(&self, user: &VendorUserId) -> Result<()> {
        self.outbound.call(self.user_call(Method::GET, "kick", user, "/disconnect")?).await.map(drop)
    }

    async fn ban(&self, user: &VendorUserId, duration: Option<Duration>) -> Result<()> {
        if duration.is_some() {
            return Err(Error::unsupported("a ban that ends by itself"));
        }
        self.outbound.call(self.user_call(Method::POST, "ban", user, "/deactivate")?).await.map(drop)
    }

    async fn unban(&self, user: &VendorUserId) -> Result<()> {
        self.outbound.call(self.user_call(Method::POST, "unban", user, "/activate")?).await.map(drop)
    }

    async fn presence(&self, users: &[VendorUserId]) -> Result<Vec<PresenceState>> {
        let mut states = Vec::with_capacity(users.len());
        for page in users.chunks(MAX_STATES) {
            let body = json(&wire::Usernames { usernames: page.iter().map(VendorUserId::as_str).collect() })?;
            let path = self.path("/users/batch/status");
            let call = VendorCall::read(Method::POST, "presence", group::USERS, path).with_body(body);
            let reply = self.outbound.call(call).await?;
            let answer: wire::StatesReply<'_> = read(&reply)?;
            let told: HashMap<Cow<'_, str>, wire::Text<'_>> = answer.data.into_iter().flatten().collect();
            states.extend(page.iter().map(|user| match told.get(user.as_str()).map(|state| &**state) {
                Some("online") => PresenceState::Online,
                Some("offline") | None => PresenceState::Offline,
                Some(_) => PresenceState::Unknown,
            }));
        }
        Ok(states)
    }

    async fn offline_count(&self, user: &VendorUserId) -> Result<u64> {
        let reply =
            self.outbound.call(self.user_call(Method::GET, "offline_count", user, "/offline_msg_count")?).await?;
        let answer: wire::CountReply<'_> = read(&reply)?;
        answer.data.get(user.as_str()).copied().ok_or_else(|| {
            Error::new(ErrorKind::Decode, "the answer names another user").with_operation("offline_count")
        })
    }
}
