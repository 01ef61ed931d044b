//! Packets on the wire: whatever the network does to them, and whatever else comes in their place.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use switchboard_selfhosted::frame::*;
use switchboard_selfhosted::proto;

const LIMIT: u32 = 4096;

fn samples() -> Vec<Packet> {
    let content = proto::Content {
        body: r#"{"type":"text","text":"你好 🦀"}"#.to_owned(),
        ext: r#"{"n":1}"#.to_owned(),
        mentions: vec!["bob".to_owned()],
        ..Default::default()
    };
    let to = Some(proto::Target { to: Some(proto::target::To::User("bob".to_owned())) });
    let send = proto::Send { to: to.clone(), content: Some(content.clone()), client_id: "c1".to_owned() };
    let message = proto::Message { content: Some(content), to, ..Default::default() };
    let entry = proto::Entry {
        position: u64::MAX >> 1,
        sequence: 9_007_199_254_740_993,
        conversation: "direct~alice~bob".to_owned(),
        at: 1_795_200_000_000,
        id: "0".to_owned(),
        by: "alice".to_owned(),
        event: Some(proto::entry::Event::Message(message)),
    };
    let sealed = proto::Content { sealed: Bytes::from_static(&[0, 255, 1]), ..Default::default() };
    let edit = proto::EditMessage { id: "x".to_owned(), content: Some(sealed), version: 3 };
    let login = proto::Login {
        user: "alice".to_owned(),
        device_class: proto::DeviceClass::Phone.into(),
        network: proto::Network::Cellular.into(),
        ..Default::default()
    };
    let fault = proto::Fault { code: "rate_limited".to_owned(), retry: true, ..Default::default() };
    let packet = |kind, command, correlation, body: Body| Packet::new(kind, command, correlation, encode_body(&body));
    vec![
        packet(Kind::Request, Command::Login, 1, Body::Login(login)),
        packet(Kind::Request, Command::Send, u64::MAX, Body::Send(send)),
        packet(Kind::Notify, Command::Deliver, 7, Body::Entry(entry.clone())),
        packet(Kind::Ack, Command::Deliver, 7, Body::Empty),
        packet(Kind::Request, Command::Edit, 2, Body::EditMessage(edit)),
        packet(Kind::Ack, Command::Pull, 3, Body::Page(proto::Page { entries: vec![entry; 3], cursor: 7 })),
        packet(Kind::Cancel, Command::Send, 5, Body::Empty),
        Packet { flags: flags::ERROR, ..packet(Kind::Ack, Command::Send, 5, Body::Fault(fault)) },
    ]
}

fn stream(packets: &[Packet]) -> BytesMut {
    let mut out = BytesMut::new();
    packets.iter().for_each(|packet| packet.encode(&mut out));
    out
}

/// All packets of a stream that is read in these pieces.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: u32) -> Result<Vec<Packet>, FrameError> {
    let (mut decoder, mut found) = (Decoder::new(limit), Vec::new());
    for piece in pieces {
        decoder.extend(piece);
        while let Some(packet) = decoder.next_packet()? {
            found.push(packet);
        }
    }
    assert!(!decoder.is_amid_packet() || found.len() < samples().len());
    Ok(found)
}

#[test]
fn the_header_is_as_documented() {
    let mut out = BytesMut::new();
    let header =
        Header { kind: Kind::Ack, flags: 1, command: Command::Send, correlation: 0x0102_0304_0506_0708, length: 258 };
    header.encode(&mut out);
    assert_eq!(hex::encode(&out), "53420102000100070102030405060708".to_owned() + "00000102");
    assert_eq!(Header::decode(out.first_chunk().unwrap()), Ok(header));
}

#[test]
fn every_packet_cut_at_every_byte_parses_the_same() {
    let packets = samples();
    let whole = stream(&packets);
    for first in 0..=whole.len() {
        assert_eq!(read([&whole[..first], &whole[first..]], LIMIT).unwrap(), packets, "cut at {first}");
    }
    assert_eq!(read(whole.chunks(1), LIMIT).unwrap(), packets, "byte by byte");
    let one = stream(&packets[1..2]);
    for first in 0..=one.len() {
        for second in first..=one.len() {
            let pieces = [&one[..first], &one[first..second], &one[second..]];
            assert_eq!(read(pieces, LIMIT).unwrap(), packets[1..2], "cut at {first} and {second}");
        }
    }
}

#[test]
fn a_wrong_header_is_told_by_its_field_and_before_its_body_is_there() {
    let good = stream(&samples()[..1]);
    let with = |at: usize, value: u8| {
        let mut bytes = good[..HEADER_BYTES].to_vec();
        bytes[at] = value;
        read([&bytes[..]], LIMIT).unwrap_err()
    };
    assert_eq!(with(0, 0x47), FrameError::Magic(0x4742));
    assert_eq!(with(2, 9), FrameError::Version(9));
    assert_eq!(with(3, 0), FrameError::Kind(0));
    assert_eq!(with(4, 0x80), FrameError::Flags(0x8000));
    assert_eq!(with(6, 0xff), FrameError::Command(0xff01));
    let length = with(16, 0xff);
    assert!(matches!(length, FrameError::TooLong { limit: LIMIT, .. }), "{length}");
    let exact = good.len() - HEADER_BYTES;
    assert!(read([&good[..]], exact as u32).is_ok());
    assert!(matches!(read([&good[..]], exact as u32 - 1), Err(FrameError::TooLong { .. })));
}

#[test]
fn the_json_form_means_the_same() {
    for packet in samples() {
        let text = to_json(&packet).unwrap();
        assert_eq!(from_json(&text).unwrap(), packet, "{text}");
    }
    let typed = r#"{"kind":"request","command":"pull","id":4,"body":{"after":"9007199254740993","new_field":1}}"#;
    let packet = from_json(typed).unwrap();
    assert_eq!(decode_body(&packet).unwrap(), Body::Pull(proto::Pull { after: 9_007_199_254_740_993, limit: 0 }));
    for wrong in [
        "",
        "[]",
        r#"{"kind":"request","command":"nope"}"#,
        r#"{"kind":"ask","command":"pull"}"#,
        r#"{"kind":"request","command":"pull","id":-1}"#,
        r#"{"kind":"request","command":"pull","body":{"after":"x"}}"#,
        r#"{"kind":"request","command":"deliver","body":{}}"#,
    ] {
        assert_eq!(from_json(wrong).unwrap_err().code(), "bad_body", "{wrong}");
    }
}

#[test]
fn a_body_of_another_form_is_refused() {
    let packet = Packet::new(Kind::Request, Command::Send, 1, Bytes::from_static(&[0x0a, 0xff]));
    assert_eq!(decode_body(&packet).unwrap_err().code(), "bad_body");
    let packet = Packet::new(Kind::Notify, Command::Login, 1, Bytes::new());
    assert_eq!(decode_body(&packet).unwrap_err().code(), "bad_body");
}

/// Runs for `SWITCHBOARD_FUZZ_SECONDS` (1 by default; CI gives it 60, `scripts/fuzz` 1,800).
#[test]
fn fuzz_no_bytes_make_the_decoder_panic_or_hoard() {
    let seconds = std::env::var("SWITCHBOARD_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut seed: u64 =
        std::env::var("SWITCHBOARD_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    let (mut cases, mut packets) = (0_u64, 0_u64);
    while Instant::now() < until {
        println!("SWITCHBOARD_FUZZ_SEED={seed}");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
        for _ in 0..64 {
            let tree = damaged().new_tree(&mut runner).unwrap();
            let (input, cuts) = proptest::strategy::ValueTree::current(&tree);
            packets += swallow(&input, &cuts);
            cases += 1;
        }
        seed = seed.wrapping_add(1);
    }
    println!("{cases} inputs, {packets} packets");
    assert!(packets > 0, "no input was a packet: the fuzzer does not reach the decoder's inside");
}

/// Real packets, damaged in places, between noise; and where the stream is cut.
fn damaged() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let whole = stream(&samples()).to_vec();
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let noise = prop::collection::vec(any::<u8>(), 0..64);
    let cuts = prop::collection::vec(0_usize..64, 0..32);
    (flips, noise, any::<prop::sample::Index>(), cuts, any::<bool>()).prop_map(move |(flips, noise, at, cuts, pure)| {
        let mut bytes = if pure { noise.clone() } else { whole.clone() };
        for (index, value) in flips {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = value;
            }
        }
        if noise.len() % 3 == 0 {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, noise);
        }
        (bytes, cuts)
    })
}

fn swallow(input: &[u8], cuts: &[usize]) -> u64 {
    let (mut decoder, mut rest, mut found) = (Decoder::new(LIMIT), input, 0);
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, left) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = left;
    }
    pieces.push(rest);
    'stream: for piece in pieces {
        decoder.extend(piece);
        loop {
            match decoder.next_packet() {
                Ok(Some(packet)) => {
                    found += 1;
                    if let Ok(body) = decode_body(&packet) {
                        assert!(encode_body(&body).len() <= packet.body.len().max(HEADER_BYTES) * 2);
                        // The numbers of enumerations that a newer side may add have no word yet.
                        match to_json(&packet).map(|text| from_json(&text)) {
                            Ok(Ok(_)) => {}
                            Err(FrameError::Body(why)) if why.contains("Invalid variant") => {}
                            other => panic!("{other:?}"),
                        }
                    }
                }
                Ok(None) => break,
                Err(_) => break 'stream,
            }
            assert!(decoder.buffer().len() <= input.len());
        }
    }
    let _ = from_json(&String::from_utf8_lossy(input));
    found
}
