package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	nfGenMsgLen = 4 // struct nfgenmsg

	ackTimeout = 3 * time.Second
	sendBuffer = 4 << 20 // a transaction is one message to the kernel: room for some ten thousand pairs

	elementsPerMessage = 400 // a nested attribute holds 65,535 octets at the most
)

// nft is a connection to nf_tables. The socket belongs to the network namespace of the thread that dialled it.
type nft struct {
	mu   sync.Mutex
	conn *netlink.Conn
}

func dialNFT() (*nft, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, explain(err)
	}
	_ = setSendBuffer(conn)
	return &nft{conn: conn}, nil
}

func setSendBuffer(conn *netlink.Conn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
	})
	return errors.Join(err, failed)
}

func (c *nft) Close() error { return c.conn.Close() }

// explain says what an errno of the kernel means for somebody who wants the table.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("nftables: %w (CAP_NET_ADMIN is needed)", err)
	case errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) ||
		errors.Is(err, unix.EINVAL):
		// EINVAL is how nfnetlink says that it has no subsystem nf_tables.
		return fmt.Errorf("%w (%w): load or install nf_tables (OpenWrt: kmod-nft-core)", ErrUnsupported, err)
	}
	return fmt.Errorf("nftables: %w", err)
}

// transaction collects messages that the kernel carries out together or not at all.
type transaction struct {
	messages []netlink.Message
	err      error
}

func (t *transaction) add(message uint16, flags netlink.HeaderFlags, attributes func(*netlink.AttributeEncoder)) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	attributes(ae)
	b, err := ae.Encode()
	if err != nil {
		t.err = errors.Join(t.err, err)
		return
	}
	t.messages = append(t.messages, netlink.Message{
		Header: netlink.Header{Type: messageType(message), Flags: netlink.Request | flags},
		Data:   append(nfGenMsg(unix.AF_INET6, 0), b...),
	})
}

func messageType(message uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message)
}

func nfGenMsg(family uint8, resource uint16) []byte {
	return []byte{family, unix.NFNETLINK_V0, byte(resource >> 8), byte(resource)}
}

// commit has the kernel carry t out. The error is that of the first message it did not like.
func (c *nft) commit(t *transaction) error {
	if t.err != nil || len(t.messages) == 0 {
		return t.err
	}
	edge := func(typ netlink.HeaderType) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: typ, Flags: netlink.Request},
			Data:   nfGenMsg(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		}
	}
	all := make([]netlink.Message, 0, len(t.messages)+2)
	all = append(all, edge(unix.NFNL_MSG_BATCH_BEGIN))
	all = append(all, t.messages...)
	all[len(all)-1].Header.Flags |= netlink.Acknowledge // of the last: its answer comes when all is done
	all = append(all, edge(unix.NFNL_MSG_BATCH_END))

	c.mu.Lock()
	defer c.mu.Unlock()
	sent, err := c.conn.SendMessages(all)
	if err != nil {
		return err
	}
	last := sent[len(sent)-2].Header.Sequence
	if err := c.conn.SetReadDeadline(time.Now().Add(ackTimeout)); err != nil {
		return err
	}
	defer c.conn.SetReadDeadline(time.Time{})
	for {
		replies, err := c.conn.Receive()
		if err != nil {
			c.drain()
			return err
		}
		for _, m := range replies {
			if m.Header.Type == netlink.Error && m.Header.Sequence == last {
				return nil
			}
		}
	}
}

// drain reads away what the kernel has to say about the rest of a failed transaction, all of which it has said already.
func (c *nft) drain() {
	for range 1 << 16 {
		if err := c.conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
			return
		}
		if _, err := c.conn.Receive(); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// dump asks for a list and gives the attributes of each answer.
func (c *nft) dump(message uint16, attributes func(*netlink.AttributeEncoder)) ([][]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	attributes(ae)
	b, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for tries := 0; ; tries++ {
		replies, err := c.conn.Execute(netlink.Message{
			Header: netlink.Header{Type: messageType(message), Flags: netlink.Request | netlink.Dump},
			Data:   append(nfGenMsg(unix.AF_INET6, 0), b...),
		})
		if err != nil {
			return nil, err
		}
		whole := true
		all := make([][]byte, 0, len(replies))
		for _, m := range replies {
			whole = whole && m.Header.Flags&netlink.DumpInterrupted == 0
			if len(m.Data) >= nfGenMsgLen && m.Data[0] == unix.AF_INET6 {
				all = append(all, m.Data[nfGenMsgLen:])
			}
		}
		if whole || tries == 5 {
			return all, nil
		}
	}
}

// decode walks over attributes. The kernel made them; what is not as expected is passed over.
func decode(b []byte, each func(*netlink.AttributeDecoder)) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		each(ad)
	}
	return ad.Err()
}

// nested walks over the attributes in ad's current one.
func nested(ad *netlink.AttributeDecoder, each func(*netlink.AttributeDecoder)) {
	ad.Nested(func(nad *netlink.AttributeDecoder) error {
		for nad.Next() {
			each(nad)
		}
		return nil
	})
}
