//! Built-in types that have a canonical body.

use serde::Serialize;
use serde::de::DeserializeOwned;
use switchboard_contract::{
    Body, Combined, Command, ConversationKind, Error, Location, Media, Result, Text, Thumbnail, Unrecognised,
};

use super::{Beside, Decoded, Encoded, extra, mentions, place, to_json};
use crate::wire::content::{
    Beside as WireBeside, Document, Film, Forwarded, Gif, Picture, Place, Signal, TextContent, TextOut, Voice, Written,
};
use crate::wire::lenient::Count;

const TEXT: &str = "RC:TxtMsg";
const IMAGE: &str = "RC:ImgMsg";
const GIF: &str = "RC:GIFMsg";
const VOICE: &str = "RC:VcMsg";
const VOICE_FILE: &str = "RC:HQVCMsg";
const VIDEO: &str = "RC:SightMsg";
const FILE: &str = "RC:FileMsg";
const LOCATION: &str = "RC:LBSMsg";
const COMMAND: &str = "RC:CmdMsg";
const NOTICE: &str = "RC:CmdNtf";
const COMBINED: &str = "RC:CombineMsg";
const COMBINED_2: &str = "RC:CombineV2Msg";

/// The format that makes an image an `RC:GIFMsg`.
const GIF_FORMAT: &str = "gif";

pub(crate) fn is_canonical(object_name: &str) -> bool {
    matches!(
        object_name,
        TEXT | IMAGE | GIF | VOICE | VOICE_FILE | VIDEO | FILE | LOCATION | COMMAND | NOTICE | COMBINED | COMBINED_2
    )
}

pub(crate) fn decode(object_name: &str, content: &str, mark_key: &str) -> Decoded {
    let mut beside = WireBeside { extra: None, mentions: None };
    let body = if object_name == TEXT {
        serde_json::from_str::<TextContent<'_>>(content).ok().map(|text| {
            beside = WireBeside { extra: text.extra, mentions: text.mentions };
            Body::Text(Text { text: text.content.0.into_owned() })
        })
    } else {
        if let Ok(found) = serde_json::from_str(content) {
            beside = found;
        }
        decode_rare(object_name, content)
    };
    let (ext, mark) = extra::read(beside.extra, mark_key);
    let (mentions_everyone, mentions) = mentions::read(beside.mentions);
    let body = body.unwrap_or_else(|| Body::Unrecognised(Unrecognised::keep(object_name, content.as_bytes())));
    Decoded { body, ext, mark, mentions_everyone, mentions }
}

fn decode_rare(object_name: &str, content: &str) -> Option<Body> {
    fn wire<T: DeserializeOwned>(content: &str) -> Option<T> {
        serde_json::from_str(content).ok()
    }
    Some(match object_name {
        IMAGE => picture(wire(content)?),
        GIF => gif(wire(content)?),
        VOICE | VOICE_FILE => voice(wire(content)?),
        VIDEO => film(wire(content)?),
        FILE => document(wire(content)?),
        LOCATION => location(wire(content)?),
        COMMAND => command(wire(content)?, false),
        NOTICE => command(wire(content)?, true),
        COMBINED | COMBINED_2 => combined(wire(content)?),
        _ => return None,
    })
}

fn thumbnail(data: Option<String>, width: Count<u32>, height: Count<u32>) -> Option<Thumbnail> {
    let found = Thumbnail { data, width: width.0, height: height.0, ..Thumbnail::default() };
    (found != Thumbnail::default()).then_some(found)
}

fn picture(wire: Picture) -> Body {
    Body::Image(Media {
        url: wire.url,
        name: wire.name,
        size: wire.size.0,
        format: wire.format,
        width: wire.width.0,
        height: wire.height.0,
        thumbnail: thumbnail(wire.content, wire.thumbnail_width, wire.thumbnail_height),
        ..Media::default()
    })
}

fn gif(wire: Gif) -> Body {
    Body::Image(Media {
        url: wire.url,
        name: wire.name,
        size: wire.size.0,
        format: Some(GIF_FORMAT.to_owned()),
        width: wire.width.0,
        height: wire.height.0,
        ..Media::default()
    })
}

fn voice(wire: Voice) -> Body {
    Body::Audio(Media {
        url: wire.url,
        data: wire.content,
        name: wire.name,
        size: wire.size.0,
        format: wire.format,
        duration: wire.duration.0,
        ..Media::default()
    })
}

fn film(wire: Film) -> Body {
    Body::Video(Media {
        url: wire.url,
        name: wire.name,
        size: wire.size.0,
        format: wire.format,
        width: wire.width.0,
        height: wire.height.0,
        duration: wire.duration.0,
        thumbnail: thumbnail(wire.content, wire.thumbnail_width, wire.thumbnail_height),
        ..Media::default()
    })
}

fn document(wire: Document) -> Body {
    Body::File(Media { url: wire.url, name: wire.name, size: wire.size.0, format: wire.format, ..Media::default() })
}

fn location(wire: Place) -> Body {
    Body::Location(Location {
        latitude: wire.latitude,
        longitude: wire.longitude,
        address: wire.poi,
        map: wire.content,
    })
}

fn command(wire: Signal, notice: bool) -> Body {
    Body::Command(Command { name: wire.name, data: wire.data, notice })
}

fn combined(wire: Forwarded) -> Body {
    Body::Combined(Combined {
        summary: wire.summary,
        names: wire.names,
        count: wire.count.0,
        from: wire.from.0.and_then(|number| place::conversation_kind(i64::from(number))),
        items: wire.items,
        file: wire.url.map(|url| Media { url: Some(url), ..Media::default() }),
        ..Combined::default()
    })
}

/// # Errors
/// See [`super::Codec::encode`].
pub(crate) fn encode(body: &Body, beside: Beside<'_>, mark_key: &str) -> Result<Encoded> {
    let out = Out { beside, mark_key };
    match body {
        Body::Text(text) => out.write(TEXT, TextOut { content: &text.text }),
        Body::Image(media) => encode_image(media, out),
        Body::Audio(media) => encode_audio(media, out),
        Body::Video(media) => encode_video(media, out),
        Body::File(media) => encode_file(media, out),
        Body::Location(place) => encode_location(place, out),
        Body::Command(command) => encode_command(command, out),
        Body::Combined(combined) => encode_combined(combined, out),
        _ => Err(Error::unsupported(&format!("a body of type {}", body.kind()))),
    }
}

#[derive(Clone, Copy)]
struct Out<'a> {
    beside: Beside<'a>,
    mark_key: &'a str,
}

impl Out<'_> {
    fn write<T: Serialize>(self, object_name: &'static str, own: T) -> Result<Encoded> {
        let extra = extra::write(self.beside.ext, self.beside.mark, self.mark_key)?;
        let mentions = mentions::write(self.beside);
        let content = to_json(&Written { own, mentions: mentions.as_ref(), extra: extra.as_deref() })?;
        Ok(Encoded { object_name: object_name.into(), content })
    }
}

/// Refuses fields that have no place in this type. Downloads protected by a key, thumbnails with an address of their
/// own and files carried inline are Huanxin's.
fn refuse(fields: &[(&str, bool)]) -> Result<()> {
    match fields.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(Error::unsupported(&format!("body.{field} in this kind of body"))),
        None => Ok(()),
    }
}

fn required<T: Clone>(field: &str, value: &Option<T>) -> Result<Option<T>> {
    if value.is_none() { Err(Error::invalid(field, "is required")) } else { Ok(value.clone()) }
}

fn thumbnail_parts(media: &Media) -> Result<(Option<String>, Count<u32>, Count<u32>)> {
    let Some(thumbnail) = &media.thumbnail else { return Ok(Default::default()) };
    refuse(&[("thumbnail.url", thumbnail.url.is_some()), ("thumbnail.secret", thumbnail.secret.is_some())])?;
    Ok((thumbnail.data.clone(), Count(thumbnail.width), Count(thumbnail.height)))
}

fn encode_image(media: &Media, out: Out<'_>) -> Result<Encoded> {
    refuse(&[
        ("data", media.data.is_some()),
        ("secret", media.secret.is_some()),
        ("duration", media.duration.is_some()),
    ])?;
    let url = required("body.url", &media.url)?;
    let (size, width, height) = (Count(media.size), Count(media.width), Count(media.height));
    if media.format.as_deref() == Some(GIF_FORMAT) && media.thumbnail.is_none() {
        return out.write(GIF, Gif { size, url, width, height, name: media.name.clone() });
    }
    let (content, thumbnail_width, thumbnail_height) = thumbnail_parts(media)?;
    let (name, format) = (media.name.clone(), media.format.clone());
    out.write(IMAGE, Picture { content, url, thumbnail_width, thumbnail_height, name, size, format, width, height })
}

fn encode_audio(media: &Media, out: Out<'_>) -> Result<Encoded> {
    refuse(&[
        ("secret", media.secret.is_some()),
        ("width", media.width.is_some()),
        ("height", media.height.is_some()),
        ("thumbnail", media.thumbnail.is_some()),
        ("data beside url", media.data.is_some() && media.url.is_some()),
    ])?;
    let inline = media.data.is_some();
    let voice = Voice {
        content: media.data.clone(),
        url: if inline { None } else { required("body.url", &media.url)? },
        duration: Count(media.duration),
        format: media.format.clone(),
        name: media.name.clone(),
        size: Count(media.size),
    };
    out.write(if inline { VOICE } else { VOICE_FILE }, voice)
}

fn encode_video(media: &Media, out: Out<'_>) -> Result<Encoded> {
    refuse(&[("data", media.data.is_some()), ("secret", media.secret.is_some())])?;
    let (content, thumbnail_width, thumbnail_height) = thumbnail_parts(media)?;
    let film = Film {
        content,
        url: required("body.url", &media.url)?,
        duration: Count(media.duration),
        size: Count(media.size),
        name: media.name.clone(),
        format: media.format.clone(),
        width: Count(media.width),
        height: Count(media.height),
        thumbnail_width,
        thumbnail_height,
    };
    out.write(VIDEO, film)
}

fn encode_file(media: &Media, out: Out<'_>) -> Result<Encoded> {
    refuse(&[
        ("data", media.data.is_some()),
        ("secret", media.secret.is_some()),
        ("duration", media.duration.is_some()),
        ("width", media.width.is_some()),
        ("height", media.height.is_some()),
        ("thumbnail", media.thumbnail.is_some()),
    ])?;
    let document = Document {
        name: media.name.clone(),
        size: Count(media.size),
        format: media.format.clone(),
        url: required("body.url", &media.url)?,
    };
    out.write(FILE, document)
}

fn encode_location(place: &Location, out: Out<'_>) -> Result<Encoded> {
    if !(place.latitude.abs() <= 90.0 && place.longitude.abs() <= 180.0) {
        return Err(Error::invalid("body.latitude", "the place is not on the globe"));
    }
    out.write(
        LOCATION,
        Place {
            content: place.map.clone(),
            latitude: place.latitude,
            longitude: place.longitude,
            poi: place.address.clone(),
        },
    )
}

fn encode_command(command: &Command, out: Out<'_>) -> Result<Encoded> {
    if command.data.as_ref().is_some_and(serde_json::Value::is_null) {
        return Err(Error::invalid("body.data", "null says nothing; leave it out"));
    }
    let signal = Signal { name: command.name.clone(), data: command.data.clone() };
    out.write(if command.notice { NOTICE } else { COMMAND }, signal)
}

fn encode_combined(combined: &Combined, out: Out<'_>) -> Result<Encoded> {
    refuse(&[
        ("title", combined.title.is_some()),
        ("fallback", combined.fallback.is_some()),
        ("level", combined.level.is_some()),
    ])?;
    if combined.items.as_ref().is_some_and(serde_json::Value::is_null) {
        return Err(Error::invalid("body.items", "null says nothing; leave it out"));
    }
    let url = match &combined.file {
        None => None,
        Some(file) => {
            let only_url = Media { url: file.url.clone(), ..Media::default() };
            refuse(&[("file, other than its url,", *file != only_url)])?;
            required("body.file.url", &file.url)?
        }
    };
    let second = combined.count.is_some() || combined.items.is_some();
    let forwarded = Forwarded {
        url,
        names: combined.names.clone(),
        summary: combined.summary.clone(),
        from: Count(combined.from.map(conversation_type)),
        count: Count(combined.count),
        items: combined.items.clone(),
    };
    out.write(if second { COMBINED_2 } else { COMBINED }, forwarded)
}

fn conversation_type(kind: ConversationKind) -> u8 {
    match kind {
        ConversationKind::Direct => 1,
        ConversationKind::Group => 3,
        ConversationKind::Room => 4,
        ConversationKind::System => 6,
    }
}
