//! Form bodies: those the vendor posts to us, and those we post to it.

use std::borrow::Cow;

use bytes::Bytes;

/// One routed message (post-messaging callback). Empty values are absent values.
#[derive(Debug, Default)]
pub(crate) struct RouteForm<'a> {
    pub(crate) from: Option<Cow<'a, str>>,
    pub(crate) target: Option<Cow<'a, str>>,
    pub(crate) object_name: Option<Cow<'a, str>>,
    pub(crate) content: Option<Cow<'a, str>>,
    pub(crate) channel_type: Option<Cow<'a, str>>,
    pub(crate) sent_at: Option<Cow<'a, str>>,
    pub(crate) uid: Option<Cow<'a, str>>,
    pub(crate) original_uid: Option<Cow<'a, str>>,
    pub(crate) bus_channel: Option<Cow<'a, str>>,
    pub(crate) audience: Vec<Cow<'a, str>>,
}

impl<'a> RouteForm<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Self {
        let mut form = Self::default();
        for (key, value) in form_urlencoded::parse(body) {
            if value.is_empty() {
                continue;
            }
            match key.as_ref() {
                "fromUserId" => form.from = Some(value),
                "toUserId" => form.target = Some(value),
                "objectName" => form.object_name = Some(value),
                "content" => form.content = Some(value),
                "channelType" => form.channel_type = Some(value),
                "msgTimestamp" => form.sent_at = Some(value),
                "msgUID" => form.uid = Some(value),
                "originalMsgUID" => form.original_uid = Some(value),
                "busChannel" => form.bus_channel = Some(value),
                "groupUserIds" => form.audience.push(value),
                // sensitiveType, source, clientIp, aiGenerated and what comes after them stay in the raw bytes.
                _ => {}
            }
        }
        form
    }
}

/// A message the vendor holds until we answer.
#[derive(Debug, Default)]
pub(crate) struct PreSendForm<'a> {
    pub(crate) from: Option<Cow<'a, str>>,
    pub(crate) target: Option<Cow<'a, str>>,
    pub(crate) audience: Option<Cow<'a, str>>,
    pub(crate) object_name: Option<Cow<'a, str>>,
    pub(crate) channel_type: Option<Cow<'a, str>>,
    pub(crate) sent_at: Option<Cow<'a, str>>,
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) original_uid: Option<Cow<'a, str>>,
    pub(crate) os: Option<Cow<'a, str>>,
    pub(crate) bus_channel: Option<Cow<'a, str>>,
}

impl<'a> PreSendForm<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Self {
        let mut form = Self::default();
        for (key, value) in form_urlencoded::parse(body) {
            if value.is_empty() {
                continue;
            }
            match key.as_ref() {
                "fromUserId" => form.from = Some(value),
                "targetId" => form.target = Some(value),
                "toUserIds" => form.audience = Some(value),
                "msgType" => form.object_name = Some(value),
                "channelType" => form.channel_type = Some(value),
                "msgTimeStamp" => form.sent_at = Some(value),
                "messageId" => form.id = Some(value),
                "originalMsgUID" => form.original_uid = Some(value),
                "os" => form.os = Some(value),
                "busChannel" => form.bus_channel = Some(value),
                _ => {}
            }
        }
        form
    }
}

/// Builds a form body: pairs in order, lists as repeated keys, spaces as `%20` as the vendor's own SDKs write them.
#[derive(Debug, Default)]
pub(crate) struct Form(String);

impl Form {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub(crate) fn pair(mut self, key: &str, value: impl AsRef<str>) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.escaped(key);
        self.0.push('=');
        self.escaped(value.as_ref());
        self
    }

    #[must_use]
    pub(crate) fn pairs<T: AsRef<str>>(self, key: &str, values: impl IntoIterator<Item = T>) -> Self {
        values.into_iter().fold(self, |form, value| form.pair(key, value))
    }

    #[must_use]
    pub(crate) fn maybe(self, key: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.pair(key, value),
            None => self,
        }
    }

    /// `0` or `1`.
    #[must_use]
    pub(crate) fn flag(self, key: &str, on: bool) -> Self {
        self.pair(key, if on { "1" } else { "0" })
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from(self.0)
    }

    fn escaped(&mut self, text: &str) {
        for piece in form_urlencoded::byte_serialize(text.as_bytes()) {
            self.0.push_str(if piece == "+" { "%20" } else { piece });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_values_are_absent_and_lists_repeat() {
        let form =
            RouteForm::parse(b"msgUID=u&originalMsgUID=&groupUserIds=a&groupUserIds=b&timestamp=9&msgTimestamp=1");
        assert_eq!(form.uid.as_deref(), Some("u"));
        assert_eq!(form.original_uid, None);
        assert_eq!(form.audience, ["a", "b"]);
        assert_eq!(form.sent_at.as_deref(), Some("1"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let body = Form::new().pair("a b", "1+1 = 2&x").pairs("l", ["é", "%"]).flag("f", true).into_bytes();
        assert_eq!(body, "a%20b=1%2B1%20%3D%202%26x&l=%C3%A9&l=%25&f=1");
        let pairs: Vec<_> = form_urlencoded::parse(&body).collect();
        assert_eq!(pairs[0], ("a b".into(), "1+1 = 2&x".into()));
        assert_eq!(pairs[2].1, "%");
    }
}
