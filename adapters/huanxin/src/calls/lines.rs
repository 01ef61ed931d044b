//! The lines of a history file, read as they are asked for.
//!
//! The object is gzip by its bytes, whatever its headers say; storage that compresses once more is seen through too.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use switchboard_contract::{Error, ErrorKind, Result};

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Layers of gzip that are unpacked: the file's own, and one added on the way.
const LAYERS: usize = 2;

type Source = Box<dyn BufRead + Send>;

/// Lines without their ends; empty ones are left out.
pub(crate) struct Lines {
    source: Source,
    longest: usize,
    broken: bool,
}

impl Lines {
    /// # Errors
    /// As reading.
    pub(crate) fn open(file: File, longest: usize) -> Result<Self> {
        Self::over(Box::new(BufReader::with_capacity(64 << 10, file)), longest)
    }

    fn over(mut source: Source, longest: usize) -> Result<Self> {
        for _ in 0..LAYERS {
            // A buffer's first filling holds two bytes unless the file has fewer.
            if !source.fill_buf().map_err(broken)?.starts_with(&GZIP) {
                break;
            }
            source = Box::new(BufReader::with_capacity(64 << 10, MultiGzDecoder::new(source)));
        }
        Ok(Self { source, longest, broken: false })
    }

    /// One line with its end; empty at the end of the file. A line above the limit is skipped to its end.
    fn read_line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let limit = self.longest as u64 + 1;
        self.source.by_ref().take(limit).read_until(b'\n', &mut line).map_err(broken)?;
        if line.len() > self.longest && !line.ends_with(b"\n") {
            self.source.skip_until(b'\n').map_err(broken)?;
            return Err(Error::new(ErrorKind::TooLarge, format!("a line is longer than {} bytes", self.longest)));
        }
        Ok(line)
    }
}

impl Iterator for Lines {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.broken {
            match self.read_line() {
                Ok(line) if line.is_empty() => return None,
                Ok(line) => {
                    let line = line.trim_ascii();
                    if !line.is_empty() {
                        return Some(Ok(Bytes::copy_from_slice(line)));
                    }
                }
                Err(error) => {
                    // After a long line the next one begins; after a broken file nothing does.
                    self.broken = error.kind() != ErrorKind::TooLarge;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

fn broken(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Decode, "the history file breaks off or is damaged").with_source(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::Cursor;

    use flate2::Compression;
    use flate2::read::GzEncoder;

    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        GzEncoder::new(bytes, Compression::default()).read_to_end(&mut out).unwrap();
        out
    }

    fn lines(bytes: Vec<u8>) -> Vec<Result<String, ErrorKind>> {
        let lines = Lines::over(Box::new(BufReader::new(Cursor::new(bytes))), 8).unwrap();
        lines
            .map(|line| line.map(|line| String::from_utf8(line.to_vec()).unwrap()).map_err(|error| error.kind()))
            .collect()
    }

    #[test]
    fn plain_packed_and_twice_packed_files_read_alike() {
        let text = b"one\r\n\n  two\nthree".to_vec();
        let expected = vec![Ok("one".to_owned()), Ok("two".to_owned()), Ok("three".to_owned())];
        assert_eq!(lines(text.clone()), expected);
        assert_eq!(lines(pack(&text)), expected);
        assert_eq!(lines(pack(&pack(&text))), expected);
        let members = [pack(b"one\n"), pack(b"two\nthree")].concat();
        assert_eq!(lines(members), expected, "files of several gzip members");
        assert_eq!(lines(Vec::new()), vec![]);
    }

    #[test]
    fn a_long_line_is_reported_and_the_next_one_read() {
        assert_eq!(
            lines(b"123456789\nok\n12345678\n".to_vec()),
            vec![Err(ErrorKind::TooLarge), Ok("ok".to_owned()), Ok("12345678".to_owned())]
        );
    }

    #[test]
    fn a_file_that_breaks_off_says_so_once() {
        let mut packed = pack(b"one\ntwo\n");
        packed.truncate(packed.len() - 6);
        let read = lines(packed);
        assert_eq!(read.last(), Some(&Err(ErrorKind::Decode)));
        assert_eq!(read.iter().filter(|line| line.is_err()).count(), 1);
    }
}
