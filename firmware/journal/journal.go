package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// Layout: header = magic (4) | boot identifier (16). Entry = length of what follows up to the checksum (4, big-endian) |
// kind (1) | key length (1) | key | value | CRC-32C over length..value (4).
const (
	magic      = "RKJ1"
	headerLen  = len(magic) + len(BootID{})
	entryFixed = 4 + 1 + 1 + 4

	// maxEntry bounds what Open allocates for one entry. An association with its advertisement takes about 350 octets.
	maxEntry = 64 << 10
	// compactAt is how many octets of dead entries are tolerated before Wasteful says so.
	compactAt = 64 << 10

	kindDelete = 0 // the other kinds are the caller's
)

// BootID identifies one boot of the kernel.
type BootID [16]byte

// Entry is one live entry: the caller's kind (1 to 127), a key of at most 255 octets, and a value.
type Entry struct {
	Kind  uint8
	Key   []byte
	Value []byte
}

type slot struct {
	kind uint8
	key  string
}

// Journal is an open journal. It is not safe for concurrent use: the daemon's one loop owns it.
type Journal struct {
	path string
	boot BootID
	file *os.File
	size int64          // octets of whole entries in the file, header included
	live map[slot]int64 // encoded size of each live entry
	used int64          // sum of live
	buf  []byte
}

// Open opens or creates the journal in dir and returns its live entries in the order in which they were last written.
// dropped is the number of octets at the end that were no whole entry. A journal of another boot, or a file that is no
// journal, is replaced by an empty one.
func Open(dir string, boot BootID) (j *Journal, entries []Entry, dropped int64, err error) {
	path := filepath.Join(dir, "journal")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("open journal: %w; the state directory must be writable by the user that roamkeyd runs as", err)
	}
	j = &Journal{path: path, boot: boot, file: f, live: make(map[slot]int64)}
	entries, dropped, err = j.load()
	if err == nil {
		err = f.Truncate(j.size)
	}
	if err == nil {
		_, err = f.Seek(j.size, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, nil, 0, fmt.Errorf("read journal %s: %w", path, err)
	}
	return j, entries, dropped, nil
}

// load reads all whole entries, and leaves j.size behind the last of them.
func (j *Journal) load() ([]Entry, int64, error) {
	info, err := j.file.Stat()
	if err != nil {
		return nil, 0, err
	}
	if err := j.file.Chmod(0o600); err != nil {
		return nil, 0, err
	}
	r := bufio.NewReader(j.file)
	var head [headerLen]byte
	_, err = io.ReadFull(r, head[:])
	if err != nil || string(head[:len(magic)]) != magic || BootID(head[len(magic):]) != j.boot {
		return nil, 0, j.reset()
	}
	j.size = int64(headerLen)
	var order []slot
	values := make(map[slot]Entry)
	for {
		e, n, err := readEntry(r)
		if err != nil {
			break // a torn tail: what comes after cannot be trusted
		}
		j.size += n
		s := slot{e.Kind & 0x7f, string(e.Key)}
		if e.Kind&0x80 != 0 {
			j.forget(s)
			delete(values, s)
			continue
		}
		j.remember(s, n)
		values[s] = e
		order = append(order, s)
	}
	entries := make([]Entry, 0, len(values))
	for i := len(order) - 1; i >= 0; i-- {
		if e, ok := values[order[i]]; ok {
			entries = append(entries, e)
			delete(values, order[i])
		}
	}
	for a, b := 0, len(entries)-1; a < b; a, b = a+1, b-1 {
		entries[a], entries[b] = entries[b], entries[a]
	}
	return entries, info.Size() - j.size, nil
}

// reset makes the file an empty journal of this boot.
func (j *Journal) reset() error {
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(header(j.boot), 0); err != nil {
		return err
	}
	j.size = int64(headerLen)
	return nil
}

func header(boot BootID) []byte { return append([]byte(magic), boot[:]...) }

// errTorn says that no whole entry follows.
var errTorn = errors.New("torn entry")

func readEntry(r io.Reader) (Entry, int64, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return Entry{}, 0, errTorn
	}
	n := binary.BigEndian.Uint32(length[:])
	if n < 2 || n > maxEntry {
		return Entry{}, 0, errTorn
	}
	body := make([]byte, n+4)
	if _, err := io.ReadFull(r, body); err != nil {
		return Entry{}, 0, errTorn
	}
	sum := crc32.Update(crc32.Checksum(length[:], castagnoli()), castagnoli(), body[:n])
	if sum != binary.BigEndian.Uint32(body[n:]) || int(n) < 2+int(body[1]) {
		return Entry{}, 0, errTorn
	}
	k := 2 + int(body[1])
	return Entry{Kind: body[0], Key: body[2:k], Value: body[k:n]}, 4 + int64(n) + 4, nil
}

func appendEntry(b []byte, kind uint8, key, value []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(2+len(key)+len(value)))
	b = append(b, kind, uint8(len(key)))
	b = append(b, key...)
	b = append(b, value...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli()))
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // the package caches it

// Put writes an entry, which replaces the one of the same kind and key. When it returns nil the entry outlasts the process.
// Where the file system is full the error says so, and the journal is as it was.
func (j *Journal) Put(kind uint8, key, value []byte) error {
	if kind == kindDelete || kind > 0x7f || len(key) > 255 || 2+len(key)+len(value) > maxEntry {
		return fmt.Errorf("journal: entry of kind %d with %d octets does not fit", kind, len(key)+len(value))
	}
	n, err := j.write(kind, key, value)
	if err != nil {
		return err
	}
	j.remember(slot{kind, string(key)}, n)
	return nil
}

// Delete writes that the entry is gone. It is nothing if there is none.
func (j *Journal) Delete(kind uint8, key []byte) error {
	s := slot{kind, string(key)}
	if _, ok := j.live[s]; !ok {
		return nil
	}
	if _, err := j.write(kind|0x80, key, nil); err != nil {
		return err
	}
	j.forget(s)
	return nil
}

func (j *Journal) write(kind uint8, key, value []byte) (int64, error) {
	j.buf = appendEntry(j.buf[:0], kind, key, value)
	n, err := j.file.Write(j.buf)
	clear(j.buf) // it may hold a key
	if err != nil {
		// Take back a part that was written, so that what follows is not lost behind a torn entry.
		if n > 0 {
			err = errors.Join(err, j.file.Truncate(j.size))
			if _, e := j.file.Seek(j.size, io.SeekStart); e != nil {
				err = errors.Join(err, e)
			}
		}
		return 0, fmt.Errorf("write journal %s: %w", j.path, err)
	}
	j.size += int64(n)
	return int64(n), nil
}

func (j *Journal) remember(s slot, n int64) {
	j.forget(s)
	j.live[s] = n
	j.used += n
}

func (j *Journal) forget(s slot) {
	j.used -= j.live[s]
	delete(j.live, s)
}

// Size is the length of the file and of the live entries in it, in octets.
func (j *Journal) Size() (file, live int64) { return j.size, j.used }

// Wasteful reports whether Compact is worth its while: more dead octets than live ones, and enough of them.
func (j *Journal) Wasteful() bool {
	dead := j.size - int64(headerLen) - j.used
	return dead > compactAt && dead > j.used
}

// Compact writes the live entries into a new file and puts it in the place of the old one in one step, so that a kill at any
// moment leaves one or the other whole.
func (j *Journal) Compact() error {
	if err := j.compact(); err != nil {
		return fmt.Errorf("compact journal %s: %w", j.path, err)
	}
	return nil
}

func (j *Journal) compact() error {
	old, err := os.Open(j.path)
	if err != nil {
		return err
	}
	defer old.Close()
	if _, err := old.Seek(int64(headerLen), io.SeekStart); err != nil {
		return err
	}
	next, err := os.OpenFile(j.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		next.Close()
		return errors.Join(err, os.Remove(j.path+".new"))
	}
	size, err := j.copyLive(next, bufio.NewReader(old))
	if err != nil {
		return fail(err)
	}
	if err := os.Rename(j.path+".new", j.path); err != nil {
		return fail(err)
	}
	j.file.Close()
	j.file, j.size = next, size
	return nil
}

// copyLive writes the newest entry of each live slot: the last one of a slot in the file is the live one.
func (j *Journal) copyLive(next io.Writer, r *bufio.Reader) (int64, error) {
	latest := make(map[slot][]byte, len(j.live))
	for {
		e, _, err := readEntry(r)
		if err != nil {
			break
		}
		s := slot{e.Kind & 0x7f, string(e.Key)}
		if e.Kind&0x80 == 0 {
			latest[s] = e.Value
		}
	}
	w := bufio.NewWriter(next)
	size := int64(headerLen)
	w.Write(header(j.boot)) // errors stay in w until Flush
	for s := range j.live {
		j.buf = appendEntry(j.buf[:0], s.kind, []byte(s.key), latest[s])
		clear(latest[s])
		w.Write(j.buf)
		size += int64(len(j.buf))
	}
	clear(j.buf)
	return size, w.Flush()
}

// Close closes the file and leaves it for the next start.
func (j *Journal) Close() error { return j.file.Close() }

// Remove closes and deletes the journal: at a real stop no key stays behind.
func (j *Journal) Remove() error {
	return errors.Join(os.Remove(j.path), j.file.Close())
}
