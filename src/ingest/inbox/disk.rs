//! The file layer under the inbox: small enough that a test can put another one in its place and lose, at any
//! moment, everything that was not synced.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory that belongs to one inbox.
pub trait InboxDir: fmt::Debug + Send + Sync {
    /// The names of the files in it, in no order.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `bytes` zeros whose room is reserved, so that writing into it cannot fail for want of room.
    /// Neither the file nor its name is durable before they are synced.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is not enough room; then no file is left behind.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn InboxFile>>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn InboxFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names in the directory durable.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn sync(&self) -> io::Result<()>;
}

/// One file of an inbox. One thread writes, any number read.
pub trait InboxFile: fmt::Debug + Send + Sync {
    /// Its size.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads at `at`, as much as the file has, at most `buffer`. Returns how much.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `at`. Not durable before [`sync_data`](Self::sync_data).
    ///
    /// # Errors
    /// Whatever the file system says; any part may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes everything written so far durable, and the size with it.
    ///
    /// # Errors
    /// Whatever the file system says; then nothing written since the last success can be trusted.
    fn sync_data(&self) -> io::Result<()>;
}

/// The real thing: a directory of the file system, held by a lock while this value or a file of it lives.
#[derive(Debug)]
pub struct DiskDir {
    path: PathBuf,
    lock: Arc<File>,
}

impl DiskDir {
    /// Makes the directory when needed and locks it.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when another process has it, else whatever the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        make_directory(path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("inbox.lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process uses this inbox"))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn file(&self, file: File) -> Arc<dyn InboxFile> {
        Arc::new(DiskFile { file, _lock: self.lock.clone() })
    }
}

impl InboxDir for DiskDir {
    fn list(&self) -> io::Result<Vec<String>> {
        std::fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn InboxFile>> {
        let path = self.path.join(name);
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
        if let Err(error) = reserve(&file, bytes) {
            // The first failure is the one to report.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn InboxFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(self.file(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_directory(&self.path)
    }
}

/// Makes a directory with all that lead to it, and each name durable before the next is made in it.
fn make_directory(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    if !path.is_dir() {
        make_directory(parent)?;
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => return Err(error),
            _ => {}
        }
    }
    // Also when it was there: a process that was killed right after making it may not have come so far.
    match sync_directory(parent) {
        // Somebody else's directory that may be passed and not read: it was not made by us.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        outcome => outcome,
    }
}

#[cfg(not(windows))]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Windows has no handle of a directory to flush; NTFS journals names itself.
#[cfg(windows)]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, bytes),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    write_zeros(file, bytes)
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    use std::io::Write as _;
    let zeros = vec![0; 1 << 18];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all(&zeros[..part])?;
        left -= part as u64;
    }
    Ok(())
}

#[derive(Debug)]
struct DiskFile {
    file: File,
    /// A file still written to keeps other processes out.
    _lock: Arc<File>,
}

impl InboxFile for DiskFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, at)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buffer, at)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, at)
    }

    #[cfg(windows)]
    fn write_at(&self, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(&self.file, bytes, at)?;
            bytes = &bytes[written..];
            at += written as u64;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
