package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Messages and attributes of nfnetlink_log (linux/netfilter/nfnetlink_log.h).
const (
	logPacket = 0 // NFULNL_MSG_PACKET
	logConfig = 1 // NFULNL_MSG_CONFIG

	logOutDevice = 5 // NFULA_IFINDEX_OUTDEV
	logPayload   = 9 // NFULA_PAYLOAD

	logCommand   = 1 // NFULA_CFG_CMD
	logMode      = 2 // NFULA_CFG_MODE
	logThreshold = 5 // NFULA_CFG_QTHRESH

	logBind = 1 // NFULNL_CFG_CMD_BIND
	logCopy = 2 // NFULNL_COPY_PACKET
)

const (
	// logGroup is the group under which the kernel copies its redirects.
	logGroup = 8282

	// logOctets is how much of a redirect is copied: it is no longer than the least MTU.
	logOctets = 1280

	// redirectQueue bounds what waits to be taken.
	redirectQueue = 64
)

// redirects takes what the kernel would send as redirects on links with SEND.
type redirects struct {
	conn *netlink.Conn
	out  chan Redirect
	done chan struct{}
	wg   sync.WaitGroup

	copied, full, overrun, malformed atomic.Uint64
}

// openRedirects binds the group, on the calling thread's network namespace.
func openRedirects() (*redirects, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	r := &redirects{conn: conn, out: make(chan Redirect, redirectQueue), done: make(chan struct{})}
	mode := append(binary.BigEndian.AppendUint32(nil, logOctets), logCopy, 0)
	for _, attributes := range []func(*netlink.AttributeEncoder){
		func(ae *netlink.AttributeEncoder) { ae.Bytes(logCommand, []byte{logBind}) },
		func(ae *netlink.AttributeEncoder) {
			ae.Bytes(logMode, mode)
			ae.Uint32(logThreshold, 1) // each at once
		},
	} {
		if err := r.configure(attributes); err != nil {
			conn.Close()
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) { // we have the right to: the tables could be read
				err = fmt.Errorf("another program has group %d: %w", logGroup, err)
			}
			return nil, err
		}
	}
	return r, nil
}

func (r *redirects) configure(attributes func(*netlink.AttributeEncoder)) error {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	attributes(ae)
	b, err := ae.Encode()
	if err != nil {
		return err
	}
	sent, err := r.conn.Send(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_ULOG<<8 | logConfig, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(nfGenMsg(unix.AF_UNSPEC, logGroup), b...),
	})
	if err != nil {
		return err
	}
	if err := r.conn.SetReadDeadline(time.Now().Add(ackTimeout)); err != nil {
		return err
	}
	defer r.conn.SetReadDeadline(time.Time{})
	for {
		// Where an earlier process has left its rules, copies may come before the answer.
		messages, err := r.conn.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type == netlink.Error && m.Header.Sequence == sent.Header.Sequence {
				return nil
			}
		}
	}
}

// listen begins to pass on what is copied.
func (r *redirects) listen() {
	if r == nil {
		return
	}
	r.wg.Go(func() {
		for {
			messages, err := r.conn.Receive()
			select {
			case <-r.done:
				return
			default:
			}
			switch {
			case errors.Is(err, unix.ENOBUFS):
				r.overrun.Add(1)
			case errors.Is(err, os.ErrClosed):
				return
			case err != nil:
				time.Sleep(settle) // whatever it is, it must not become a busy loop
			}
			for i := range messages {
				if messages[i].Header.Type == unix.NFNL_SUBSYS_ULOG<<8|logPacket {
					r.take(messages[i].Data)
				}
			}
		}
	})
}

// take passes on one copy.
func (r *redirects) take(b []byte) {
	var copied Redirect
	if len(b) < nfGenMsgLen {
		r.malformed.Add(1)
		return
	}
	err := decode(b[nfGenMsgLen:], func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case logOutDevice:
			copied.Link = int(ad.Uint32())
		case logPayload:
			copied.Packet = ad.Bytes()
		}
	})
	if err != nil || copied.Link == 0 || len(copied.Packet) == 0 {
		r.malformed.Add(1)
		return
	}
	select {
	case r.out <- copied:
		r.copied.Add(1)
	default:
		r.full.Add(1)
	}
}

func (r *redirects) counters(yield func(name string, value uint64)) {
	if r == nil {
		return
	}
	yield("redirects_taken", r.copied.Load())
	yield("drop_redirect_queue_full", r.full.Load())
	yield("drop_redirect_overrun", r.overrun.Load())
	yield("drop_redirect_malformed", r.malformed.Load())
}

func (r *redirects) close() error {
	if r == nil {
		return nil
	}
	close(r.done)
	_ = r.conn.SetDeadline(time.Unix(1, 0)) // wakes the reader
	r.wg.Wait()
	return r.conn.Close()
}

// Redirects gives the redirects that the kernel wanted to send on links with SEND, each a whole IPv6 packet with its
// checksum. They did not leave: somebody has to say them signed. It is nil, and nothing comes, where the kernel cannot copy
// packets; Reasons says so then.
func (g *Guard) Redirects() <-chan Redirect {
	if g == nil || g.redirects == nil {
		return nil
	}
	return g.redirects.out
}
