package neighbors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/drivers/sysctl"
)

// Numbers of the kernel's interface that x/sys/unix does not name (linux/neighbour.h).
const (
	ndtaName        = 1
	ndtaParms       = 6
	ndtpaIfindex    = 1
	ndtpaAppProbes  = 9
	ndtpaUcastProbe = 10
	ndtpaMcastProbe = 11

	ndisc = "ndisc_cache" // IPv6's neighbour table

	neighbourTableHead = 4 // struct ndtmsg
)

// probes says how often the kernel asks for a neighbour: this process (app), the neighbour it knew, and all.
type probes struct{ app, unicast, multicast uint32 }

// ourProbes are those of a link that is taken. Nobody else leaves all to a program, so that they are also the mark by
// which a later process knows such a link.
func ourProbes() probes { return probes{app: 3} }

// usualProbes are the kernel's own, should it not tell.
func usualProbes() probes { return probes{unicast: 3, multicast: 3} }

// linkSettings are what of an interface's settings gets in the way. Kernels that lack one lack what it is about.
func linkSettings() [3]struct{ name, value string } {
	return [...]struct{ name, value string }{
		{"dad_transmits", "0"},       // its own Duplicate Address Detection would be unsigned, and deaf
		{"ndisc_notify", "0"},        // advertisements when the link comes up, unsigned
		{"suppress_frag_ndisc", "1"}, // what hides in fragments would get by the guard (RFC 6980)
	}
}

// taking is what was there before.
type taking struct {
	probes   probes
	settings sysctl.Changes
}

// probesOf reads the numbers of probes of a link, and those for links made anew.
func (n *Neighbors) probesOf(link int) (of probes, usual probes, err error) {
	usual = usualProbes()
	found := false
	err = n.eachLink(func(index int, p probes) {
		switch index {
		case 0:
			usual = p
		case link:
			of, found = p, true
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("interface %d has no IPv6: %w", link, os.ErrNotExist)
	}
	return of, usual, err
}

// eachLink calls f with the numbers of probes of each link; 0 stands for links made anew.
func (n *Neighbors) eachLink(f func(link int, p probes)) error {
	all, err := n.dump(unix.RTM_GETNEIGHTBL, neighbourTableHead)
	if err != nil {
		return fmt.Errorf("read the settings of neighbour tables: %w", err)
	}
	for _, b := range all {
		ad, err := netlink.NewAttributeDecoder(b[neighbourTableHead:])
		if err != nil {
			return err
		}
		name, link, p, told := "", 0, probes{}, false
		for ad.Next() {
			switch ad.Type() {
			case ndtaName:
				name = ad.String()
			case ndtaParms:
				told = true
				ad.Nested(func(parms *netlink.AttributeDecoder) error {
					for parms.Next() {
						switch parms.Type() {
						case ndtpaIfindex:
							link = int(parms.Uint32())
						case ndtpaAppProbes:
							p.app = parms.Uint32()
						case ndtpaUcastProbe:
							p.unicast = parms.Uint32()
						case ndtpaMcastProbe:
							p.multicast = parms.Uint32()
						}
					}
					return nil
				})
			}
		}
		if err := ad.Err(); err != nil {
			return err
		}
		if name == ndisc && told {
			f(link, p)
		}
	}
	return nil
}

func (n *Neighbors) setProbes(link int, p probes) error {
	head := make([]byte, neighbourTableHead)
	head[0] = unix.AF_INET6
	return n.request(unix.RTM_SETNEIGHTBL, 0, head, func(ae *netlink.AttributeEncoder) {
		ae.String(ndtaName, ndisc)
		ae.Nested(ndtaParms, func(parms *netlink.AttributeEncoder) error {
			parms.Uint32(ndtpaIfindex, uint32(link))
			parms.Uint32(ndtpaAppProbes, p.app)
			parms.Uint32(ndtpaUcastProbe, p.unicast)
			parms.Uint32(ndtpaMcastProbe, p.multicast)
			return nil
		})
	})
}

// nameOf gives the name of a link.
func (n *Neighbors) nameOf(link int) (string, error) {
	head := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(head[4:8], uint32(link))
	replies, err := n.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request}, Data: head,
	})
	if errors.Is(err, unix.ENODEV) {
		err = os.ErrNotExist
	}
	if err != nil {
		return "", fmt.Errorf("look up interface %d: %w", link, err)
	}
	for _, m := range replies {
		if len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
		if err != nil {
			return "", err
		}
		for ad.Next() {
			if ad.Type() == unix.IFLA_IFNAME {
				return ad.String(), nil
			}
		}
	}
	return "", fmt.Errorf("look up interface %d: %w", link, os.ErrNotExist)
}

// Take implements Driver. Of the settings in files it changes those of the calling thread's network namespace.
func (n *Neighbors) Take(link int) error {
	return n.do(func() error {
		if n.taken[link] != nil {
			return nil
		}
		if err := n.take(link); err != nil {
			return fmt.Errorf("take over the neighbours of a link: %w", err)
		}
		return nil
	})
}

func (n *Neighbors) take(link int) error {
	if link <= 0 {
		return fmt.Errorf("there is no interface %d", link)
	}
	name, err := n.nameOf(link)
	if err != nil {
		return err
	}
	before, usual, err := n.probesOf(link)
	if err != nil {
		return err
	}
	left := before == ourProbes()
	if left { // by a process that died: what was there before it is not known, and so it is what links usually have
		before = usual
		if err := usualSettings(name); err != nil {
			return err
		}
	}
	t := &taking{probes: before}
	for _, s := range linkSettings() {
		path, err := sysctl.OfLink("conf", name, s.name)
		if err == nil {
			err = t.settings.Set(path, s.value)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, t.settings.Restore())
		}
	}
	if err := n.setProbes(link, ourProbes()); err != nil {
		return errors.Join(fmt.Errorf("set the number of probes of %s: %w", name, err), t.settings.Restore())
	}
	n.taken[link] = t
	if left {
		return nil // the entries are those of a process like this one
	}
	if err := n.forget(link); err != nil {
		delete(n.taken, link)
		return errors.Join(err, n.release(link, t))
	}
	return nil
}

// Release implements Driver.
func (n *Neighbors) Release(link int) error {
	return n.do(func() error {
		t := n.taken[link]
		if t == nil {
			return nil
		}
		delete(n.taken, link)
		return n.release(link, t)
	})
}

func (n *Neighbors) release(link int, t *taking) error {
	err := n.setProbes(link, t.probes)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		err = nil // the link is gone, and its settings with it
	}
	if err = errors.Join(err, t.settings.Restore()); err != nil {
		return fmt.Errorf("give the neighbours of link %d back: %w", link, err)
	}
	return nil
}

// usualSettings gives an interface the settings that interfaces made anew have.
func usualSettings(name string) error {
	for _, s := range linkSettings() {
		usual, err := sysctl.OfLink("conf", "default", s.name)
		if err != nil {
			return err
		}
		value, err := os.ReadFile(filepath.Join("/proc/sys", usual))
		if err == nil {
			var changes sysctl.Changes
			path, _ := sysctl.OfLink("conf", name, s.name)
			err = errors.Join(changes.Set(path, strings.TrimSpace(string(value))), changes.Forget())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set %s of %s: %w", s.name, name, err)
		}
	}
	return nil
}
