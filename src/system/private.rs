//! Files and folders for the user that runs this process and for no other: 0600 and 0700 from the moment they exist,
//! whatever the umask. Everything in the data directory is created here; clippy.toml refuses the other ways.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;
const PROGRAM: u32 = 0o700;
/// Read, write and search for group and others.
const OTHERS: u32 = 0o077;
/// Set on folders that all users share, such as `/tmp`.
const STICKY: u32 = 0o1000;
/// Ends the name of a file that is being written.
const UNFINISHED: &str = "new";

/// Why a folder or a file cannot be this user's own.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    #[error(
        "{path} belongs to user {owner}, and this process runs as user {user}; run it as user {owner}, choose another \
         data directory with --data-dir, or remove the file if you do not know it"
    )]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error(
        "{path} is shared by all users of this machine (mode {mode:04o}); choose a folder of your own with --data-dir"
    )]
    Shared { path: PathBuf, mode: u32 },
    #[error("{path} is open to other users (mode {mode:04o}) and cannot be closed to them: {reason}")]
    Open { path: PathBuf, mode: u32, reason: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// The user that this process runs as.
pub fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Creates a folder and those above it that are missing. One that exists keeps its mode.
#[expect(clippy::disallowed_methods, reason = "the mode is chosen here")]
pub fn create_dir(path: &Path) -> io::Result<()> {
    let created = match DirBuilder::new().mode(FOLDER).create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty()).ok_or(error)?;
            create_dir(above)?;
            DirBuilder::new().mode(FOLDER).create(path)
        }
        created => created,
    };
    match created {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(FOLDER)),
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a folder with a name of its own that goes with its value.
pub fn temp_dir_in(folder: &Path, prefix: &str) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(prefix).permissions(Permissions::from_mode(FOLDER)).tempdir_in(folder)
}

/// Opens a file to append to it. One that exists keeps its mode, see [`restrict`].
#[expect(clippy::disallowed_methods, reason = "the mode is chosen here")]
pub fn append(path: &Path) -> io::Result<File> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().create(true).append(true).mode(FILE).open(path)
        }
        created => created,
    }
}

/// Opens a file to read it and to write it in place. One that exists keeps its mode, see [`restrict`].
#[expect(clippy::disallowed_methods, reason = "the mode is chosen here")]
pub fn read_write(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().create_new(true).mode(FILE).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
        Ok(created) => created.set_permissions(Permissions::from_mode(FILE)).map(|()| created),
    }
}

/// Creates a file that is not there yet.
#[expect(clippy::disallowed_methods, reason = "the mode is chosen here")]
pub fn create_new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create_new(true).mode(FILE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(file)
}

/// Creates a file in place of the one of this name.
pub fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => create_new(path),
    }
}

/// Writes a file in place of the one of this name. Not for what has to be whole after a crash, see [`replace`].
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(path)?.write_all(bytes)
}

/// Writes a program that can be run.
pub fn write_program(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(PROGRAM))
}

/// Replaces a file by one that is on the disk in full, or leaves the old one as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_added_extension(UNFINISHED);
    let mut file = create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Waits until the names in a folder are on the disk.
#[expect(clippy::disallowed_methods, reason = "a folder, of which nothing is read")]
pub fn sync_dir(folder: &Path) -> io::Result<()> {
    // The parent of a bare name.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// Closes a file that exists to other users.
pub fn restrict(file: &File) -> io::Result<()> {
    if file.metadata()?.mode() & OTHERS != 0 {
        file.set_permissions(Permissions::from_mode(FILE))?;
    }
    Ok(())
}

/// Makes sure that a folder is this user's own and closed to others. Returns the mode that it had when it was not.
pub fn claim_dir(path: &Path) -> Result<Option<u32>, ForeignError> {
    let io = |source| ForeignError::Io { path: path.to_owned(), source };
    let mode_of = |found: &fs::Metadata| found.mode() & 0o7777;
    let found = fs::metadata(path).map_err(io)?;
    own(path, found.uid(), user())?;
    let mode = mode_of(&found);
    if mode & STICKY != 0 && mode & OTHERS != 0 {
        return Err(ForeignError::Shared { path: path.to_owned(), mode });
    }
    if mode & OTHERS == 0 {
        return Ok(None);
    }
    let still_open = |reason: String| ForeignError::Open { path: path.to_owned(), mode, reason };
    fs::set_permissions(path, Permissions::from_mode(FOLDER))
        .map_err(|error| still_open(error.to_string()))?;
    // Some file systems of other machines take the order and do nothing.
    match mode_of(&fs::metadata(path).map_err(io)?) & OTHERS {
        0 => Ok(Some(mode)),
        _ => Err(still_open("its file system keeps the mode".into())),
    }
}

/// Refuses a file, folder or link of another user; one that is not there is fine.
pub fn check_owner(path: &Path) -> Result<(), ForeignError> {
    match fs::symlink_metadata(path) {
        Ok(found) => own(path, found.uid(), user()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ForeignError::Io { path: path.to_owned(), source }),
    }
}

fn own(path: &Path, owner: u32, user: u32) -> Result<(), ForeignError> {
    if owner == user { Ok(()) } else { Err(ForeignError::Owner { path: path.to_owned(), owner, user }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn everything_is_created_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        create_dir(&at("a/b")).unwrap();
        create_dir(&at("a/b")).unwrap();
        let temporary = temp_dir_in(dir.path(), "x-").unwrap();
        for folder in [at("a"), at("a/b"), temporary.path().to_owned()] {
            assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        }
        append(&at("appended")).unwrap().write_all(b"1").unwrap();
        append(&at("appended")).unwrap().write_all(b"2").unwrap();
        assert_eq!(fs::read(at("appended")).unwrap(), b"12");
        write(&at("written"), b"x").unwrap();
        replace(&at("replaced"), b"x").unwrap();
        create_new(&at("new")).unwrap();
        for name in ["appended", "written", "replaced", "new"] {
            assert_eq!(mode(&at(name)), 0o600, "{name}");
        }
        write_program(&at("program"), b"x").unwrap();
        assert_eq!(mode(&at("program")), 0o700);
        assert!(!at("replaced.new").exists());
    }

    #[test]
    fn create_replaces_open_files_and_links_instead_of_writing_through_them() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link, open) =
            (dir.path().join("target"), dir.path().join("link"), dir.path().join("open"));
        fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        fs::write(&open, "old").unwrap();
        chmod(&open, 0o644);
        write(&link, b"new").unwrap();
        write(&open, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"kept");
        assert_eq!((mode(&link), mode(&open)), (0o600, 0o600));
    }

    #[test]
    fn claim_closes_an_open_folder_and_says_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        for (before, repaired) in
            [(0o700, None), (0o755, Some(0o755)), (0o777, Some(0o777)), (0o710, Some(0o710))]
        {
            chmod(dir.path(), before);
            assert_eq!(claim_dir(dir.path()).unwrap(), repaired);
            assert_eq!(mode(dir.path()), 0o700);
        }
    }

    #[test]
    fn claim_refuses_a_folder_that_all_users_share() {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o1777);
        let error = claim_dir(dir.path()).unwrap_err();
        assert!(error.to_string().contains("mode 1777"), "{error}");
        assert_eq!(mode(dir.path()), 0o1777, "it is as it was");
    }

    /// Something that another user owns, for root and for others.
    fn foreign(dir: &Path) -> PathBuf {
        if user() != 0 {
            return PathBuf::from("/usr");
        }
        let path = dir.join("foreign");
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        path
    }

    #[test]
    fn what_belongs_to_another_user_is_refused_by_its_name_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = foreign(dir.path());
        let before = mode(&path);
        for error in [claim_dir(&path).unwrap_err(), check_owner(&path).unwrap_err()] {
            let words = error.to_string();
            assert!(words.starts_with(&format!("{} belongs to user", path.display())), "{words}");
        }
        assert_eq!(mode(&path), before);
        assert!(check_owner(dir.path()).is_ok() && check_owner(&dir.path().join("none")).is_ok());
    }

    #[test]
    fn restrict_closes_a_file_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        chmod(&path, 0o664);
        restrict(&append(&path).unwrap()).unwrap();
        assert_eq!(mode(&path), 0o600);
    }
}
