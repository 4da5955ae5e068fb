// Package journal keeps what has to outlast the daemon: an append-only file of entries with a checksum each.
//
// The file lives in memory (/var/run): it survives the end of the process, not of the kernel. It starts with the kernel's
// boot identifier, and one written under another boot is discarded, for the deadlines in it are on that boot's clock.
// An entry counts once Put or Delete returned; the tail that a killed process left half written is dropped at the
// next Open. Entries hold keys: the file's mode is 0600, and nothing here prints a value.
package journal
