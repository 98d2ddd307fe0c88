//! systemd's journal, read by journalctl(1): it knows every format of the files, their compression and their rotation, and the
//! export format is one that systemd promises to keep. In the order of suggested reading: what an entry is to a filter, the
//! program, how a place in the journal is stored, and the logs of all jails that read one journal.

mod cursor_table;
mod entry;
mod followed_journal;
mod process;

pub(super) use followed_journal::FollowedJournal;
