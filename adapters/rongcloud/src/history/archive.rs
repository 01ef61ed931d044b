//! Unpacks a log into a temporary file. The whole archive is checked before the first line is believed.
//!
//! The vendor's pages show `.zip`, an older SDK `.gz`; the entry has no extension either way, so the first bytes tell.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use flate2::read::MultiGzDecoder;
use switchboard_contract::{Error, ErrorKind, Result};
use zip::ZipArchive;

/// Blocking. The file returned is at its beginning and goes when it is closed.
///
/// # Errors
/// `Decode` for a damaged archive, `TooLarge` above `limit` bytes, `Storage` or `StorageFull` for the temporary file.
pub(super) fn unpack(mut packed: File, limit: u64) -> Result<File> {
    let mut magic = [0; 4];
    let known = read_up_to(&mut packed, &mut magic).map_err(disk)?;
    packed.seek(SeekFrom::Start(0)).map_err(disk)?;
    let mut out = Out { file: BufWriter::new(tempfile::tempfile().map_err(disk)?), left: limit, limit };
    match &magic[..known] {
        // An empty zip has no entry, only the record of its end.
        [b'P', b'K', 3, 4] | [b'P', b'K', 5, 6] => {
            let mut archive = ZipArchive::new(BufReader::new(packed)).map_err(damaged)?;
            for index in 0..archive.len() {
                let mut entry = archive.by_index(index).map_err(damaged)?;
                if entry.is_file() {
                    out.take(&mut entry)?;
                }
            }
        }
        [0x1f, 0x8b, ..] => out.take(&mut MultiGzDecoder::new(BufReader::new(packed)))?,
        _ => out.take(&mut packed)?,
    }
    let mut file = out.file.into_inner().map_err(|error| disk(error.into_error()))?;
    file.seek(SeekFrom::Start(0)).map_err(disk)?;
    Ok(file)
}

struct Out {
    file: BufWriter<File>,
    left: u64,
    limit: u64,
}

impl Out {
    fn take(&mut self, entry: &mut dyn Read) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut last = b'\n';
        loop {
            let read = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(damaged(error)),
            };
            self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
                Error::new(ErrorKind::TooLarge, format!("the log unpacks to more than {} bytes", self.limit))
            })?;
            self.file.write_all(&buffer[..read]).map_err(disk)?;
            last = buffer[read - 1];
        }
        // Two entries must not meet in one line.
        if last == b'\n' { Ok(()) } else { self.file.write_all(b"\n").map_err(disk) }
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Decode, "the log's archive is damaged").with_source(error)
}

fn disk(error: io::Error) -> Error {
    let full = error.kind() == io::ErrorKind::StorageFull;
    let kind = if full { ErrorKind::StorageFull } else { ErrorKind::Storage };
    Error::new(kind, "the temporary file of a log cannot be used").with_source(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn unpacked(bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut out = Vec::new();
        unpack(file, limit)?.read_to_end(&mut out).unwrap();
        Ok(out)
    }

    fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn zip_gzip_and_plain_text_are_told_by_their_first_bytes() {
        assert_eq!(unpacked(&zipped(&[("2026-11-19-10", b"a\nb\n")]), 100).unwrap(), b"a\nb\n");
        assert_eq!(unpacked(&zipped(&[("one", b"a"), ("two", b"b")]), 100).unwrap(), b"a\nb\n");
        assert_eq!(unpacked(&zipped(&[]), 100).unwrap(), b"");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(b"a\nb\n").unwrap();
        assert_eq!(unpacked(&gzip.finish().unwrap(), 100).unwrap(), b"a\nb\n");
        assert_eq!(unpacked(b"a\nb\n", 100).unwrap(), b"a\nb\n");
        assert_eq!(unpacked(b"", 100).unwrap(), b"");
    }

    #[test]
    fn a_damaged_archive_gives_no_line_at_all() {
        let mut archive = zipped(&[("log", b"one line\nanother line\nand one more of them\n")]);
        let middle = archive.windows(3).position(|bytes| bytes == b"log").unwrap() + 8;
        archive[middle] ^= 0x40;
        assert_eq!(unpacked(&archive, 1000).unwrap_err().kind(), ErrorKind::Decode);
        let whole = zipped(&[("log", b"one line\n")]);
        assert_eq!(unpacked(&whole[..whole.len() / 2], 1000).unwrap_err().kind(), ErrorKind::Decode);
    }

    #[test]
    fn a_bomb_is_stopped() {
        let archive = zipped(&[("log", &vec![b'x'; 1 << 20])]);
        assert!(archive.len() < 1 << 14);
        assert_eq!(unpacked(&archive, 1 << 16).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
