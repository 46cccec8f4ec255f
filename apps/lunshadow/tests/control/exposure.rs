//! Shadow copies whose files are mounted, read with ordinary calls and programs beside the originals.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lunshadow_coordinator::disk::{DiskIo as _, FileDisk, make_sample_disk, read_layout};
use lunshadow_end_to_end::peer::{Peer, argument, skip};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};
use rustix::process::geteuid;
use tokio::runtime::Runtime;

use crate::rehearsal::Rehearsal;
use crate::service::text;

/// How long a command of the prompt may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// What both volumes of the page's host are exposed with.
const CREATE: &str = "set context persistent\nadd volume E: alias Data\nadd volume F: alias Logs\ncreate";

/// Whether files can be mounted here.
fn has_fuse() -> bool {
    if !Path::new("/dev/fuse").exists() {
        skip("there is no /dev/fuse");
        return false;
    }
    Peer::find("fusermount3").is_some()
}

/// The program at its prompt.
struct Prompt {
    child: Child,
    /// None once it has been told that nothing comes any more.
    commands: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    complaints: PathBuf,
    asked: u32,
}

impl Prompt {
    fn start(rehearsal: &Rehearsal) -> anyhow::Result<Self> {
        Self::start_with(&["--default-signal=HUP,INT,TERM"], rehearsal)
    }

    /// Whatever the tests themselves were started with, it begins with signals as `env` is told.
    fn start_with(signals: &[&str], rehearsal: &Rehearsal) -> anyhow::Result<Self> {
        let mut command = Command::new("env");
        command.args(["-u", "RUST_LOG"]).args(signals).args(["LC_ALL=C", env!("CARGO_BIN_EXE_lunshadow")]);
        command.args(["shadow", "prompt", "--host", "sql"]);
        let complaints = rehearsal.path("complaints");
        command.current_dir(rehearsal.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(File::create(&complaints)?).spawn()?;
        let commands = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("it is piped")?);
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok(Self { child, commands, lines, complaints, asked: 0 })
    }

    /// What it says to a command, or to several.
    fn say(&mut self, command: &str) -> anyhow::Result<String> {
        self.asked += 1;
        let end = format!("alias %ASKED% = {}", self.asked);
        self.tell(&format!("{command}\nadd alias ASKED {}\nadd", self.asked))?;
        let mut said = String::new();
        loop {
            let line = self.lines.recv_timeout(ANSWERED_WITHIN);
            let line = line.with_context(|| format!("{command}: {said}{}", self.complaints().unwrap_or_default()))?;
            if line == end {
                return Ok(said);
            }
            said = format!("{said}{line}\n");
        }
    }

    /// Gives it a command, without an answer.
    fn tell(&mut self, command: &str) -> anyhow::Result<()> {
        let commands = self.commands.as_mut().context("it was told that nothing comes any more")?;
        Ok(writeln!(commands, "{command}")?)
    }

    fn complaints(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(&self.complaints)?)
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$1\" \"$0\"", &pid, signal]).status()?;
        ensure!(sent.success(), "kill: {sent}");
        Ok(())
    }

    /// Waits for its end, at the end of the commands if not before.
    fn end(mut self) -> anyhow::Result<ExitStatus> {
        drop(self.commands.take());
        Ok(self.child.wait()?)
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        // A test that has failed leaves nothing behind; otherwise it has ended already.
        drop(self.commands.take());
        drop(self.child.wait());
    }
}

/// A folder that something can be mounted in.
fn empty(rehearsal: &Rehearsal, name: &str) -> anyhow::Result<PathBuf> {
    let folder = rehearsal.path(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn is_mounted(folder: &Path) -> anyhow::Result<bool> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().any(|line| line.split(' ').nth(4) == Some(text(folder))))
}

/// Unmounts as anybody can.
fn unmount(folder: &Path) -> anyhow::Result<()> {
    let unmounted = Command::new("fusermount3").args(["-u", text(folder)]).status()?;
    ensure!(unmounted.success(), "fusermount3: {unmounted}");
    Ok(())
}

/// Nothing is mounted there, and nothing was left there.
fn is_as_before(folder: &Path) -> anyhow::Result<()> {
    ensure!(!is_mounted(folder)?, "{} is mounted", folder.display());
    ensure!(fs::read_dir(folder)?.next().is_none(), "{} is not empty", folder.display());
    Ok(())
}

/// The files that go into every volume.
fn write_tree(folder: &Path) -> anyhow::Result<()> {
    let mut random = SmallRng::seed_from_u64(7);
    let mut file = |path: &str, len: usize| -> anyhow::Result<()> {
        let (path, mut bytes) = (folder.join(path), vec![0; len]);
        random.fill_bytes(&mut bytes);
        fs::create_dir_all(path.parent().context("it has a folder")?)?;
        Ok(fs::write(path, bytes)?)
    };
    file("empty.txt", 0)?;
    file("hello.txt", 14)?;
    file("A long name with spaces, and more than 8.3 characters.text", 5000)?;
    file("docs/one sector.bin", 512)?;
    file("docs/deep/er/still/block.bin", 4096)?;
    file("docs/deep/data.bin", 1_000_003)?;
    file("docs/large.bin", 5 << 20)?;
    (0..1200).try_for_each(|number| file(&format!("many/file number {number}"), number % 700))
}

/// Images with the tree on FAT, ext4 and NTFS, or None without the programs that make them.
async fn images(folder: &Path, tree: &Path) -> anyhow::Result<Option<[PathBuf; 3]>> {
    let names = ["mkfs.fat", "mcopy", "mke2fs", "mkntfs", "ntfscp", "ntfs-3g", "umount", "cp"];
    let Some(found) = names.into_iter().map(Peer::find).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let [mkfs_fat, mcopy, mke2fs, mkntfs, ntfscp, ntfs_3g, umount, cp] = &found[..] else { unreachable!("as many") };
    let images = ["fat.img", "ext4.img", "ntfs.img"].map(|name| folder.join(name));
    for image in &images {
        File::create(image)?.set_len(48 << 20)?;
    }
    let [fat, ext4, ntfs] = &images;
    mkfs_fat.succeed(["-F", "16", argument(fat)]).await?;
    for entry in fs::read_dir(tree)? {
        let path = entry?.path();
        // Symbolic links are the other volumes'.
        if !path.is_symlink() {
            mcopy.succeed(["-s", "-i", argument(fat), argument(&path), "::/"]).await?;
        }
    }
    mke2fs.succeed(["-q", "-F", "-t", "ext4", "-d", argument(tree), argument(ext4)]).await?;
    mkntfs.succeed(["--quiet", "--force", "--fast", argument(ntfs)]).await?;
    let point = folder.join("ntfs-3g");
    fs::create_dir(&point)?;
    // Links as Linux programs under Windows make them.
    ntfs_3g.succeed(["-o", "special_files=wsl", argument(ntfs), argument(&point)]).await?;
    let copied = cp.succeed(["-a", &format!("{}/.", argument(tree)), argument(&point)]).await;
    umount.succeed([argument(&point)]).await?;
    copied?;
    ntfscp.succeed(["--force", argument(ntfs), argument(&tree.join("hello.txt")), "docs/by ntfscp"]).await?;
    Ok(Some(images))
}

/// The page's host with three more volumes: G: is FAT, H: ext4, I: NTFS, each with the tree. Drive X: is the folder `x`.
fn with_file_systems() -> anyhow::Result<Option<(Rehearsal, PathBuf)>> {
    let rehearsal = Rehearsal::set_up()?;
    let tree = rehearsal.path("tree");
    write_tree(&tree)?;
    symlink("docs/deep/data.bin", tree.join("link to data"))?;
    let Some(images) = Runtime::new()?.block_on(images(rehearsal.folder.path(), &tree))? else { return Ok(None) };
    let mut volumes = String::new();
    for (number, (image, (lun, mount))) in (3..).zip(images.iter().zip([("fat", "G:"), ("ext4", "H:"), ("ntfs", "I:")]))
    {
        rehearsal.service.admin(&["lun", "import", text(image), lun])?;
        rehearsal.service.admin(&["lun", "map", lun, "sql"])?;
        volumes = format!("{volumes}[[host.volume]]\nmount = \"{mount}\"\nlun = {number}\n\n");
    }
    rehearsal.add_to_host(&volumes)?;
    Ok(Some((rehearsal, tree)))
}

impl Rehearsal {
    /// Adds volumes to the first host, which gets a drive X: besides.
    fn add_to_host(&self, volumes: &str) -> anyhow::Result<()> {
        let hosts = fs::read_to_string(self.path("hosts.toml"))?;
        let hosts = hosts.replacen("[[host.writer]]", &format!("{volumes}[[host.writer]]"), 1);
        self.file("hosts.toml", &hosts.replacen("{ \"C:\" = \"c\" }", "{ \"C:\" = \"c\", \"X:\" = \"x\" }", 1))
    }
}

/// Everything there is as in the tree, to a program that compares it and to calls that read parts.
fn is_like(mounted: &Path, tree: &Path, leave_out: &[&str]) -> anyhow::Result<()> {
    let excluded = leave_out.iter().flat_map(|name| ["-x", name]);
    let mut diff = Command::new("diff");
    let diff = diff.args(["-r", "--no-dereference"]).args(excluded).args([tree, mounted]).output()?;
    ensure!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));

    for name in ["docs/deep/data.bin", "docs/large.bin", "hello.txt", "empty.txt"] {
        let (path, original) = (mounted.join(name), fs::read(tree.join(name))?);
        ensure!(fs::metadata(&path)?.len() == original.len() as u64, "{name}");
        let (file, len) = (File::open(&path)?, original.len());
        for (offset, part_len) in
            [(len / 2, 4097), (1, 510), (len.saturating_sub(3), 10), (len + 5, 10), (4095, 2), (0, len)]
        {
            let mut part = vec![0; part_len];
            let mut count = 0;
            while count < part_len {
                match file.read_at(&mut part[count..], (offset + count) as u64)? {
                    0 => break,
                    more => count += more,
                }
            }
            let expected = &original[offset.min(len)..(offset + part_len).min(len)];
            ensure!(part[..count] == *expected, "{name}: {part_len} bytes at {offset}");
        }
    }
    let missing = File::open(mounted.join("no such file")).map_err(|error| error.kind());
    ensure!(missing.is_err_and(|kind| kind == io::ErrorKind::NotFound));
    let space = rustix::fs::statvfs(mounted)?;
    ensure!(space.f_blocks > space.f_bfree && space.f_blocks * space.f_frsize > 40 << 20, "{}", space.f_blocks);
    Ok(())
}

/// Whatever would change something is refused.
fn is_read_only(mounted: &Path) -> anyhow::Result<()> {
    let (hello, docs, new) = (mounted.join("hello.txt"), mounted.join("docs"), mounted.join("new"));
    for (what, outcome) in [
        ("creation", fs::write(&new, "x")),
        ("opening", File::options().write(true).open(&hello).map(drop)),
        ("truncation", File::options().write(true).truncate(true).open(&hello).map(drop)),
        ("mkdir", fs::create_dir(&new)),
        ("unlink", fs::remove_file(&hello)),
        ("rmdir", fs::remove_dir(&docs)),
        ("rename", fs::rename(&hello, &new)),
        ("link", fs::hard_link(&hello, &new)),
        ("symlink", symlink("hello.txt", &new)),
        ("chmod", fs::set_permissions(&hello, fs::Permissions::from_mode(0o600))),
        ("utimes", File::open(&hello).and_then(|file| file.set_modified(std::time::SystemTime::now()))),
    ] {
        let kind = outcome.map_err(|error| error.kind());
        ensure!(kind == Err(io::ErrorKind::ReadOnlyFilesystem), "{what}: {kind:?}");
    }
    Ok(())
}

#[test]
fn all_file_systems_are_mounted_as_they_are_and_unmounted_again() -> anyhow::Result<()> {
    if !has_fuse() {
        return Ok(());
    }
    let Some((rehearsal, tree)) = with_file_systems()? else { return Ok(()) };
    let (fat, ext4, ntfs) =
        (empty(&rehearsal, "with space/fat")?, empty(&rehearsal, "c/mnt/ext4")?, empty(&rehearsal, "x")?);
    let mut prompt = Prompt::start(&rehearsal)?;
    prompt.say(
        "set context persistent\nadd volume G: alias Fat\nadd volume H: alias Ext\nadd volume I: alias Nt\ncreate",
    )?;
    let said = prompt.say(&format!("expose %Fat% \"{}\"\nexpose %Ext% C:\\mnt\\ext4\nexpose %Nt% x:", text(&fat)))?;
    for (folder, kind) in [(&fat, "FAT"), (&ext4, "ext2/3/4"), (&ntfs, "NTFS")] {
        ensure!(said.contains(&format!("is mounted read-only in {} ({kind})", folder.display())), "{said}");
    }
    let listed = prompt.say("list shadows all")?;
    ensure!(listed.contains("C:\\mnt\\ext4") && listed.contains("X:"), "{listed}");

    is_like(&fat, &tree, &["link to data"])?;
    is_like(&ext4, &tree, &["lost+found"])?;
    is_like(&ntfs, &tree, &["by ntfscp"])?;
    ensure!(fs::read(ntfs.join("docs/by ntfscp"))? == fs::read(tree.join("hello.txt"))?);
    for mounted in [&ext4, &ntfs] {
        let link = mounted.join("link to data");
        ensure!(fs::read_link(&link)? == Path::new("docs/deep/data.bin") && link.metadata()?.is_file());
        // An inode has one number, by whichever way it is seen.
        let names: Vec<_> = fs::read_dir(mounted)?.collect::<Result<_, _>>()?;
        ensure!(names.iter().all(|entry| {
            use std::os::unix::fs::DirEntryExt as _;
            fs::symlink_metadata(entry.path()).is_ok_and(|found| found.ino() == entry.ino())
        }));
    }
    // `mke2fs` copies seconds, and NTFS counts in steps of 100 ns.
    for (mounted, step) in [(&ext4, Duration::from_secs(1)), (&ntfs, Duration::from_nanos(100))] {
        let modified = |folder: &Path| fs::metadata(folder.join("docs/large.bin")).and_then(|file| file.modified());
        let apart = modified(&tree)?.duration_since(modified(mounted)?)?;
        ensure!(apart < step, "{apart:?}");
    }
    let mode = |folder: &Path| fs::metadata(folder.join("hello.txt")).map(|file| (file.mode(), file.uid(), file.gid()));
    ensure!(mode(&ext4)? == mode(&tree)?);
    for mounted in [&fat, &ext4, &ntfs] {
        is_read_only(mounted)?;
        // Nor does it help to mount it anew for writing: what is exposed refuses it itself.
        if geteuid().is_root() {
            mount_remount(mounted, MountFlags::NODEV | MountFlags::NOSUID, c"")?;
            is_read_only(mounted)?;
        }
    }

    prompt.say("unexpose %Fat%")?;
    is_as_before(&fat)?;
    prompt.say("delete shadows exposed X:")?;
    is_as_before(&ntfs)?;
    ensure!(is_mounted(&ext4)?);
    // The place is free for another one.
    prompt.say(&format!("expose %Fat% {}", text(&ntfs)))?;
    is_like(&ntfs, &tree, &["link to data"])?;
    prompt.say("break writable nomask %VSS_SHADOW_SET%")?;
    is_as_before(&ntfs)?;
    is_as_before(&ext4)?;
    ensure!(prompt.complaints()?.is_empty(), "{}", prompt.complaints()?);
    let status = prompt.end()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn the_end_of_a_script_or_prompt_unmounts() -> anyhow::Result<()> {
    if !has_fuse() {
        return Ok(());
    }
    let rehearsal = Rehearsal::set_up()?;
    let (one, two) = (empty(&rehearsal, "one")?, empty(&rehearsal, "two")?);
    // A program that the script runs sees the files.
    rehearsal.file("c/look", "#!/bin/sh\nfind one two -type f -exec sha256sum {} + > seen\ntouch one/new\n")?;
    fs::set_permissions(rehearsal.path("c/look"), fs::Permissions::from_mode(0o755))?;
    let expose = "expose %Data% ./one\nexpose %Logs% ./two\n";
    let refused = rehearsal.refused_with(&format!("{CREATE}\n{expose}exec C:\\look"), "sql", 2)?;
    ensure!(refused.contains("Read-only file system") && refused.contains("failed with status 1"), "{refused}");
    let seen = fs::read_to_string(rehearsal.path("seen"))?;
    ensure!(seen.lines().count() > 2 && seen.contains("one/") && seen.contains("two/"), "{seen}");
    is_as_before(&one)?;
    is_as_before(&two)?;

    let mut prompt = Prompt::start(&rehearsal)?;
    let said = prompt.say(&format!("{CREATE}\n{expose}"))?;
    ensure!(said.matches("is mounted read-only").count() == 2, "{said}");
    // What is exposed goes with its copy, and a set that is masked takes all with it.
    prompt.say("delete shadows id %Data%")?;
    is_as_before(&one)?;
    prompt.say("mask %VSS_SHADOW_SET%")?;
    is_as_before(&two)?;
    prompt.say(&format!("{CREATE}\nexpose %Data% ./one"))?;
    prompt.tell("exit")?;
    let status = prompt.end()?;
    ensure!(status.success(), "{status}");
    is_as_before(&one)
}

#[test]
fn signals_unmount_before_they_end_the_program() -> anyhow::Result<()> {
    if !has_fuse() {
        return Ok(());
    }
    let rehearsal = Rehearsal::set_up()?;
    let one = empty(&rehearsal, "one")?;
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let mut prompt = Prompt::start(&rehearsal)?;
        // As before there is something to unmount, a signal just ends the program.
        prompt.say(&format!("delete shadows all\n{CREATE}\nexpose %Data% ./one"))?;
        ensure!(is_mounted(&one)?);
        prompt.signal(signal)?;
        let status = prompt.child.wait()?;
        ensure!(status.code() == Some(code), "{signal}: {status}");
        is_as_before(&one)?;
    }
    // Who has it started so that a hangup does nothing means it.
    let mut prompt = Prompt::start_with(&["--ignore-signal=HUP"], &rehearsal)?;
    prompt.say(&format!("delete shadows all\n{CREATE}\nexpose %Data% ./one"))?;
    prompt.signal("HUP")?;
    prompt.say("list shadows all")?;
    ensure!(is_mounted(&one)?);
    let status = prompt.end()?;
    ensure!(status.success(), "{status}");
    is_as_before(&one)?;

    // Who is killed can unmount nothing. The next one says what to do.
    let mut prompt = Prompt::start(&rehearsal)?;
    prompt.say(&format!("delete shadows all\n{CREATE}\nexpose %Data% ./one"))?;
    prompt.signal("KILL")?;
    prompt.child.wait()?;
    ensure!(is_mounted(&one)?);
    let refused = rehearsal.refused(&format!("{CREATE}\nexpose %Data% ./one"), "sql")?;
    ensure!(refused.contains("./one has the mount of a program that was killed; `fusermount3 -u ./one` frees it"));
    unmount(&one)?;
    is_as_before(&one)?;

    // Without a mount it is as it always was.
    let mut prompt = Prompt::start(&rehearsal)?;
    prompt.say("list shadows all")?;
    prompt.signal("TERM")?;
    let status = prompt.child.wait()?;
    ensure!(status.signal() == Some(15), "{status}");
    Ok(())
}

#[test]
fn open_files_hold_nothing_up() -> anyhow::Result<()> {
    if !has_fuse() {
        return Ok(());
    }
    let rehearsal = Rehearsal::set_up()?;
    let one = empty(&rehearsal, "one")?;
    let mut prompt = Prompt::start(&rehearsal)?;
    prompt.say(&format!("{CREATE}\nexpose %Data% ./one"))?;
    let [read, unread, ..] = &files_below(&one)?[..] else { anyhow::bail!("there are two files") };
    let (mut begun, untouched) = (File::open(read)?, File::open(unread)?);
    begun.read_exact(&mut [0; 10])?;
    let mut inside = Command::new("cat").current_dir(&one).stdin(Stdio::piped()).spawn()?;
    prompt.say("unexpose %Data%")?;
    is_as_before(&one)?;
    // Nothing new comes from the disk.
    let error = untouched.read_at(&mut [0; 10], 0).err().context("it was read")?;
    ensure!(error.raw_os_error() == Some(Errno::IO.raw_os_error()), "{error}");
    prompt.say(&format!("expose %Data% {}", text(&one)))?;
    ensure!(fs::read(unread)?.len() >= 10);
    // Nor does it matter if somebody else has unmounted it.
    unmount(&one)?;
    prompt.say("unexpose %Data%")?;
    prompt.say(&format!("expose %Data% {}", text(&one)))?;
    ensure!(prompt.complaints()?.is_empty(), "{}", prompt.complaints()?);

    // The same at the end of the program, with which the other end of the mount goes.
    let [_, _, untouched, ..] = &files_below(&one)?[..] else { anyhow::bail!("there are three files") };
    let untouched = File::open(untouched)?;
    let status = prompt.end()?;
    ensure!(status.success(), "{status}");
    is_as_before(&one)?;
    ensure!(untouched.read_at(&mut [0; 10], 0).is_err());
    drop(inside.stdin.take());
    inside.wait()?;
    Ok(())
}

/// The files of a folder and those below, the largest first.
fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() { folders.push(entry.path()) } else { files.push((metadata.len(), entry.path())) }
        }
    }
    files.sort();
    Ok(files.into_iter().rev().map(|(_, path)| path).collect())
}

#[test]
fn who_is_not_root_mounts_through_fusermount() -> anyhow::Result<()> {
    if !has_fuse() || Peer::find("unshare").is_none() || Peer::find("setpriv").is_none() {
        return Ok(());
    }
    if !geteuid().is_root() {
        skip("only root can be somebody else for a while");
        return Ok(());
    }
    let rehearsal = Rehearsal::set_up()?;
    let one = empty(&rehearsal, "one")?;
    let here = rehearsal.folder.path();
    fs::copy(env!("CARGO_BIN_EXE_lunshadow"), rehearsal.path("lunshadow"))?;
    rehearsal.file("lines.dsh", &format!("{CREATE}\nexpose %Data% ./one\nexec C:\\look"))?;
    // It leaves a program behind that has a file open.
    let look = "#!/bin/sh\nfind one -type f -exec sha256sum {} + > seen\ncat one/*.* > /dev/null || exit 4\n\
        set -- one/*.*; exec 3< \"$1\"; sleep 1000 <&3 > /dev/null 2>&1 &\necho $! > pid\nexit 0\n";
    rehearsal.file("c/look", look)?;
    fs::set_permissions(rehearsal.path("c/look"), fs::Permissions::from_mode(0o755))?;
    let owned = Command::new("chown").args(["-R", "65534:65534", text(here)]).status()?;
    ensure!(owned.success(), "chown: {owned}");
    // In a mount namespace of its own, /dev/fuse is for everybody, as it is on most machines.
    let run = "mount -t tmpfs none /dev && mknod -m 666 /dev/fuse c 10 229 && mknod -m 666 /dev/null c 1 3 || exit 90\n\
        setpriv --reuid=65534 --regid=65534 --clear-groups ./lunshadow shadow script lines.dsh --host sql\n\
        status=$?; kill \"$(cat pid)\"; grep ' fuse lunshadow ' /proc/self/mountinfo && exit 91; exit $status";
    let output = Command::new("unshare").args(["--mount", "sh", "-c", run]).current_dir(here).output()?;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(output.status.success() && stderr.is_empty(), "{}: {stderr}{stdout}", output.status);
    ensure!(stdout.contains("is mounted read-only in"), "{stdout}");
    let seen = fs::read_to_string(rehearsal.path("seen"))?;
    ensure!(seen.lines().count() > 1, "{seen}");
    is_as_before(&one)
}

#[test]
fn places_that_cannot_be_taken_are_said() -> anyhow::Result<()> {
    let rehearsal = Rehearsal::set_up()?;
    rehearsal.add_to_host("")?;
    rehearsal.lines(CREATE, "sql")?;
    let listed = rehearsal.lines("list shadows all", "sql")?;
    let id = listed.split_whitespace().find(|word| word.starts_with('{')).context("an id")?.to_owned();
    let _ = empty(&rehearsal, "x/something")?;
    rehearsal.file("file", "")?;
    for (place, said) in [
        ("./nowhere", "there is no folder ./nowhere; make an empty one first"),
        ("./file", "./file is no folder; take an empty one"),
        ("X:", "is not empty; take an empty one"),
        ("C:\\backup", "c/backup is not empty; take an empty one"),
        ("Nightly", "a simulated host shares nothing, so not Nightly; give a drive letter or a folder"),
    ] {
        let refused = rehearsal.refused(&format!("expose {id} {place}"), "sql")?;
        ensure!(refused.contains("line 1: ") && refused.contains(said), "{said}: {refused}");
    }
    // Where nothing can be mounted, the LUN is said.
    for (place, said) in [
        (
            "Y:",
            "stands for Y: and is not mounted, because no folder stands for Y: in the host's `folders`; attach iscsi://",
        ),
        ("D:\\mnt", "is not mounted, because nothing stands for drive D: of host sql"),
    ] {
        let told = rehearsal.lines(&format!("expose {id} {place}\nunexpose {place}"), "sql")?;
        ensure!(told.lines().count() == 1 && told.contains(said) && told.contains("as the initiator iqn."), "{told}");
    }
    Ok(())
}

#[test]
fn a_volume_that_is_not_read_here_is_said_as_its_lun() -> anyhow::Result<()> {
    let rehearsal = Rehearsal::set_up()?;
    let image = rehearsal.path("blank");
    make_sample_disk(&image, 16 << 20, 3)?;
    let disk = FileDisk::open_read_write(&image)?;
    let volume = read_layout(&disk)?.volumes.first().context("a volume")?.clone();
    disk.write_at(volume.offset_bytes, &[0; 4096])?;
    rehearsal.service.admin(&["lun", "import", text(&image), "blank"])?;
    rehearsal.service.admin(&["lun", "map", "blank", "sql"])?;
    rehearsal.add_to_host("[[host.volume]]\nmount = \"G:\"\nlun = 3\npartition = 1\n\n")?;
    let folder = empty(&rehearsal, "x")?;
    let create = "set context persistent\nadd volume G: alias Blank\ncreate\nexpose %Blank% X:";
    let said = rehearsal.lines(create, "sql")?;
    let reason = "is not mounted, because volume 1 holds no filesystem that can be read here; attach iscsi://";
    ensure!(said.contains(reason), "{said}");
    is_as_before(&folder)
}

#[test]
fn without_fuse_the_lun_is_said() -> anyhow::Result<()> {
    if Peer::find("unshare").is_none() {
        return Ok(());
    }
    if !geteuid().is_root() {
        skip("only root can take FUSE away from a program");
        return Ok(());
    }
    let rehearsal = Rehearsal::set_up()?;
    let one = empty(&rehearsal, "one")?;
    rehearsal.file("lines.dsh", &format!("delete shadows all\n{CREATE}\nexpose %Data% ./one"))?;
    // In a mount namespace of its own it sees another device, or none.
    for (prepare, said) in [
        ("mount --bind /dev/null /dev/fuse", "because FUSE cannot mount it: "),
        ("mount -t tmpfs none /dev", "because cannot open /dev/fuse: No such file or directory"),
    ] {
        let run = format!("{prepare} && exec \"$0\" shadow script lines.dsh --host sql");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &run, env!("CARGO_BIN_EXE_lunshadow")]);
        let output = command.current_dir(rehearsal.folder.path()).output()?;
        let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        ensure!(output.status.success() && stderr.is_empty(), "{}: {stderr}", output.status);
        let exposed = stdout.lines().find(|line| line.contains("stands for ./one")).context(stdout.clone())?;
        ensure!(exposed.contains(said) && exposed.contains("attach iscsi://"), "{said}: {exposed}");
        is_as_before(&one)?;
    }
    Ok(())
}
