package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/firmware/mobilenode"
	"github.com/roamkey/roamkey/ipv6"
)

// fastSettings is what a router is told beside, for SEND and fast handovers: it goes on with its link. For emulated machines the
// search for an address is short, and a prepared move may take longer than the usual 1.5 s.
const fastSettings = `	option send 'mixed'
	option fmip '1'
	list access_point '%[2]s'

config send 'send'
	option key '%[1]s/send.key'
	option certificate '%[1]s/send.pem'
	option sec '0'

config fmip 'fmip'
	option proxy_lifetime '10'
`

// neighborSettings is what a router is told of the other one.
const neighborSettings = `
config neighbor '%[1]s'
	option address '%[2]v'
	option hardware '%[3]v'
	list access_point '%[4]v'
	list prefix '%[5]v'
	option protection 'key'
	option key '%[6]s'
`

// anchor is the directory of the trust anchor.
func (p Programs) anchor() string { return filepath.Join(p.Work, "ca") }

// prepareAnchor makes the trust anchor, from which all prefixes of the small internet come.
func (p Programs) prepareAnchor(r *Router) error {
	return p.make(r, filepath.Join(p.anchor(), "anchor.pem"), "ca", "init", "--dir", p.anchor(), "--prefix", allNet.String())
}

// prepareFast makes a router's key for SEND and its certificate. Whom it has beside itself it is told when both addresses are
// known: they follow from the keys.
func (p Programs) prepareFast(r *Router) error {
	dir := p.dir(r)
	return all(
		func() error { return p.make(r, filepath.Join(dir, "send.key"), "keygen", "-c", p.conf(r), "--send") },
		func() error {
			return p.make(r, filepath.Join(dir, "send.pem"), "ca", "router", "-c", p.conf(r), "--dir", p.anchor(), "--prefix", r.Prefix.String())
		},
	)
}

// pairKey is where a router has the key that it shares with another.
func (p Programs) pairKey(r, other *Router) string { return filepath.Join(p.dir(r), other.Name+".key") }

// shareKey makes the key of both routers.
func (p Programs) shareKey(a, b *Router) error {
	if err := p.make(a, p.pairKey(a, b), "keygen", "-c", p.conf(a), "--neighbor", b.Name); err != nil {
		return err
	}
	key, err := os.ReadFile(p.pairKey(a, b))
	if err != nil {
		return err
	}
	return os.WriteFile(p.pairKey(b, a), key, 0o600)
}

// introduce tells the routers of each other, when each has made its address, and waits until they know.
func (r *run) introduce(ctx context.Context) error {
	p := r.options.Programs
	pairs := []struct {
		daemon *Daemon
		other  *Router
	}{{r.par, r.top.NAR}, {r.nar, r.top.PAR}}
	for _, x := range pairs {
		s, err := x.daemon.await(ctx, patience, "using an address of its key", func(s control.Snapshot) bool { return ownCGA(s, x.daemon.router.Prefix).IsValid() })
		if err != nil {
			return err
		}
		x.daemon.router.Address = ownCGA(s, x.daemon.router.Prefix)
	}
	for _, x := range pairs {
		o := x.other
		text := fmt.Sprintf(neighborSettings, o.Name, o.Address, o.Hardware, o.AccessPoint, o.Prefix, p.pairKey(x.daemon.router, o))
		if err := appendFile(p.conf(x.daemon.router), text); err != nil {
			return err
		}
	}
	if err := p.shareKey(r.top.PAR, r.top.NAR); err != nil {
		return err
	}
	for _, x := range pairs {
		if err := x.daemon.Signal(syscall.SIGHUP); err != nil {
			return err
		}
	}
	for _, x := range pairs {
		if _, err := x.daemon.await(ctx, patience, "taking the other router for a neighbour", func(s control.Snapshot) bool {
			return s.Fast != nil && len(s.Fast.Neighbors) == 1 && s.Fast.Neighbors[0].Fast && s.Fast.Neighbors[0].Problem == ""
		}); err != nil {
			return err
		}
	}
	return nil
}

// ownCGA is the address that a router made of its key in its cell's prefix, once it is known to be nobody else's.
func ownCGA(s control.Snapshot, prefix netip.Prefix) netip.Addr {
	for _, l := range s.Links {
		if l.SEND == nil {
			continue
		}
		for _, a := range l.SEND.Addresses {
			if a.CGA && !a.Tentative && prefix.Contains(a.Addr) {
				return a.Addr
			}
		}
	}
	return netip.Addr{}
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// fastArgs are those of a node that wants a handover key and fast handovers.
func fastArgs(p Programs) []string {
	return []string{"-protocol", "handover-key", "-anchors", filepath.Join(p.anchor(), "anchor.pem")}
}

// awaitHandoverKey waits until node and old router share a handover key.
func (r *run) awaitHandoverKey(ctx context.Context) error {
	r.tell("the node checks the old router's certificate, and gets a handover key")
	if _, err := r.node.await(ctx, patience, "handover-key", func(l mobilenode.Line) bool { return l.Home == r.report.CareOf }); err != nil {
		return err
	}
	_, err := r.par.await(ctx, patience, "sharing a handover key with the node", func(s control.Snapshot) bool {
		return s.Fast != nil && s.Fast.Keys == 1
	})
	return err
}

// Events of the node before it leaves.
const (
	fastUpdate = "fast-update" // the Fast Binding Update has left
	fastAck    = "fast-ack"    // its acknowledgement has come
)

// prepareMove tells the node where it is going to be. It returns when the node may leave: when all is prepared, or too early.
func (r *run) prepareMove(ctx context.Context) error {
	r.tell("the node tells the old router to which access point it goes")
	from := len(r.node.Lines())
	if err := r.askToMove(r.top.NAR.AccessPoint); err != nil {
		return err
	}
	leave := fastAck
	if r.options.Protocol == FMIPEarly {
		leave = fastUpdate
	}
	_, err := r.node.awaitFrom(ctx, from, patience, leave, nil)
	return err
}

// askToMove does what a person does, or a program that looks after the radio.
func (r *run) askToMove(point ipv6.LinkAddr) error {
	p := r.options.Programs
	program, err := r.top.Node.Start(netlab.Command{
		Path: p.RoamkeyMN, Log: r.node.log,
		Args: strings.Fields("move -predictive -access-point " + point.String() + " -control " + p.nodeSocket()),
	})
	if err != nil {
		return err
	}
	r.asking = program
	return nil
}

// askedToMove looks how that ended. A node that left too early told the old router once more from where it is, so that it ended
// well for it, too.
func (r *run) askedToMove() error {
	if r.asking == nil {
		return nil
	}
	return r.asking.Wait(10 * time.Second)
}
