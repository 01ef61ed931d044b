//! The lines of an hour's files, read as they are asked for.
//!
//! The object is gzip by its bytes, whatever its headers say; storage that compresses once more is seen through too.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use switchboard_contract::{Error, ErrorKind, Result};

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Layers of gzip that are unpacked: the file's own, and one added on the way.
const LAYERS: usize = 2;

const BUFFER: usize = 64 << 10;

type Source = Box<dyn BufRead + Send>;

/// Lines without their ends, of one file after another; empty ones are left out.
pub(crate) struct Lines {
    files: VecDeque<File>,
    open: Option<Source>,
    longest: usize,
    /// The line read last, with its end.
    line: Vec<u8>,
    broken: bool,
}

impl Lines {
    pub(crate) fn of(files: VecDeque<File>, longest: usize) -> Self {
        Self { files, open: None, longest, line: Vec::new(), broken: false }
    }

    /// The next line; `None` at the end of the last file.
    ///
    /// # Errors
    /// `TooLarge` for a line above the limit, after which the next one begins; `Decode` for a broken file, after which
    /// nothing does.
    pub(crate) fn next_line(&mut self) -> Option<Result<&[u8]>> {
        while !self.broken {
            match self.read() {
                Ok(false) => return None,
                Ok(true) if self.line.trim_ascii().is_empty() => {}
                Ok(true) => return Some(Ok(self.line.trim_ascii())),
                Err(error) => {
                    self.broken = error.kind() != ErrorKind::TooLarge;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// One line with its end, or `false` at the end of the last file. A line above the limit is skipped to its end.
    fn read(&mut self) -> Result<bool> {
        self.line.clear();
        let limit = self.longest as u64 + 1;
        loop {
            let source = match &mut self.open {
                Some(source) => source,
                none => match self.files.pop_front() {
                    Some(file) => none.insert(unpacked(Box::new(BufReader::with_capacity(BUFFER, file)))?),
                    None => return Ok(false),
                },
            };
            if source.by_ref().take(limit).read_until(b'\n', &mut self.line).map_err(broken)? == 0 {
                self.open = None;
                continue;
            }
            if self.line.len() > self.longest && !self.line.ends_with(b"\n") {
                source.skip_until(b'\n').map_err(broken)?;
                return Err(Error::new(ErrorKind::TooLarge, format!("a line is longer than {} bytes", self.longest)));
            }
            return Ok(true);
        }
    }
}

fn unpacked(mut source: Source) -> Result<Source> {
    for _ in 0..LAYERS {
        // A buffer's first filling holds two bytes unless the file has fewer.
        if !source.fill_buf().map_err(broken)?.starts_with(&GZIP) {
            break;
        }
        source = Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(source)));
    }
    Ok(source)
}

fn broken(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Decode, "the history file breaks off or is damaged").with_source(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::{Seek as _, SeekFrom, Write as _};

    use flate2::Compression;
    use flate2::read::GzEncoder;

    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        GzEncoder::new(bytes, Compression::default()).read_to_end(&mut out).unwrap();
        out
    }

    fn file(bytes: Vec<u8>) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }

    fn lines(bytes: Vec<u8>) -> Vec<Result<String, ErrorKind>> {
        lines_of(vec![bytes])
    }

    fn lines_of(files: Vec<Vec<u8>>) -> Vec<Result<String, ErrorKind>> {
        let mut lines = Lines::of(files.into_iter().map(file).collect(), 8);
        std::iter::from_fn(|| {
            let line = lines.next_line()?;
            Some(line.map(|line| String::from_utf8(line.to_vec()).unwrap()).map_err(|error| error.kind()))
        })
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
        let files = vec![pack(b"one\n\n"), Vec::new(), pack(b"  two"), pack(b"three\n")];
        assert_eq!(lines_of(files), expected, "an hour of several files");
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
