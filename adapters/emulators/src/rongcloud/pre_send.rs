//! The pre-send hook: one synchronous question per message; silence and errors mean "deliver".

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{
    app::App,
    callback_settings::CallbackSettings,
    form::FormWriter,
    model::{Origin, Push},
    state::{Draft, Reserved},
};

/// What the hook is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) draft: &'a Draft,
    pub(crate) reserved: &'a Reserved,
    pub(crate) push_content: &'a str,
}

/// What becomes of the message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on, perhaps changed, perhaps past the later checks.
    Deliver {
        /// What the hook changes.
        replaced: Replaced,
        /// No word filter.
        skip_checks: bool,
    },
    /// It ends here; the sender is told `extra`.
    Reject {
        /// At most 1024 characters.
        extra: String,
    },
}

impl Verdict {
    const UNANSWERED: Self =
        Self::Deliver { replaced: Replaced { content: None, push_content: None, push_off: None }, skip_checks: false };
}

/// What a hook that agrees wants changed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Replaced {
    content: Option<String>,
    push_content: Option<String>,
    push_off: Option<bool>,
}

impl Replaced {
    /// Changes the message.
    pub(crate) fn apply(self, draft: &mut Draft) {
        if let Some(content) = self.content {
            draft.content = content;
        }
        match self.push_off {
            Some(true) => draft.push = None,
            Some(false) => draft.push = draft.push.take().or_else(|| Some(Push::default())),
            None => {}
        }
        if let (Some(push), Some(content)) = (&mut draft.push, self.push_content) {
            push.content = content;
        }
    }
}

/// Asks the hook.
pub(crate) async fn ask(app: &App, question: Question<'_>, settings: &CallbackSettings) -> Verdict {
    let ai_generated = app.core.lock().settings.routing.ai_generated;
    let body = body(&app.app_key, question, ai_generated);
    let Some(job) = app.signer.pre_send_job(&question.reserved.uid, body, settings) else {
        return Verdict::UNANSWERED;
    };
    let limit = Duration::from_millis(settings.pre_send_timeout_ms);
    match app.sender.call(job, limit).await {
        Ok(reply) if reply.status == 200 => verdict(&reply.body),
        Ok(_) | Err(_) => Verdict::UNANSWERED,
    }
}

fn body(app_key: &str, question: Question<'_>, ai_generated: bool) -> String {
    let Question { draft, reserved, push_content } = question;
    let (os, ip) = match &draft.origin {
        Origin::Client { os, ip } => (os.as_str(), ip.as_str()),
        Origin::Server => ("Server", ""),
    };
    let extra_content =
        if draft.expansion.is_empty() { String::new() } else { serde_json::json!(draft.expansion).to_string() };
    let mut form = FormWriter::default();
    form.pair("appKey", app_key)
        .pair("fromUserId", &draft.from)
        .pair("targetId", &draft.target)
        .pair("toUserIds", &draft.directed.join(","))
        .pair("msgType", &draft.object_name)
        .pair("content", &draft.content)
        .pair("pushContent", push_content)
        .pair("disablePush", "false")
        .pair("pushExt", "")
        .pair("expansion", if draft.expandable { "true" } else { "false" })
        .pair("extraContent", &extra_content)
        .pair("channelType", draft.kind.channel_type())
        .pair("msgTimeStamp", &reserved.time_ms.to_string())
        .pair("messageId", &reserved.uid)
        .pair("originalMsgUID", draft.original_uid.as_deref().unwrap_or_default())
        .pair("os", os)
        .pair("busChannel", &draft.bus_channel)
        .pair("clientIp", ip);
    if ai_generated {
        form.pair("aiGenerated", "false");
    }
    form.finish()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    pass: Value,
    #[serde(default)]
    replace_content: Option<String>,
    #[serde(default)]
    replace_push_content: Option<String>,
    #[serde(default)]
    replace_disable_push: Option<bool>,
    #[serde(default)]
    extra: Option<String>,
}

fn verdict(body: &[u8]) -> Verdict {
    let Ok(reply) = serde_json::from_slice::<Reply>(body) else { return Verdict::UNANSWERED };
    let pass = reply.pass.as_i64().or_else(|| reply.pass.as_str()?.parse().ok());
    let replaced = Replaced {
        content: reply.replace_content,
        push_content: reply.replace_push_content,
        push_off: reply.replace_disable_push,
    };
    match pass {
        Some(0) => Verdict::Reject { extra: reply.extra.unwrap_or_default().chars().take(1024).collect() },
        Some(2) => Verdict::Deliver { replaced, skip_checks: true },
        Some(_) => Verdict::Deliver { replaced, skip_checks: false },
        None => Verdict::UNANSWERED,
    }
}

#[cfg(test)]
mod tests {
    use super::{Replaced, Verdict, verdict};

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../fixtures/rongcloud/callback_pre_send_reply_", $name, ".json"))
        };
    }

    #[test]
    fn documented_replies_are_understood() {
        let deliver = |replaced, skip_checks| Verdict::Deliver { replaced, skip_checks };
        assert!(verdict(fixture!("pass")) == deliver(Replaced::default(), false));
        assert!(verdict(fixture!("pass_skip_other_checks")) == deliver(Replaced::default(), true));
        let replaced = Replaced {
            content: Some(r#"{"content":"is this **?"}"#.to_owned()),
            push_content: Some("New message".to_owned()),
            push_off: Some(false),
        };
        assert!(verdict(fixture!("replace")) == deliver(replaced, false));
        let reject = Verdict::Reject { extra: "blocked by policy 12".to_owned() };
        assert!(verdict(fixture!("reject")) == reject);
    }

    #[test]
    fn what_is_no_reply_delivers() {
        for body in [&b""[..], b"ok", b"{}", br#"{"pass":null}"#, b"<html>"] {
            assert!(verdict(body) == Verdict::UNANSWERED);
        }
    }
}
