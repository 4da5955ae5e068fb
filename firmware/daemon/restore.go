package daemon

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/firmware/journal"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/ndp/advertise"
)

// kindPrefixes is the journal's kind of a link's advertised prefixes; the key is the link's name.
const kindPrefixes = 2

// restore takes up associations, bindings and advertised prefixes of an earlier process. With the kernel's tunnels
// forwarding never stopped; otherwise the pause since that process was last seen alive is noted.
func (d *Daemon) restore(entries []journal.Entry) error {
	var records []lke.Record
	var keys []handoverkey.Record
	var fast []fmip.Record
	bound := false
	for _, e := range entries {
		switch e.Kind {
		case kindLKE:
			r, err := parseRecord(e.Value)
			if err != nil {
				d.log.Warn("dropped a record of the journal", "err", err)
				continue
			}
			records = append(records, r)
			bound = bound || r.Bound
		case kindKey:
			if r, err := parseKey(e.Value); err == nil {
				keys = append(keys, r)
			}
		case kindFast:
			if r, err := parseFast(e.Value); err == nil {
				fast = append(fast, r)
				bound = bound || r.Bound
			}
		case kindPrefixes:
			if prefixes, err := parsePrefixes(e.Value); err == nil {
				d.stale[string(e.Key)] = prefixes
			}
		}
	}
	adopted, err := d.forward.Adopt()
	if err != nil {
		d.complain("take up tunnels", err)
	}
	// Links first: the core knows a record's link by its name.
	d.relink()
	d.dropStale()
	d.carry(d.router.Restore(d.now(), records))
	for i := range records {
		clear(records[i].Key[:])
	}
	d.carryKeys(d.keys.Restore(d.now(), keys))
	for i := range keys {
		clear(keys[i].Key[:])
	}
	d.carryFast(d.fast.Restore(d.now(), fast))
	var keep []netip.Addr
	d.router.Associations(func(a lke.Association) bool {
		if a.State == "bound" {
			keep = append(keep, a.Home)
		}
		return true
	})
	d.fast.Bindings(func(b fmip.Binding, _ time.Time) bool {
		keep = append(keep, b.Home)
		return true
	})
	if err := d.forward.Keep(keep); err != nil {
		d.complain("remove stale tunnels", err)
	}
	if len(records)+len(keys) == 0 {
		return nil
	}
	d.restart = &control.Restart{LBSAs: len(records), Keys: d.keys.Len(), Bindings: len(keep)}
	if bound && len(adopted) == 0 {
		pause := d.sinceBeat()
		d.restart.Pause = control.Seconds(pause)
		d.log.Warn("forwarding stood still over the restart", "ms", pause.Milliseconds())
	}
	d.log.Info("took up what an earlier process left", "associations", len(records), "handover_keys", d.keys.Len(), "bindings", len(keep))
	return nil
}

// savePrefixes keeps what hosts on the link may hold (RFC 9096 section 3.5).
func (d *Daemon) savePrefixes(l *link) {
	if l.speaker == nil || d.journal == nil {
		return
	}
	var b []byte
	l.speaker.Records(func(r advertise.Record) bool {
		b = appendPrefix(b, r)
		return true
	})
	if string(b) == l.saved {
		return
	}
	l.saved = string(b)
	if err := d.journal.Put(kindPrefixes, []byte(l.config.Name), b); err != nil {
		d.complain("journal", err)
	}
}

// A prefix in the journal: address (16) | length (1) | flags (1: on-link, 2: autonomous) | until (8).
const prefixLen = 16 + 1 + 1 + 8

var errPrefixes = errors.New("malformed prefixes")

func appendPrefix(b []byte, r advertise.Record) []byte {
	var flags byte
	if r.OnLink {
		flags |= 1
	}
	if r.Autonomous {
		flags |= 2
	}
	b = appendAddr(b, r.Prefix.Addr())
	b = append(b, byte(r.Prefix.Bits()), flags)
	return binary.BigEndian.AppendUint64(b, nanos(r.Until))
}

func parsePrefixes(b []byte) ([]advertise.Record, error) {
	if len(b)%prefixLen != 0 {
		return nil, errPrefixes
	}
	var all []advertise.Record
	for f := fields(b); len(f) > 0; {
		a := f.addr()
		bits, flags := int(f.take(1)[0]), f.take(1)[0]
		r := advertise.Record{Prefix: netip.PrefixFrom(a, bits), OnLink: flags&1 != 0, Autonomous: flags&2 != 0, Until: f.time()}
		if !r.Prefix.IsValid() {
			return nil, errPrefixes
		}
		all = append(all, r)
	}
	return all, nil
}

// beat notes that this process is alive, by the time of a file, so that the next one can tell how long forwarding stood still.
// Only a forwarder that ends with the process needs that.
func (d *Daemon) beat() {
	path := d.beatPath()
	now := time.Now()
	if err := os.Chtimes(path, now, now); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			d.complain("state directory", err)
		}
	}
}

func (d *Daemon) beatPath() string { return filepath.Join(d.config.Global.StateDir, "alive") }

// sinceBeat is how long ago the earlier process was last seen alive.
func (d *Daemon) sinceBeat() time.Duration {
	info, err := os.Stat(d.beatPath())
	if err != nil {
		return 0
	}
	return max(time.Since(info.ModTime()), 0)
}
