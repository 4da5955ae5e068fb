package guard

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/ipv6"
)

const (
	testSPI = 0x1234

	xfrmNewState, xfrmNewPolicy       = 0x10, 0x13 // XFRM_MSG_NEWSA, XFRM_MSG_NEWPOLICY
	xfrmAuth, xfrmCrypt, xfrmTemplate = 1, 2, 5    // XFRMA_ALG_AUTH, XFRMA_ALG_CRYPT, XFRMA_TMPL

	sizeSelector, sizeState, sizePolicy, sizeTemplate = 56, 224, 168, 64 // of linux/xfrm.h
)

func xfrmSelector() []byte {
	b := make([]byte, sizeSelector)
	copy(b[0:], routerAddr.AsSlice())
	copy(b[16:], nodeAddr.AsSlice())
	binary.NativeEndian.PutUint16(b[40:], unix.AF_INET6)
	b[42], b[43], b[44] = 128, 128, ipv6.ProtoMobility
	return b
}

// xfrmForever is a lifetime without end.
func xfrmForever() []byte {
	b := make([]byte, 64)
	for i := range 32 {
		b[i] = 0xff
	}
	return b
}

// xfrmID is the state's destination, index and protocol.
func xfrmID() []byte {
	b := append(make([]byte, 0, 24), routerAddr.AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, testSPI)
	return append(b, unix.IPPROTO_ESP, 0, 0, 0)
}

// addESP puts the state of an ESP transport association from the node to the router in place, and with out the policy that
// has mobility headers sent by it.
func addESP(out bool) error {
	conn, err := netlink.Dial(unix.NETLINK_XFRM, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	do := func(typ netlink.HeaderType, head []byte, attributes func(*netlink.AttributeEncoder)) error {
		ae := netlink.NewAttributeEncoder()
		attributes(ae)
		b, err := ae.Encode()
		if err != nil {
			return err
		}
		_, err = conn.Execute(netlink.Message{
			Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl},
			Data:   append(head, b...),
		})
		return err
	}

	state := append(make([]byte, sizeSelector), xfrmID()...)
	state = append(state, nodeAddr.AsSlice()...)
	state = append(state, xfrmForever()...)
	state = append(state, make([]byte, sizeState-len(state))...)
	binary.NativeEndian.PutUint16(state[212:], unix.AF_INET6) // the mode is 0: transport
	algorithm := func(name string, octets int) []byte {
		b := make([]byte, 68+octets)
		copy(b, name)
		binary.NativeEndian.PutUint32(b[64:], uint32(8*octets))
		return b
	}
	err = do(xfrmNewState, state, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(xfrmAuth, algorithm("hmac(sha1)", 20))
		ae.Bytes(xfrmCrypt, algorithm("cbc(aes)", 16))
	})
	if err != nil || !out {
		return err
	}
	policy := append(xfrmSelector(), xfrmForever()...)
	policy = append(policy, make([]byte, sizePolicy-len(policy))...)
	policy[160] = 1 // XFRM_POLICY_OUT
	return do(xfrmNewPolicy, policy, func(ae *netlink.AttributeEncoder) {
		template := append(make([]byte, 0, sizeTemplate), xfrmID()...)
		template = append(template, make([]byte, sizeTemplate-len(template))...)
		binary.NativeEndian.PutUint16(template[24:], unix.AF_INET6)
		copy(template[28:], nodeAddr.AsSlice())
		for i := 52; i < sizeTemplate; i++ {
			template[i] = 0xff // any algorithm
		}
		ae.Bytes(xfrmTemplate, template)
	})
}

// TestKernelIsSilentButForIPsec: Handover Initiates under ESP belong to a protocol-135 socket, for a packet socket sees
// ciphertext.
func TestKernelIsSilentButForIPsec(t *testing.T) {
	n := newNetwork(t)
	err := n.router.Do(func() error { return addESP(false) })
	if err != nil && os.Getenv("ROAMKEY_LAB") != "1" {
		t.Skipf("the kernel has no ESP for IPv6 (%v); `make lab` runs this test on a kernel that has it", err)
	}
	n.must(err)
	n.must(n.node.Do(func() error { return addESP(true) }))
	g := n.guard()

	socket := func(to *int) func() error {
		return func() (err error) {
			*to, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, ipv6.ProtoMobility)
			return err
		}
	}
	var in, out int
	n.must(errors.Join(n.router.Do(socket(&in)), n.node.Do(socket(&out))))
	defer unix.Close(in)
	defer unix.Close(out)
	arrives := func() bool {
		mh := []byte{59, 1, 14, 0, 0, 0, 0, 7, 0x80, 0, 0, 0, 1, 2, 0, 0} // Handover Initiate; the kernel computes the checksum
		n.must(unix.Sendto(out, mh, 0, &unix.SockaddrInet6{Addr: routerAddr.As16()}))
		limit := unix.NsecToTimeval(int64(300 * time.Millisecond))
		n.must(unix.SetsockoptTimeval(in, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
		got, _, err := unix.Recvfrom(in, make([]byte, 100), 0)
		return err == nil && got == len(mh)
	}
	if !arrives() {
		t.Error("a mobility header under ESP does not arrive")
	}
	// Encrypted it was, or the guard would have dropped it.
	n.send(bindingUpdate(nodeAddr, routerAddr, netip.Addr{}))
	n.fence()
	if got := netlabtest.Counter(t, g, "mobility_header"); got != 1 {
		t.Errorf("mobility_header = %d, want 1: that in the clear", got)
	}
	f := features{} // without the exception
	g.t.mu.Lock()
	err = g.t.make(mobilityRules(f, "links"))
	g.t.mu.Unlock()
	n.must(err)
	if arrives() {
		t.Error("it arrives without the exception, too: this test shows nothing")
	}
}
